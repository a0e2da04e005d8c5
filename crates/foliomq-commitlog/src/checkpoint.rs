//! The checkpoint: how far the log is known to be on the device.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use foliomq_segment::disk::{self, Flush};

/// Name of the file in the log's folder.
pub(crate) const NAME: &str = "checkpoint";
const MAGIC: u32 = u32::from_le_bytes(*b"FOCP");
const VERSION: u32 = 1;
/// The two slots are pages apart, so that a torn write damages one only.
const SLOT_DISTANCE: u64 = 4096;
const SLOT: usize = 64;
const CRC_AT: usize = SLOT - 4;
const MARK_AT: usize = CRC_AT - 8;
/// Bytes of log from one position that is remembered for a mark to the next.
const MARK_STEP: u64 = 8 << 20;

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything below was flushed; the start of a record, or of a segment.
    pub durable: u64,
    /// Of the records from `durable` on.
    pub generation: u64,
    /// Whether the log was closed at `durable`, with nothing after it.
    pub clean: bool,
    /// Bytes of a new segment then.
    pub segment_size: u64,
    /// Unix milliseconds of the last record before `durable`, or later.
    pub store_time: u64,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy)]
struct Slot {
    sequence: u64,
    checkpoint: Checkpoint,
    /// The start of a record some way before `durable`, to begin there when the log's end is checked; 0 if none is known.
    mark: u64,
}

impl Slot {
    fn encode(&self) -> [u8; SLOT] {
        let (checkpoint, sequence) = (&self.checkpoint, self.sequence);
        let mut bytes = [0; SLOT];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&checkpoint.durable.to_le_bytes());
        bytes[24..32].copy_from_slice(&checkpoint.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&checkpoint.segment_size.to_le_bytes());
        bytes[40..48].copy_from_slice(&checkpoint.store_time.to_le_bytes());
        bytes[48] = u8::from(checkpoint.clean);
        bytes[MARK_AT..CRC_AT].copy_from_slice(&self.mark.to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let sound = word(0) == MAGIC
            && word(4) == VERSION
            && word(CRC_AT) == crc_fast::crc32_iscsi(&bytes[..CRC_AT]);
        let checkpoint = Checkpoint {
            durable: long(16),
            generation: long(24),
            segment_size: long(32),
            store_time: long(40),
            clean: bytes[48] == 1,
        };
        sound.then_some(Self {
            sequence: long(8),
            checkpoint,
            mark: long(MARK_AT),
        })
    }
}

impl Checkpoint {
    /// Reads the newer sound slot of the file in `dir`; `None` if there is no file. Needs no lock.
    pub fn load(dir: &Path) -> io::Result<Option<Self>> {
        match File::open(dir.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => match newest(&file)? {
                Some(slot) => Ok(Some(slot.checkpoint)),
                None => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "both slots of the checkpoint are damaged",
                )),
            },
        }
    }
}

/// Brings what the file in `dir` says to the device, if it is there: a process that was killed may have written that and not
/// flushed it, and how the log's end is made good depends on it.
pub(crate) fn settle(dir: &Path) -> io::Result<()> {
    match File::open(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        file => disk::flush(Flush::LogCheckpointOpened, &file?),
    }
}

/// The start of a record some way before the durable position, if the file in `dir` knows one; otherwise 0.
pub(crate) fn mark(dir: &Path) -> io::Result<u64> {
    match File::open(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        file => Ok(newest(&file?)?.map_or(0, |slot| slot.mark)),
    }
}

fn newest(file: &File) -> io::Result<Option<Slot>> {
    let mut best: Option<Slot> = None;
    for slot in 0..2 {
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, slot * SLOT_DISTANCE) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            other => other?,
        }
        if let Some(found) = Slot::decode(&bytes)
            && best.is_none_or(|best| found.sequence > best.sequence)
        {
            best = Some(found);
        }
    }
    Ok(best)
}

/// The open checkpoint file, written alternately in its two slots.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    file: File,
    sequence: u64,
    marks: Marks,
}

