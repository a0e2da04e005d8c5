//! The files that hold the extents of every queue, and what in them is free.

use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foliomq_segment::words::Words;

use crate::entry::{QueueNumber, WORDS};
use crate::error::IndexError;
use crate::extent::{Allocation, Extent, LAST_CLASS, Place, capacity};
use crate::extent_log::Change;

/// Entries of the pool files: 2 MiB for the first, so that a small store stays small, 16 MiB, then 64 MiB each.
const FILE_ENTRIES: [u32; 3] = [64 << 10, 512 << 10, 2 << 20];

/// The files, and which parts are free.
#[derive(Debug)]
pub(crate) struct Pool {
    dir: PathBuf,
    files: Vec<Arc<Words>>,
    /// Entries of the last file that were handed out.
    used: u32,
    /// Places to use again, by class.
    free: [Vec<Place>; LAST_CLASS as usize + 1],
    /// What the extent log does not say yet.
    pending: Vec<Change>,
}

impl Pool {
    /// Opens the files that are there.
    pub(crate) fn open(dir: &Path) -> Result<Self, IndexError> {
        let mut files = Vec::new();
        loop {
            let path = file_path(dir, files.len());
            if !path
                .try_exists()
                .map_err(IndexError::io("looking for", &path))?
            {
                break;
            }
            files.push(Arc::new(
                Words::open(&path).map_err(IndexError::io("opening", &path))?,
            ));
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            files,
            used: 0,
            free: Default::default(),
            pending: Vec::new(),
        })
    }

    /// The extent of an allocation that the extent log names; notes its place as used.
    pub(crate) fn extent(&mut self, allocation: Allocation) -> Result<Extent, IndexError> {
        let place = allocation.place;
        let words = self.files.get(place.file as usize).cloned();
        let extent = words.and_then(|words| Extent::new(allocation.first, place, words));
        self.note(place);
        extent.ok_or_else(|| {
            IndexError::damaged(
                &self.dir,
                format!("an extent lies outside its pool file: {place:?}"),
            )
        })
    }

    /// Notes a place that the extent log names as free.
    pub(crate) fn add_free(&mut self, place: Place) {
        self.note(place);
        self.free[usize::from(place.class)].push(place);
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
        let allocation = Allocation {
            queue,
            first,
            place,
        };
        let extent = self.extent(allocation)?;
        // What an earlier owner, or a crash, left there must never look like entries of this queue.
        extent.clear_from(first);
        self.pending.push(Change::Allocated(allocation));
        Ok(extent)
    }

    /// Gives a place back. It is used again only once the extent log says that it is free.
    pub(crate) fn release(&mut self, place: Place) {
        self.pending.push(Change::Freed(place));
    }

    /// What is to be flushed and then recorded: the files, and the changes they must precede.
    pub(crate) fn begin_flush(&mut self) -> (Vec<Arc<Words>>, Vec<Change>) {
        (self.files.clone(), mem::take(&mut self.pending))
    }

    /// The changes are recorded.
    pub(crate) fn end_flush(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Freed(place) = change {
                self.free[usize::from(place.class)].push(*place);
            }
        }
    }

    /// The changes could not be recorded.
    pub(crate) fn undo_flush(&mut self, mut changes: Vec<Change>) {
        changes.append(&mut self.pending);
        self.pending = changes;
    }

    fn note(&mut self, place: Place) {
        if place.file as usize + 1 == self.files.len() {
            self.used = self.used.max(place.slot.saturating_add(place.capacity()));
        }
    }

    /// A place that was never used, in a new file if need be.
    fn carve(&mut self, class: u8) -> Result<Place, IndexError> {
        let room = self
            .files
            .last()
            .map_or(0, |words| (words.len() / WORDS) as u32)
            .saturating_sub(self.used);
        if room < capacity(class) {
            self.add_file()?;
        }
        Ok(Place {
            file: self.files.len() as u32 - 1,
            slot: self.used,
            class,
        })
    }

    fn add_file(&mut self) -> Result<(), IndexError> {
        let number = self.files.len();
        let path = file_path(&self.dir, number);
        let entries = FILE_ENTRIES[number.min(FILE_ENTRIES.len() - 1)];
        let words = Words::create(&path, entries as usize * WORDS)
            .map_err(IndexError::io("creating", &path))?;
        self.files.push(Arc::new(words));
        self.used = 0;
        Ok(())
    }
}

/// Removes every file of the pool.
pub(crate) fn wipe(dir: &Path) -> Result<(), IndexError> {
    let error = || IndexError::io("removing", dir);
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(error()),
    }
}

fn file_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("pool-{number:06}"))
}
