//! Walking the records of a log from outside, by the description of the format and not by the code that wrote them.

use std::fs::File;
use std::io::{self, BufReader, Read};

use foliomq_commitlog::{SegmentSurvey, Survey};

/// Bytes of a record's header.
const HEADER: usize = 64;
/// Bytes read at once.
const BUFFER: usize = 256 << 10;
pub(super) const MESSAGE: u8 = 1;
pub(super) const CONTROL: u8 = 2;
const FILLER: u8 = 3;
pub(super) const HIDDEN: u8 = 4;

/// A record as it stands in the file.
#[derive(Debug)]
pub(super) struct RawRecord {
    pub(super) position: u64,
    /// Bytes to the next record.
    pub(super) size: u64,
    pub(super) kind: u8,
    pub(super) store_time: u64,
    pub(super) queue_offset: u64,
    pub(super) queue_id: u32,
    pub(super) topic: String,
    pub(super) message: Vec<u8>,
}

/// Tells `visit` of every record, except of fillers, and of what the survey found damaged.
pub(super) fn walk(survey: &Survey, mut visit: impl FnMut(RawRecord)) -> io::Result<()> {
    for segment in &survey.segments {
        let mut reader = BufReader::with_capacity(BUFFER, File::open(&segment.path)?);
        let mut position = segment.base;
        while position < segment.end {
            let damage = survey
                .damage
                .iter()
                .find(|damage| damage.position == position);
            let next = match damage {
                Some(damage) => {
                    reader.seek_relative((damage.end - position) as i64)?;
                    damage.end
                }
                None => step(&mut reader, segment, position, &mut visit)?,
            };
            if next <= position {
                return Err(misfit(position));
            }
            position = next;
        }
    }
    Ok(())
}

/// Reads the record at `position`; returns where the next one begins.
fn step(
    reader: &mut BufReader<File>,
    segment: &SegmentSurvey,
    position: u64,
    visit: &mut impl FnMut(RawRecord),
) -> io::Result<u64> {
    let mut header = [0; HEADER];
    reader.read_exact(&mut header)?;
    let room = segment.base + segment.size - position;
    let (kind, topic_len) = (header[5], u16::from_le_bytes([header[6], header[7]]));
    let size = match (kind, u64::from(word(&header, 8))) {
        // A filler that takes a whole segment of 4 GiB.
        (FILLER, 0) => room,
        (_, size) => size,
    };
    let message_len = u64::from(word(&header, 60));
    let content = HEADER as u64 + u64::from(topic_len) + message_len;
    if size > room || content > size {
        return Err(misfit(position));
    }
    if kind == FILLER {
        reader.seek_relative((size - HEADER as u64) as i64)?;
        return Ok(position + size);
    }
    let mut message = vec![0; (size - HEADER as u64) as usize];
    reader.read_exact(&mut message)?;
    message.truncate(topic_len as usize + message_len as usize);
    let topic: Vec<u8> = message.drain(..topic_len as usize).collect();
    visit(RawRecord {
        position,
        size,
        kind,
        store_time: long(&header, 40),
        queue_offset: long(&header, 48),
        queue_id: word(&header, 56),
        topic: String::from_utf8_lossy(&topic).into_owned(),
        message,
    });
    Ok(position + size)
}

fn misfit(position: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the record at {position} does not fit its segment, or changed meanwhile"),
    )
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| header[at + i]))
}

fn long(header: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| header[at + i]))
}