impl CheckpointFile {
    /// Opens or makes the file. The folder must be synced before the first write counts.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let file = disk::create(&dir.join(NAME))?;
        if file.metadata()?.len() < 2 * SLOT_DISTANCE {
            // Real blocks for both slots: a disk that is full later must not stop a checkpoint.
            disk::write_at(&file, &[0; 2 * SLOT_DISTANCE as usize], 0)?;
        }
        let sequence = newest(&file)?.map_or(0, |slot| slot.sequence);
        Ok(Self {
            file,
            sequence,
            marks: Marks::default(),
        })
    }

    /// Remembers a mark, at least `distance` before what is durable, with each checkpoint from here on. `first` is one
    /// that is known already.
    pub(crate) fn keep_marks(&mut self, first: u64, distance: u64) {
        self.marks = Marks {
            distance,
            starts: VecDeque::from([first]),
        };
    }

    /// Writes the older slot and waits for the device.
    pub(crate) fn write(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let slot = Slot {
            sequence: self.sequence + 1,
            checkpoint: *checkpoint,
            mark: self.marks.pass(checkpoint.durable),
        };
        let offset = slot.sequence % 2 * SLOT_DISTANCE;
        disk::write_at(&self.file, &slot.encode(), offset)?;
        disk::flush(Flush::LogCheckpoint, &self.file)?;
        self.sequence = slot.sequence;
        Ok(())
    }
}

/// Starts of records that were durable positions once, ascending, [`MARK_STEP`] apart at least.
#[derive(Debug, Default)]
struct Marks {
    distance: u64,
    starts: VecDeque<u64>,
}

impl Marks {
    /// Takes in a durable position; returns the last start that is far enough before it, 0 if none is known.
    fn pass(&mut self, durable: u64) -> u64 {
        let limit = durable.saturating_sub(self.distance);
        while self.starts.get(1).is_some_and(|&next| next <= limit) {
            self.starts.pop_front();
        }
        let mark = self.starts.front().copied().filter(|&start| start <= limit);
        // Without a first one marks are not kept.
        let last = self.starts.back().copied();
        if last.is_some_and(|last| durable >= last.saturating_add(MARK_STEP)) {
            self.starts.push_back(durable);
        }
        mark.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(durable: u64) -> Checkpoint {
        Checkpoint {
            durable,
            generation: 7,
            clean: durable % 2 == 1,
            segment_size: 1 << 20,
            store_time: 3,
        }
    }

    #[test]
    fn the_newer_slot_counts_and_the_older_stands_in() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::load(dir.path()).unwrap(), None);
        let mut file = CheckpointFile::open(dir.path()).unwrap();
        for durable in 1..=3 {
            file.write(&checkpoint(durable)).unwrap();
            assert_eq!(
                Checkpoint::load(dir.path()).unwrap(),
                Some(checkpoint(durable))
            );
        }
        let newer = file.sequence % 2 * SLOT_DISTANCE;
        file.file.write_all_at(&[0xff], newer + 20).unwrap();
        assert_eq!(Checkpoint::load(dir.path()).unwrap(), Some(checkpoint(2)));
        let mut file = CheckpointFile::open(dir.path()).unwrap();
        file.write(&checkpoint(4)).unwrap();
        assert_eq!(Checkpoint::load(dir.path()).unwrap(), Some(checkpoint(4)));
    }

    #[test]
    fn two_damaged_slots_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        CheckpointFile::open(dir.path()).unwrap();
        assert_eq!(
            Checkpoint::load(dir.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_mark_is_a_durable_position_far_enough_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CheckpointFile::open(dir.path()).unwrap();
        file.write(&checkpoint(100 * MARK_STEP)).unwrap();
        assert_eq!(
            mark(dir.path()).unwrap(),
            0,
            "none is kept unless asked for"
        );
        file.keep_marks(0, 4 * MARK_STEP);
        let mut seen = vec![0];
        for step in 0..200 {
            let durable = step * MARK_STEP / 3 + step;
            file.write(&checkpoint(durable)).unwrap();
            let mark = mark(dir.path()).unwrap();
            assert!(seen.contains(&mark) && mark <= durable.saturating_sub(4 * MARK_STEP));
            assert!(
                durable - mark < 6 * MARK_STEP,
                "{mark} is far from {durable}"
            );
            seen.push(durable);
        }
        assert!(file.marks.starts.len() < 8);
    }
}
