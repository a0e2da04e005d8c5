//! The record of what reached the device, in order, and of what the load noted in between: one file, written by the
//! device, read once all is over.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

const HEADER: usize = 24;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes were written.
    Write,
    /// A range was zeroed.
    Zero,
    /// Everything before is on the device.
    Flush,
    /// The load noted something.
    Note,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Write, Self::Zero, Self::Flush, Self::Note];

    /// Whether it changes what the device holds.
    pub fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Zero)
    }
}

/// One event, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    /// Where on the device.
    pub offset: u64,
    /// Bytes concerned.
    pub len: u64,
    /// Where its bytes are in the record.
    at: u64,
}

/// Writes the record.
#[derive(Debug)]
pub struct Recorder(File);

impl Recorder {
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(File::create_new(path)?))
    }

    /// Adds an event; in the record when it returns.
    pub fn add(&mut self, kind: Kind, offset: u64, len: u64, bytes: &[u8]) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[0] = kind as u8;
        header[8..16].copy_from_slice(&offset.to_le_bytes());
        header[16..].copy_from_slice(&len.to_le_bytes());
        self.0.write_all(&header)?;
        self.0.write_all(bytes)
    }
}

/// The record, read.
#[derive(Debug)]
pub struct Record {
    file: File,
    pub events: Vec<Event>,
}

impl Record {
    /// Reads what is there.
    pub fn load(path: &Path) -> Result<Self> {
        let file = File::open(path).context("opening the device's record")?;
        let mut reader = BufReader::new(file.try_clone()?);
        let mut events = Vec::new();
        while let Some(event) = next(&mut reader)? {
            events.push(event);
        }
        Ok(Self { file, events })
    }

    /// The bytes of an event.
    pub fn bytes(&self, event: &Event) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; event.len as usize];
        if event.kind != Kind::Zero {
            self.file.read_exact_at(&mut bytes, event.at)?;
        }
        Ok(bytes)
    }
}

fn next(reader: &mut BufReader<File>) -> Result<Option<Event>> {
    let mut header = [0; HEADER];
    match reader.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let Some(&kind) = Kind::ALL.get(usize::from(header[0])) else {
        bail!("the device's record is damaged");
    };
    let event = Event {
        kind,
        offset: word(8),
        len: word(16),
        at: reader.stream_position()?,
    };
    let held = if kind == Kind::Zero { 0 } else { event.len };
    reader
        .seek_relative(held as i64)
        .or_else(|_| reader.seek(SeekFrom::Current(held as i64)).map(drop))?;
    Ok(Some(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut recorder = Recorder::create(&path).unwrap();
        recorder.add(Kind::Write, 512, 3, b"abc").unwrap();
        recorder.add(Kind::Flush, 0, 0, b"").unwrap();
        recorder.add(Kind::Zero, 4096, 1 << 20, b"").unwrap();
        recorder.add(Kind::Note, 0, 2, b"de").unwrap();
        let record = Record::load(&path).unwrap();
        let kinds: Vec<Kind> = record.events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Write, Kind::Flush, Kind::Zero, Kind::Note]);
        assert_eq!(record.bytes(&record.events[0]).unwrap(), b"abc");
        assert_eq!(record.bytes(&record.events[2]).unwrap(), vec![0; 1 << 20]);
        assert_eq!(record.bytes(&record.events[3]).unwrap(), b"de");
    }
}
