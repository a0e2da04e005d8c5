//! Finds records by key and by message id.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use foliomq_segment::disk::{self, Flush};
use parking_lot::Mutex;

use crate::error::IndexError;
use crate::run::Pair;
use crate::run_file::{RunFile, Snapshot};

/// Pairs that are held in memory before they become a run: 1 MiB.
const RUN_PAIRS: usize = 64 << 10;
/// Digits of a file's name: the first position of its stretch.
const NAME_DIGITS: usize = 20;

/// Sorted runs of (hash, position), in one file for each stretch of the log.
///
/// A stretch that the log has left behind is merged into a single run, and dropped when the log's start passes it.
#[derive(Debug)]
pub struct KeyIndex {
    dir: PathBuf,
    /// Bytes of the log that share a file.
    stretch: u64,
    inner: Mutex<Inner>,
    /// Held through a flush, so that two never mix. `inner` is not: puts and lookups go on meanwhile.
    flushing: Mutex<()>,
    /// A flush has failed. The kernel calls the pages clean, and the next flush would say that all is well.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, RunFile>,
    /// Not yet in a file; all of one stretch.
    pending: Vec<Pair>,
    /// The highest position that was put.
    last: Option<u64>,
}

impl KeyIndex {
    /// Opens or creates the index. Pairs at or above `checkpoint` are forgotten: the dispatcher brings them again.
    /// `stretch` is the log's segment size: what is indexed is dropped in such units.
    pub fn open(dir: &Path, checkpoint: u64, stretch: u64) -> Result<Self, IndexError> {
        disk::make_folder(dir).map_err(IndexError::io("creating", dir))?;
        let mut inner = Inner::default();
        let bases = bases(dir)?;
        for &base in &bases {
            let path = dir.join(format!("{base:0NAME_DIGITS$}"));
            if base >= checkpoint {
                disk::unlink(&path).map_err(IndexError::io("removing", &path))?;
                continue;
            }
            // Checksums cost a read of the whole file: only what reaches across the checkpoint can be torn.
            let is_last = Some(&base) == bases.last();
            let flushed = !is_last && base.saturating_add(stretch) <= checkpoint;
            let mut file = RunFile::open(path, flushed)?;
            if !flushed {
                file.cut_at(checkpoint)?;
            }
            inner.files.insert(base, file);
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            stretch: stretch.max(1),
            inner: Mutex::new(inner),
            flushing: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// Removes every file, so that all pairs can be brought again from the log's start.
    pub fn wipe(dir: &Path) -> Result<(), IndexError> {
        crate::pool::wipe(dir)
    }

    /// Adds a hash (see [`key_hash`](crate::key_hash)) for the record at `position`. Positions never decrease; a pair
    /// below one that is there already is ignored.
    pub fn put(&self, hash: u64, position: u64) -> Result<(), IndexError> {
        let mut inner = self.inner.lock();
        if inner.last.is_some_and(|last| position < last) {
            return Ok(());
        }
        let moved_on = inner
            .pending
            .last()
            .is_some_and(|pair| self.base(pair.1) != self.base(position));
        if moved_on || inner.pending.len() >= RUN_PAIRS {
            self.write_out(&mut inner)?;
        }
        inner.last = Some(position);
        inner.pending.push((hash, position));
        Ok(())
    }

    /// Positions that carry the hash, newest first, at most `most`. The caller checks the record: hashes collide.
    ///
    /// # Errors
    ///
    /// [`IndexError::Damaged`] if what was read is not what was written.
    pub fn positions(&self, hash: u64, most: usize) -> Result<Vec<u64>, IndexError> {
        let (mut found, files) = self.snapshot(hash);
        for file in files.iter().rev() {
            if found.len() >= most {
                break;
            }
            file.find(hash, most, &mut found)?;
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found.truncate(most);
        Ok(found)
    }

    /// Pending positions of the hash, and the files as they are now, oldest first.
    fn snapshot(&self, hash: u64) -> (Vec<u64>, Vec<Snapshot>) {
        let inner = self.inner.lock();
        let pending = inner.pending.iter().filter(|pair| pair.0 == hash);
        let files = inner.files.values().map(RunFile::snapshot);
        (pending.map(|pair| pair.1).collect(), files.collect())
    }

    /// Drops the stretches that lie whole below `start` (the log's first position).
    pub fn trim(&self, start: u64) -> Result<(), IndexError> {
        let mut inner = self.inner.lock();
        let keep = inner.files.split_off(&self.base(start));
        let dropped = mem::replace(&mut inner.files, keep);
        dropped.into_values().try_for_each(RunFile::remove)
    }

    /// Flushes everything put so far; the caller may then move the checkpoint. Once the device has failed to take a file
    /// this fails for good.
    pub fn flush(&self) -> Result<(), IndexError> {
        let _flushing = self.flushing.lock();
        if self.failed.load(Ordering::Acquire) {
            let source = io::Error::other("an earlier flush failed");
            return Err(IndexError::io("flushing", &self.dir)(source));
        }
        let dirty: Vec<(u64, Snapshot)> = {
            let mut inner = self.inner.lock();
            self.write_out(&mut inner)?;
            let dirty = inner.files.iter_mut().filter(|(_, file)| file.dirty);
            dirty
                .map(|(base, file)| {
                    file.dirty = false;
                    (*base, file.snapshot())
                })
                .collect()
        };
        for (_, file) in &dirty {
            file.sync()
                .inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        }
        disk::flush_beside(Flush::KeyFilesNamed, &self.dir.join("any"))
            .map_err(IndexError::not_flushed(&self.dir))?;
        self.seal(&dirty);
        self.merge()
    }

    fn seal(&self, flushed: &[(u64, Snapshot)]) {
        let inner = self.inner.lock();
        for (base, snapshot) in flushed {
            if let Some(file) = inner.files.get(base) {
                file.seal(snapshot);
            }
        }
    }

    /// Makes one run of the many in each file that the log has left behind.
    fn merge(&self) -> Result<(), IndexError> {
        let many: Vec<(u64, Snapshot)> = {
            let inner = self.inner.lock();
            let current = inner.files.keys().next_back().copied();
            let complete = inner
                .files
                .iter()
                .filter(|(base, _)| Some(**base) != current);
            complete
                .filter(|(_, file)| file.has_many_runs())
                .map(|(base, file)| (*base, file.snapshot()))
                .collect()
        };
        for (base, file) in many {
            let merged = match file.merge() {
                // It stays as it is: whoever looks for something in it is told.
                Err(error @ IndexError::Damaged { .. }) => {
                    tracing::error!(%error, "a key file cannot be merged");
                    continue;
                }
                merged => merged?,
            };
            let mut inner = self.inner.lock();
            match inner.files.get_mut(&base) {
                Some(file) => file.take_over(merged)?,
                None => merged.discard()?,
            }
        }
        Ok(())
    }

    fn base(&self, position: u64) -> u64 {
        position / self.stretch * self.stretch
    }

    /// Makes a run of what is pending.
    fn write_out(&self, inner: &mut Inner) -> Result<(), IndexError> {
        let Some(&(_, position)) = inner.pending.last() else {
            return Ok(());
        };
        let base = self.base(position);
        let file = match inner.files.entry(base) {
            std::collections::btree_map::Entry::Occupied(file) => file.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(RunFile::open(
                self.dir.join(format!("{base:0NAME_DIGITS$}")),
                false,
            )?),
        };
        file.append(&mut inner.pending)?;
        inner.pending.clear();
        Ok(())
    }
}

/// First positions of the files in `dir`, ascending.
fn bases(dir: &Path) -> Result<Vec<u64>, IndexError> {
    let error = || IndexError::io("listing", dir);
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir).map_err(error())? {
        let name = entry.map_err(error())?.file_name();
        let name = name.to_str().filter(|name| name.len() == NAME_DIGITS);
        bases.extend(name.and_then(|name| name.parse::<u64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}
