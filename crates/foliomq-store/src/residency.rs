//! What of the log is in memory: of an open store, or of a folder from outside.

use std::io;
use std::path::Path;

use foliomq_commitlog::SegmentResidency;

use crate::error::StoreError;
use crate::store::Store;
use foliomq_consumequeue::Entry;

/// Parts of a segment in which [`Store::residency`] looks at it.
pub const HEAT_PARTS: usize = 64;

impl Store {
    /// What of each segment of the log is mapped, resident, dirty, locked and pinned by readers, oldest segment first,
    /// deleted ones that readers still hold included. Faults nothing in; takes some ten microseconds for each GiB.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let store = foliomq_store::Options::new(dir.path()).segment_size(16 << 20).open()?;
    /// for segment in store.residency()? {
    ///     println!("{}: {} of {} bytes in memory", segment.base, segment.pages.resident, segment.size);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn residency(&self) -> io::Result<Vec<SegmentResidency>> {
        self.shared().log.residency(HEAT_PARTS)
    }

    /// Whether the messages of these entries can be read without waiting for the device. For a caller that must not
    /// block: where it is `false`, let another thread [`warm`](Self::warm) them first. A system call at most for every
    /// 256 KiB and second.
    pub fn is_warm(&self, entries: &[Entry]) -> Result<bool, StoreError> {
        for entry in entries {
            if !self.shared().log.is_warm(entry.position, entry.size)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Brings the pages of these entries' messages into memory, and waits for it. Every read does this for itself; this is
    /// for a caller that reads on one thread and may wait on another.
    ///
    /// # Errors
    ///
    /// What the device cannot deliver.
    pub fn warm(&self, entries: &[Entry]) -> Result<(), StoreError> {
        entries
            .iter()
            .try_for_each(|entry| Ok(self.shared().log.warm(entry.position, entry.size)?))
    }
}

/// What of each segment of the log in the folder `log` is in memory, looked at from outside: no lock is taken, and nobody is
/// disturbed, whether or not a store is open on it.
///
/// What only the owner of the log knows (mapped, locked, pinned) is `None`, or 0. The kernel tells of pages only to those
/// who may write to the files, or own them.
pub fn residency(log: &Path) -> io::Result<Vec<SegmentResidency>> {
    foliomq_commitlog::residency(log, HEAT_PARTS)
}
