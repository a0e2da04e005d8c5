//! The runs of one stretch of the log, in one file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use foliomq_segment::disk::{self, Flush};
use foliomq_segment::drop_cached;

use crate::error::IndexError;
use crate::extent_log::replace;
use crate::run::{self, Pair, Run};

/// The file, and where its runs lie.
#[derive(Debug)]
pub(crate) struct RunFile {
    path: PathBuf,
    file: Arc<File>,
    runs: Vec<Run>,
    /// Whether something may have been written since the last flush.
    pub(crate) dirty: bool,
}

/// The runs at one moment, to read without a lock: what is written stays as it is, even when the file is replaced.
#[derive(Debug)]
pub(crate) struct Snapshot {
    path: PathBuf,
    file: Arc<File>,
    runs: Vec<Run>,
}

/// All runs of a file as one, in a file of its own that has no name yet but a temporary one.
#[derive(Debug)]
pub(crate) struct Merged {
    temporary: PathBuf,
    file: File,
    run: Option<Run>,
}

impl RunFile {
    /// Opens or creates it, and cuts what does not decode: the torn end of an append that was never flushed. The
    /// checksums of the pairs are looked at if `check`.
    pub(crate) fn open(path: PathBuf, check: bool) -> Result<Self, IndexError> {
        let error = || IndexError::io("opening", &path);
        let file = disk::create(&path).map_err(error())?;
        drop_cached(&file).map_err(error())?;
        let len = file.metadata().map_err(error())?.len();
        let mut runs: Vec<Run> = Vec::new();
        while let Some(run) =
            Run::open(&file, runs.last().map_or(0, Run::end), len, check).map_err(error())?
        {
            runs.push(run);
        }
        disk::set_len(&file, runs.last().map_or(0, Run::end)).map_err(error())?;
        Ok(Self {
            path,
            file: Arc::new(file),
            runs,
            // A process that was killed may have left something.
            dirty: true,
        })
    }

    /// Forgets the pairs at or above `checkpoint`. Those below it in a run that reaches across stay: the file is
    /// replaced at once by one that holds them in a run of their own, since nothing brings them again.
    pub(crate) fn cut_at(&mut self, checkpoint: u64) -> Result<(), IndexError> {
        let keep = self.runs.partition_point(|run| run.highest < checkpoint);
        let mut below: Vec<Pair> = Vec::new();
        for run in self.runs.drain(keep..) {
            let pairs = run
                .pairs(&self.file)
                .map_err(IndexError::io("reading", &self.path))?;
            below.extend(pairs.into_iter().filter(|pair| pair.1 < checkpoint));
        }
        let end = self.runs.last().map_or(0, Run::end);
        if below.is_empty() {
            return disk::set_len(&self.file, end).map_err(IndexError::io("cutting", &self.path));
        }
        let mut bytes = vec![0; end as usize];
        self.file
            .read_exact_at(&mut bytes, 0)
            .map_err(IndexError::io("reading", &self.path))?;
        let run = run::encode(&mut below);
        self.runs.extend(Run::decode(&run, end));
        bytes.extend_from_slice(&run);
        self.file =
            Arc::new(replace(&self.path, &bytes).map_err(IndexError::io("rewriting", &self.path))?);
        Ok(())
    }

    /// Adds a run; sorts the pairs.
    pub(crate) fn append(&mut self, pairs: &mut [Pair]) -> Result<(), IndexError> {
        let at = self.runs.last().map_or(0, Run::end);
        let bytes = run::encode(pairs);
        disk::write_at(&self.file, &bytes, at).map_err(IndexError::io("writing", &self.path))?;
        self.runs.extend(Run::decode(&bytes, at));
        self.dirty = true;
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            path: self.path.clone(),
            file: self.file.clone(),
            runs: self.runs.clone(),
        }
    }

    pub(crate) fn has_many_runs(&self) -> bool {
        self.runs.len() > 1
    }

    /// Gives the merged file this one's name, and goes on with it. Nothing may have been appended meanwhile: the log has
    /// left the stretch.
    pub(crate) fn take_over(&mut self, merged: Merged) -> Result<(), IndexError> {
        // Until the next flush of the folder either file may stand there: they hold the same.
        disk::rename(&merged.temporary, &self.path)
            .map_err(IndexError::io("replacing", &self.path))?;
        self.file = Arc::new(merged.file);
        self.runs = merged.run.into_iter().collect();
        Ok(())
    }

    /// Removes the file. Snapshots of it stay readable.
    pub(crate) fn remove(self) -> Result<(), IndexError> {
        disk::unlink(&self.path).map_err(IndexError::io("removing", &self.path))
    }
}

impl Snapshot {
    /// Adds positions that carry `hash`, the newest `most` of each run at least.
    pub(crate) fn find(
        &self,
        hash: u64,
        most: usize,
        found: &mut Vec<u64>,
    ) -> Result<(), IndexError> {
        for run in &self.runs {
            run.find(&self.file, hash, most, found)
                .map_err(IndexError::io("reading", &self.path))?;
        }
        Ok(())
    }

    /// Waits until the device has it.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        disk::flush(Flush::KeyRuns, &self.file).map_err(IndexError::not_flushed(&self.path))
    }

    /// Writes all runs as one into a new file, durably.
    pub(crate) fn merge(&self) -> Result<Merged, IndexError> {
        let error = || IndexError::io("merging", &self.path);
        let mut pairs = Vec::new();
        for run in &self.runs {
            pairs.extend(run.pairs(&self.file).map_err(error())?);
        }
        let bytes = run::encode(&mut pairs);
        let temporary = self.path.with_extension("merged");
        let file = disk::create_empty(&temporary).map_err(error())?;
        disk::write_at(&file, &bytes, 0)
            .and_then(|()| disk::flush(Flush::KeysMerged, &file))
            .map_err(error())?;
        Ok(Merged {
            temporary,
            file,
            run: Run::decode(&bytes, 0),
        })
    }
}

impl Merged {
    /// The stretch was dropped meanwhile.
    pub(crate) fn discard(self) -> Result<(), IndexError> {
        disk::unlink(&self.temporary).map_err(IndexError::io("removing", &self.temporary))
    }
}
