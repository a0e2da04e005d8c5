//! The directory of extents: an append-only file of checksummed records.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::IndexError;
use crate::extent::{Allocation, LAST_CLASS, Place};

/// Bytes of a record: kind 1, class 1, zero 2, queue 4, first offset 8, file 4, slot 4, zero 4, CRC-32C of the rest 4.
const RECORD: usize = 32;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// An extent belongs to a queue.
    Allocated(Allocation),
    /// A place belongs to nobody.
    Freed(Place),
}

/// The open file.
#[derive(Debug)]
pub(crate) struct ExtentLog {
    path: PathBuf,
    file: File,
    /// Bytes that are good; an append goes there.
    len: u64,
}

impl ExtentLog {
    /// Opens or creates the file and reads it. A torn end is cut off; a bad record before a good one is damage.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Change>), IndexError> {
        let error = || IndexError::io("opening", path);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(error())?;
        let bytes = fs::read(path).map_err(error())?;
        let records: Vec<Option<Change>> = bytes
            .as_chunks::<RECORD>()
            .0
            .iter()
            .map(Change::decode)
            .collect();
        let good = records.iter().take_while(|record| record.is_some()).count();
        if records[good..].iter().any(Option::is_some) {
            return Err(IndexError::damaged(
                path,
                format!("record {good} is bad, and good ones follow"),
            ));
        }
        let len = (good * RECORD) as u64;
        file.set_len(len).map_err(error())?;
        let changes = records.into_iter().flatten().collect();
        Ok((
            Self {
                path: path.to_path_buf(),
                file,
                len,
            },
            changes,
        ))
    }

    /// Appends the records, durably. After an error none of them counts.
    pub(crate) fn append(&mut self, changes: &[Change]) -> Result<(), IndexError> {
        if changes.is_empty() {
            return Ok(());
        }
        let bytes = encode(changes);
        self.file
            .write_all_at(&bytes, self.len)
            .and_then(|()| self.file.sync_all())
            .map_err(IndexError::io("writing", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the whole file by these records, durably.
    pub(crate) fn rewrite(&mut self, changes: &[Change]) -> Result<(), IndexError> {
        let bytes = encode(changes);
        self.file = replace(&self.path, &bytes).map_err(IndexError::io("rewriting", &self.path))?;
        self.len = bytes.len() as u64;
        Ok(())
    }
}

/// Writes a file under a temporary name, flushes it and gives it its name, durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let temporary = path.with_extension("tmp");
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(path)?;
    Ok(file)
}

/// Makes a creation, rename or removal beside `path` durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn encode(changes: &[Change]) -> Vec<u8> {
    changes.iter().flat_map(|change| change.encode()).collect()
}

impl Change {
    fn encode(&self) -> [u8; RECORD] {
        let (kind, queue, first, place) = match *self {
            Self::Allocated(extent) => (1, extent.queue, extent.first, extent.place),
            Self::Freed(place) => (2, 0, 0, place),
        };
        let mut bytes = [0; RECORD];
        bytes[..2].copy_from_slice(&[kind, place.class]);
        bytes[4..8].copy_from_slice(&queue.to_le_bytes());
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[16..20].copy_from_slice(&place.file.to_le_bytes());
        bytes[20..24].copy_from_slice(&place.slot.to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let half =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let place = Place {
            file: half(16),
            slot: half(20),
            class: bytes[1],
        };
        if half(28) != crc_fast::crc32_iscsi(&bytes[..28]) || place.class > LAST_CLASS {
            return None;
        }
        let first = u64::from(half(8)) | u64::from(half(12)) << 32;
        match bytes[0] {
            1 => Some(Self::Allocated(Allocation {
                queue: half(4),
                first,
                place,
            })),
            2 => Some(Self::Freed(place)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(queue: u32) -> Change {
        let place = Place {
            file: 1,
            slot: 8 * queue,
            class: 3,
        };
        Change::Allocated(Allocation {
            queue,
            first: 1 << 40,
            place,
        })
    }

    #[test]
    fn records_come_back_and_a_torn_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let changes = [
            allocated(1),
            allocated(2),
            Change::Freed(Place {
                file: 0,
                slot: 9,
                class: 0,
            }),
        ];
        ExtentLog::open(&path).unwrap().0.append(&changes).unwrap();
        for cut in 0..3 * RECORD {
            let torn = dir.path().join("torn");
            fs::write(&torn, &fs::read(&path).unwrap()[..cut]).unwrap();
            assert_eq!(ExtentLog::open(&torn).unwrap().1, changes[..cut / RECORD]);
        }
        assert_eq!(ExtentLog::open(&path).unwrap().1, changes);
    }

    #[test]
    fn a_bad_record_in_the_middle_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        ExtentLog::open(&path)
            .unwrap()
            .0
            .append(&[allocated(1), allocated(2)])
            .unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[9] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(
            ExtentLog::open(&path),
            Err(IndexError::Damaged { .. })
        ));
    }
}
