//! Finds records by key and by message id.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::error::IndexError;
use crate::extent_log::{replace, sync_folder};
use crate::run::{self, Pair, Run};

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
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, RunFile>,
    /// Not yet in a file; all of one stretch.
    pending: Vec<Pair>,
    /// The highest position that was put.
    last: Option<u64>,
}

/// The runs of one stretch.
#[derive(Debug)]
struct RunFile {
    path: PathBuf,
    file: File,
    runs: Vec<Run>,
    dirty: bool,
}

impl KeyIndex {
    /// Opens or creates the index. Pairs at or above `checkpoint` are forgotten: the dispatcher brings them again.
    /// `stretch` is the log's segment size: what is indexed is dropped in such units.
    pub fn open(dir: &Path, checkpoint: u64, stretch: u64) -> Result<Self, IndexError> {
        fs::create_dir_all(dir).map_err(IndexError::io("creating", dir))?;
        let mut inner = Inner::default();
        let bases = bases(dir)?;
        for &base in &bases {
            let path = dir.join(format!("{base:0NAME_DIGITS$}"));
            if base >= checkpoint {
                fs::remove_file(&path).map_err(IndexError::io("removing", &path))?;
                continue;
            }
            // Checksums cost a read of the whole file: only the newest can be torn.
            let check = Some(&base) == bases.last();
            let mut file = RunFile::open(path, check)?;
            let kept = file.cut_at(checkpoint)?;
            inner.pending.extend(kept);
            inner.files.insert(base, file);
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            stretch: stretch.max(1),
            inner: Mutex::new(inner),
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
    pub fn positions(&self, hash: u64, most: usize) -> Result<Vec<u64>, IndexError> {
        let inner = self.inner.lock();
        let mut found: Vec<u64> = inner
            .pending
            .iter()
            .filter(|pair| pair.0 == hash)
            .map(|pair| pair.1)
            .collect();
        for file in inner.files.values().rev() {
            if found.len() >= most {
                break;
            }
            let error = || IndexError::io("reading", &file.path);
            file.runs
                .iter()
                .try_for_each(|run| run.find(&file.file, hash, &mut found))
                .map_err(error())?;
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found.truncate(most);
        Ok(found)
    }

    /// Drops the stretches that lie whole below `start` (the log's first position).
    pub fn trim(&self, start: u64) -> Result<(), IndexError> {
        let mut inner = self.inner.lock();
        let keep = inner.files.split_off(&self.base(start));
        for file in mem::replace(&mut inner.files, keep).into_values() {
            fs::remove_file(&file.path).map_err(IndexError::io("removing", &file.path))?;
        }
        Ok(())
    }

    /// Flushes everything put so far; the caller may then move the checkpoint.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut inner = self.inner.lock();
        self.write_out(&mut inner)?;
        let current = inner.files.keys().next_back().copied();
        for (&base, file) in &mut inner.files {
            file.flush()?;
            if Some(base) != current {
                file.merge()?;
            }
        }
        sync_folder(&self.dir.join("any")).map_err(IndexError::io("flushing", &self.dir))
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
                true,
            )?),
        };
        file.append(&mut inner.pending)?;
        inner.pending.clear();
        Ok(())
    }
}

impl RunFile {
    /// Opens or creates it, and cuts what does not decode: the torn end of an append that was never flushed. The
    /// checksums of the pairs are looked at if `check`.
    fn open(path: PathBuf, check: bool) -> Result<Self, IndexError> {
        let error = || IndexError::io("opening", &path);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(error())?;
        let len = file.metadata().map_err(error())?.len();
        let mut runs: Vec<Run> = Vec::new();
        while let Some(run) =
            Run::open(&file, runs.last().map_or(0, Run::end), len, check).map_err(error())?
        {
            runs.push(run);
        }
        file.set_len(runs.last().map_or(0, Run::end))
            .map_err(error())?;
        Ok(Self {
            path,
            file,
            runs,
            dirty: false,
        })
    }

    /// Takes off the runs that reach to `checkpoint` or beyond; returns their pairs below it.
    fn cut_at(&mut self, checkpoint: u64) -> Result<Vec<Pair>, IndexError> {
        let keep = self.runs.partition_point(|run| run.highest < checkpoint);
        let mut below = Vec::new();
        for run in self.runs.drain(keep..) {
            let pairs = run
                .pairs(&self.file)
                .map_err(IndexError::io("reading", &self.path))?;
            below.extend(pairs.into_iter().filter(|pair| pair.1 < checkpoint));
        }
        below.sort_unstable_by_key(|pair| pair.1);
        let end = self.runs.last().map_or(0, Run::end);
        self.file
            .set_len(end)
            .map_err(IndexError::io("cutting", &self.path))?;
        Ok(below)
    }

    fn append(&mut self, pairs: &mut [Pair]) -> Result<(), IndexError> {
        let at = self.runs.last().map_or(0, Run::end);
        let bytes = run::encode(pairs);
        self.file
            .write_all_at(&bytes, at)
            .map_err(IndexError::io("writing", &self.path))?;
        self.runs.extend(Run::decode(&bytes, at));
        self.dirty = true;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        if mem::take(&mut self.dirty) {
            self.file
                .sync_all()
                .map_err(IndexError::io("flushing", &self.path))
                .inspect_err(|_| self.dirty = true)?;
        }
        Ok(())
    }

    /// Makes one run of all.
    fn merge(&mut self) -> Result<(), IndexError> {
        if self.runs.len() < 2 {
            return Ok(());
        }
        let error = || IndexError::io("merging", &self.path);
        let mut pairs = Vec::new();
        for run in &self.runs {
            pairs.extend(run.pairs(&self.file).map_err(error())?);
        }
        let bytes = run::encode(&mut pairs);
        self.file = replace(&self.path, &bytes).map_err(error())?;
        self.runs = Run::decode(&bytes, 0).into_iter().collect();
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
