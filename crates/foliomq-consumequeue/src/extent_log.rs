//! The directory of extents: an append-only file of checksummed records.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use foliomq_segment::disk::{self, Flush};
use foliomq_segment::drop_cached;

use crate::directory::Directory;
use crate::error::IndexError;
use crate::extent::{Allocation, Extent, Place};

/// Bytes of a record: kind 1, class 1, zero 2, queue 4, first offset 8, file 4, slot 4, number of the record that its append
/// began with 4, CRC-32C of the rest 4.
const RECORD: usize = 32;
/// A file of fewer records is never rewritten.
const COMPACT_FROM: usize = 1024;
/// A file with so many times the records that counted when it was last read as a whole is read again, and rewritten if
/// more than half of them are dead.
const COMPACT_AT: usize = 2;

/// Kind of the record that stands behind the last append once the device has it, and says so: a bad record before it is
/// no torn one. The next append overwrites it.
const SEAL: u8 = 3;

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
    /// Records that counted when the file was last read as a whole.
    live: usize,
}

impl ExtentLog {
    /// Opens or creates the file and reads it. A torn append is cut off; a bad record before a later append is damage.
    pub(crate) fn open(path: &Path) -> Result<(Self, Directory), IndexError> {
        let error = || IndexError::io("opening", path);
        let file = disk::create(path).map_err(error())?;
        drop_cached(&file).map_err(error())?;
        let (changes, directory) = read(path)?;
        let mut log = Self {
            path: path.to_path_buf(),
            file,
            len: (changes * RECORD) as u64,
            live: directory.len(),
        };
        disk::set_len(&log.file, log.len).map_err(error())?;
        // A process that was killed may have written what it had not flushed yet.
        disk::flush(Flush::ExtentsOpened, &log.file).map_err(error())?;
        if log.is_mostly_dead() {
            log.rewrite(&directory)?;
        }
        log.seal();
        Ok((log, directory))
    }

    /// Appends the records, durably. After an error none of them counts.
    pub(crate) fn append(&mut self, changes: &[Change]) -> Result<(), IndexError> {
        if changes.is_empty() {
            return Ok(());
        }
        let first = self.len as usize / RECORD;
        let bytes = encode(changes, |_| first);
        disk::write_at(&self.file, &bytes, self.len)
            .map_err(IndexError::io("writing", &self.path))?;
        disk::flush(Flush::Extents, &self.file).map_err(IndexError::not_flushed(&self.path))?;
        self.len += bytes.len() as u64;
        self.seal();
        if self.is_mostly_dead() {
            let directory = read(&self.path)?.1;
            self.rewrite(&directory)?;
            self.seal();
        }
        Ok(())
    }

    /// Notes that the device has all that is there. A power cut may lose the note; then a bad last append counts as torn.
    fn seal(&self) {
        let seal = seal(self.len as usize / RECORD);
        if let Err(error) = disk::write_at(&self.file, &seal, self.len) {
            let path = self.path.display();
            tracing::warn!(%error, %path, "the directory of extents goes on without its seal");
        }
    }

    /// Whether most records say what a later one has overruled, as far as is known without reading them.
    fn is_mostly_dead(&self) -> bool {
        let records = self.len as usize / RECORD;
        records > COMPACT_FROM.max(COMPACT_AT * self.live)
    }

    /// Replaces the whole file by what it says, durably.
    fn rewrite(&mut self, directory: &Directory) -> Result<(), IndexError> {
        let changes = directory.changes();
        // Not known to be worth it: a file that only grew.
        if (changes.len() * RECORD) as u64 <= self.len / 2 {
            // Nothing in it can be torn: each record stands for itself.
            let bytes = encode(&changes, |number| number);
            self.file =
                replace(&self.path, &bytes).map_err(IndexError::io("rewriting", &self.path))?;
            self.len = bytes.len() as u64;
        }
        self.live = changes.len();
        Ok(())
    }
}

/// The number of good records, and what they leave standing.
fn read(path: &Path) -> Result<(usize, Directory), IndexError> {
    let bytes = fs::read(path).map_err(IndexError::io("reading", path))?;
    let records = bytes.as_chunks::<RECORD>().0;
    let changes: Vec<Change> = records.iter().map_while(Change::decode).collect();
    let good = changes.len();
    // Of the last append the device may have any sectors, whichever come first.
    if records[good..].iter().any(|record| is_later(record, good)) {
        let what = format!("record {good} is bad, and good ones follow");
        return Err(IndexError::damaged(path, what));
    }
    let directory = Directory::replay(&changes);
    let directory = directory.map_err(|what| IndexError::damaged(path, what))?;
    Ok((good, directory))
}

/// Writes a file under a temporary name, flushes it and gives it its name, durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let temporary = path.with_extension("tmp");
    let file = disk::create_empty(&temporary)?;
    disk::write_at(&file, bytes, 0)?;
    disk::flush(Flush::Replacement, &file)?;
    disk::rename(&temporary, path)?;
    disk::flush_beside(Flush::ReplacementNamed, path)?;
    Ok(file)
}

/// The records of `changes`; `began` says for each, by its index, which record its append began with.
fn encode(changes: &[Change], began: impl Fn(usize) -> usize) -> Vec<u8> {
    let record = |(index, change): (usize, &Change)| change.encode(began(index) as u32);
    changes.iter().enumerate().flat_map(record).collect()
}

/// The seal that stands as record `number`.
fn seal(number: usize) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[0] = SEAL;
    bytes[24..28].copy_from_slice(&(number as u32).to_le_bytes());
    with_checksum(bytes)
}

