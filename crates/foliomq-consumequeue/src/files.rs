//! The pool's files: looked up without a lock, made ahead on a thread of their own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use foliomq_segment::words::Words;

use crate::entry::WORDS;
use crate::error::IndexError;
use crate::table::Table;

/// Entries of the pool files: 2 MiB for the first, so that a small store stays small, 16 MiB, then 64 MiB each.
const FILE_ENTRIES: [u32; 3] = [64 << 10, 512 << 10, 2 << 20];
/// Most files: 4 TiB of entries.
const MOST: usize = 64 << 10;

/// The files, by their number. They never go while the pool is open.
#[derive(Debug, Default)]
pub(crate) struct Files(Table<OnceLock<Words>>);

impl Files {
    /// Opens those that are there; returns how many.
    pub(crate) fn open(dir: &Path) -> Result<(Self, usize), IndexError> {
        let files = Self::default();
        for number in 0..MOST {
            let path = path(dir, number);
            let there = path.try_exists();
            if !there.map_err(IndexError::io("looking for", &path))? {
                return Ok((files, number));
            }
            let words = Words::open(&path).map_err(|source| match source.kind() {
                io::ErrorKind::InvalidData => IndexError::damaged(&path, source.to_string()),
                _ => IndexError::io("opening", &path)(source),
            })?;
            files.add(number, words);
        }
        Ok((files, MOST))
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&Words> {
        self.0.get(number)?.get()
    }

    pub(crate) fn add(&self, number: usize, words: Words) {
        // A number is given once.
        let _ = self.0.grow_to(number).set(words);
    }
}

/// The file after the last one: made in the background, so that no put has to wait for it.
#[derive(Debug)]
pub(crate) struct NextFile {
    dir: PathBuf,
    making: Option<JoinHandle<Result<Words, IndexError>>>,
}

impl NextFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            making: None,
        }
    }

    /// Begins to make file `number`, unless that was begun. That no thread can be had costs time later, no more.
    pub(crate) fn prepare(&mut self, number: usize) {
        if self.making.is_some() {
            return;
        }
        let dir = self.dir.clone();
        let thread = thread::Builder::new().name("folio-pool".to_owned());
        self.making = thread.spawn(move || create(&dir, number)).ok();
    }

    /// File `number`: the one that was made ahead, or made now.
    pub(crate) fn take(&mut self, number: usize) -> Result<Words, IndexError> {
        match self.making.take().map(JoinHandle::join) {
            Some(Ok(made)) => made,
            // The thread has panicked, or there was none.
            Some(Err(_)) | None => create(&self.dir, number),
        }
    }
}

impl Drop for NextFile {
    fn drop(&mut self) {
        // What it made lies ready for the next start.
        self.making.take().map(JoinHandle::join);
    }
}

fn create(dir: &Path, number: usize) -> Result<Words, IndexError> {
    let path = path(dir, number);
    if number >= MOST {
        let full = io::Error::new(io::ErrorKind::StorageFull, "the pool has its most files");
        return Err(IndexError::io("creating", &path)(full));
    }
    let entries = FILE_ENTRIES[number.min(FILE_ENTRIES.len() - 1)];
    Words::create(&path, entries as usize * WORDS).map_err(IndexError::io("creating", &path))
}

fn path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("pool-{number:06}"))
}
