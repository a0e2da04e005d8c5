//! Up to where the indexes are flushed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use foliomq_segment::disk::{self, Flush};
use parking_lot::Mutex;

use crate::error::IndexError;

const MAGIC: u32 = u32::from_le_bytes(*b"FMQ2");
/// Bytes of a slot: magic 4, CRC-32C of what follows 4, sequence 8, position 8, all little-endian.
const SLOT: usize = 24;
/// The slots stand a device block apart, so that one torn write cannot take both.
const STRIDE: u64 = 4096;

/// The log position up to which the indexes are flushed, in a double-slot file: a torn write leaves the older value.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: File,
    last: Mutex<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    sequence: u64,
    position: u64,
}

impl Checkpoint {
    /// Opens or creates the file. Two unreadable slots are `Damaged`: the indexes are to be rebuilt.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let error = || IndexError::io("opening", path);
        let file = disk::create(path).map_err(error())?;
        let new = file.metadata().map_err(error())?.len() == 0;
        match new {
            true => disk::flush_beside(Flush::IndexCheckpointNamed, path),
            // A process that was killed may have written what is read here, and not flushed it. Segments of the log may go
            // as soon as it speaks for them.
            false => disk::flush(Flush::IndexCheckpointOpened, &file),
        }
        .map_err(error())?;
        let last = [0, 1]
            .into_iter()
            .filter_map(|slot| read(&file, slot))
            .max_by_key(|slot| slot.sequence);
        let last = match last {
            Some(slot) => slot,
            None if new => Slot::default(),
            None => {
                return Err(IndexError::damaged(
                    path,
                    "neither slot of the checkpoint can be read",
                ));
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
            last: Mutex::new(last),
        })
    }

    /// 0 in a new file.
    pub fn position(&self) -> u64 {
        self.last.lock().position
    }

    /// Moves to `position`. Durable when it returns.
    pub fn advance(&self, position: u64) -> Result<(), IndexError> {
        let mut last = self.last.lock();
        let next = Slot {
            sequence: last.sequence + 1,
            position,
        };
        disk::write_at(&self.file, &next.encode(), (next.sequence % 2) * STRIDE)
            .and_then(|()| disk::flush(Flush::IndexCheckpoint, &self.file))
            .map_err(IndexError::io("writing", &self.path))?;
        *last = next;
        Ok(())
    }
}

impl Slot {
    fn encode(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[8..]);
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; SLOT]) -> Option<Self> {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let slot = Self {
            sequence: word(8),
            position: word(16),
        };
        (slot.encode() == bytes).then_some(slot)
    }
}

fn read(file: &File, slot: u64) -> Option<Slot> {
    let mut bytes = [0; SLOT];
    // A slot that was never written is short or zero; either way the other one counts.
    file.read_exact_at(&mut bytes, slot * STRIDE).ok()?;
    Slot::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.position(), 0);
        checkpoint.advance(100).unwrap();
        checkpoint.advance(200).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().position(), 200);
        checkpoint.file.write_all_at(&[0xff; 9], 0).unwrap();
        assert_eq!(
            Checkpoint::open(&path).unwrap().position(),
            100,
            "slot 0 held the newest"
        );
        checkpoint.file.write_all_at(&[0xff; 9], STRIDE).unwrap();
        assert!(matches!(
            Checkpoint::open(&path),
            Err(IndexError::Damaged { .. })
        ));
    }
}