fn with_checksum(mut bytes: [u8; RECORD]) -> [u8; RECORD] {
    let crc = crc_fast::crc32_iscsi(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether a record is one of an append that began behind record `number`, or a seal behind it.
fn is_later(record: &[u8; RECORD], number: usize) -> bool {
    with_checksum(*record) == *record && began(record) > number
}

/// The number of the record that a record's append began with.
fn began(record: &[u8; RECORD]) -> usize {
    u32::from_le_bytes(std::array::from_fn(|i| record[24 + i])) as usize
}

impl Change {
    /// The place that it is about.
    pub(crate) fn place(&self) -> Place {
        match *self {
            Self::Allocated(allocation) => allocation.extent.place,
            Self::Freed(place) => place,
        }
    }

    fn encode(&self, began: u32) -> [u8; RECORD] {
        let (kind, queue, first) = match *self {
            Self::Allocated(allocation) => (1, allocation.queue, allocation.extent.first),
            Self::Freed(_) => (2, 0, 0),
        };
        let place = self.place();
        let mut bytes = [0; RECORD];
        bytes[..2].copy_from_slice(&[kind, place.class()]);
        bytes[4..8].copy_from_slice(&queue.to_le_bytes());
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[16..20].copy_from_slice(&place.file().to_le_bytes());
        bytes[20..24].copy_from_slice(&place.slot().to_le_bytes());
        bytes[24..28].copy_from_slice(&began.to_le_bytes());
        with_checksum(bytes)
    }

    fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if with_checksum(*bytes) != *bytes {
            return None;
        }
        let place = Place::new(half(16), half(20), bytes[1])?;
        let first = u64::from(half(8)) | u64::from(half(12)) << 32;
        let extent = Extent { first, place };
        match bytes[0] {
            1 => Some(Self::Allocated(Allocation {
                queue: half(4),
                extent,
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
        let place = Place::new(1, 512 * queue, 3).unwrap();
        let first = 1 << 40;
        let extent = Extent { first, place };
        Change::Allocated(Allocation { queue, extent })
    }

    #[test]
    fn records_come_back_and_a_torn_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let changes = [
            allocated(1),
            allocated(2),
            Change::Freed(Place::new(0, 9, 0).unwrap()),
        ];
        ExtentLog::open(&path).unwrap().0.append(&changes).unwrap();
        for cut in 0..=3 * RECORD {
            let torn = dir.path().join("torn");
            fs::write(&torn, &fs::read(&path).unwrap()[..cut]).unwrap();
            let directory = ExtentLog::open(&torn).unwrap().1;
            assert_eq!(directory.changes(), changes[..cut / RECORD]);
        }
    }

    #[test]
    fn a_bad_record_in_the_middle_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let mut log = ExtentLog::open(&path).unwrap().0;
        log.append(&[allocated(1)]).unwrap();
        log.append(&[allocated(2)]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[9] ^= 1;
        fs::write(&path, bytes).unwrap();
        let opened = ExtentLog::open(&path);
        assert!(matches!(opened, Err(IndexError::Damaged { .. })));
    }

    #[test]
    fn every_flipped_bit_is_damage_or_in_the_seal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let mut log = ExtentLog::open(&path).unwrap().0;
        log.append(&[allocated(1)]).unwrap();
        log.append(&[allocated(2), allocated(3)]).unwrap();
        let sound = fs::read(&path).unwrap();
        assert_eq!(sound.len(), 4 * RECORD);
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let opened = ExtentLog::open(&path);
            match bit < 3 * RECORD * 8 {
                true => assert!(matches!(opened, Err(IndexError::Damaged { .. })), "{bit}"),
                false => assert_eq!(opened.unwrap().1.len(), 3, "{bit}"),
            }
        }
    }

    #[test]
    fn an_append_of_which_the_device_has_the_end_only_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let mut log = ExtentLog::open(&path).unwrap().0;
        log.append(&[allocated(1)]).unwrap();
        log.append(&[allocated(2), allocated(3)]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        // Not sealed yet.
        bytes.truncate(3 * RECORD);
        bytes[RECORD..2 * RECORD].fill(0);
        fs::write(&path, bytes).unwrap();
        let directory = ExtentLog::open(&path).unwrap().1;
        assert_eq!(directory.changes(), [allocated(1)]);
    }

    #[test]
    fn extents_that_overlap_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let within = Change::Freed(Place::new(1, 513, 0).unwrap());
        let opened = ExtentLog::open(&path)
            .unwrap()
            .0
            .append(&[allocated(1), within]);
        opened.unwrap();
        let opened = ExtentLog::open(&path);
        assert!(matches!(opened, Err(IndexError::Damaged { .. })));
    }

    #[test]
    fn what_is_overruled_goes_while_the_log_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extents");
        let mut log = ExtentLog::open(&path).unwrap().0;
        let place = Place::new(0, 0, 0).unwrap();
        for first in 0..1_000 {
            let (queue, extent) = (7, Extent { first, place });
            let allocated = Change::Allocated(Allocation { queue, extent });
            log.append(&[Change::Freed(place), allocated]).unwrap();
            assert!(fs::metadata(&path).unwrap().len() as usize <= (COMPACT_FROM + 3) * RECORD);
        }
        let directory = ExtentLog::open(&path).unwrap().1;
        assert_eq!(
            (directory.len(), directory.extents[0].extent.first),
            (1, 999)
        );
    }
}
