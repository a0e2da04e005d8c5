//! What in the pool's files is used and what is free.

use std::mem;
use std::path::Path;
use std::sync::Arc;

use foliomq_segment::disk;
use foliomq_segment::words::Words;

use crate::entry::{QueueNumber, WORDS};
use crate::error::IndexError;
use crate::extent::{Allocation, Extent, LAST_CLASS, Place, capacity};
use crate::extent_log::Change;
use crate::files::{Files, NextFile};

/// Hands out extents and takes them back.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) files: Arc<Files>,
    /// For each file the entries that were handed out.
    used: Vec<u32>,
    /// The file that is handed out from; those after it are unused.
    current: usize,
    next: NextFile,
    /// Places to use again, by class.
    free: [Vec<Place>; LAST_CLASS as usize + 1],
    /// What the extent log does not say yet.
    pending: Vec<Change>,
    /// For each file whether it was written since the last flush.
    dirty: Vec<bool>,
}

/// What is to be flushed and then recorded: files, and the changes that they must precede.
#[derive(Debug)]
pub(crate) struct Unflushed {
    pub(crate) files: Vec<usize>,
    pub(crate) changes: Vec<Change>,
}

impl Pool {
    /// Opens the files that are there.
    pub(crate) fn open(dir: &Path) -> Result<Self, IndexError> {
        let (files, count) = Files::open(dir)?;
        Ok(Self {
            files: Arc::new(files),
            used: vec![0; count],
            current: 0,
            next: NextFile::new(dir),
            free: Default::default(),
            pending: Vec::new(),
            // A process that was killed may have cleared what is still on the device: zeros that nobody writes again.
            dirty: vec![true; count],
        })
    }

    /// Notes a place that the extent log names as used; `false` if it lies in no file.
    pub(crate) fn add_used(&mut self, place: Place) -> bool {
        let file = place.file() as usize;
        let fits = |words: &Words| place.fits(words.len());
        let there = self.files.get(file).is_some_and(fits);
        if there {
            self.used[file] = self.used[file].max(place.end());
            self.current = self.current.max(file);
        }
        there
    }

    /// Notes a place that the extent log names as free; `false` if it lies in no file.
    pub(crate) fn add_free(&mut self, place: Place) -> bool {
        let there = self.add_used(place);
        if there {
            self.free[usize::from(place.class())].push(place);
        }
        there
    }

    /// A zeroed extent for `queue`, from `first` on.
    pub(crate) fn allocate(
        &mut self,
        queue: QueueNumber,
        first: u64,
        class: u8,
    ) -> Result<Extent, IndexError> {
        let place = match self.free[usize::from(class)].pop() {
            Some(place) => place,
            None => self.carve(class)?,
        };
        let extent = Extent { first, place };
        if let Some(words) = self.files.get(place.file() as usize) {
            // What an earlier owner, or a crash, left there must never look like entries of this queue.
            extent.clear_from(words, first);
        }
        self.mark_dirty(place.file() as usize);
        self.pending
            .push(Change::Allocated(Allocation { queue, extent }));
        Ok(extent)
    }

    /// Gives a place back. It is used again only once the extent log says that it is free.
    pub(crate) fn release(&mut self, place: Place) {
        self.pending.push(Change::Freed(place));
    }

    #[inline]
    pub(crate) fn mark_dirty(&mut self, file: usize) {
        if let Some(dirty) = self.dirty.get_mut(file) {
            *dirty = true;
        }
    }

    /// What changed since the last flush.
    pub(crate) fn begin_flush(&mut self) -> Unflushed {
        let written = self.dirty.iter_mut().map(mem::take).enumerate();
        Unflushed {
            files: written
                .filter_map(|(file, dirty)| dirty.then_some(file))
                .collect(),
            changes: mem::take(&mut self.pending),
        }
    }

    /// The changes are recorded.
    pub(crate) fn end_flush(&mut self, flushed: &Unflushed) {
        for change in &flushed.changes {
            if let Change::Freed(place) = change {
                self.free[usize::from(place.class())].push(*place);
            }
        }
    }

    /// The changes could not be recorded.
    pub(crate) fn undo_flush(&mut self, mut unflushed: Unflushed) {
        unflushed
            .files
            .iter()
            .for_each(|&file| self.mark_dirty(file));
        unflushed.changes.append(&mut self.pending);
        self.pending = unflushed.changes;
    }

    /// A place that was never used, in a new file if need be.
    fn carve(&mut self, class: u8) -> Result<Place, IndexError> {
        if self.room() < capacity(class) {
            self.move_on()?;
        }
        let (file, slot) = (self.current, self.used[self.current]);
        let place = Place::new(file as u32, slot, class);
        let place = place.ok_or_else(|| IndexError::Io {
            what: format!("an extent at {slot} of pool file {file}"),
            source: std::io::ErrorKind::StorageFull.into(),
        })?;
        self.used[file] = place.end();
        if self.room() < self.size() / 2 && self.current + 1 == self.used.len() {
            self.next.prepare(self.current + 1);
        }
        Ok(place)
    }

    /// Entries of the current file.
    fn size(&self) -> u32 {
        let words = self.files.get(self.current).map_or(0, Words::len);
        (words / WORDS) as u32
    }

    /// Entries of it that were never handed out.
    fn room(&self) -> u32 {
        let used = self.used.get(self.current).copied().unwrap_or_default();
        self.size().saturating_sub(used)
    }

    /// Goes on with the next file.
    fn move_on(&mut self) -> Result<(), IndexError> {
        let next = if self.used.is_empty() {
            0
        } else {
            self.current + 1
        };
        if next == self.used.len() {
            self.files.add(next, self.next.take(next)?);
            self.used.push(0);
            self.dirty.push(false);
        }
        self.current = next;
        Ok(())
    }
}

/// Removes every file of the pool.
pub(crate) fn wipe(dir: &Path) -> Result<(), IndexError> {
    let error = || IndexError::io("removing", dir);
    match disk::remove_folder(dir) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(error()),
    }
}
