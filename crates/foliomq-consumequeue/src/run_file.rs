//! The runs of one stretch of the log, in one file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foliomq_segment::disk::{self, Flush};
use foliomq_segment::drop_cached;

use crate::error::IndexError;
use crate::extent_log::replace;
use crate::run::{self, HEADER, Pair, Run};

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
    /// Opens or creates it. The torn end of an append that was never flushed is cut; what does not decode before a seal,
    /// or in a file that is known to be `flushed`, is damage. The pairs of a flushed file are looked at when they are read.
    pub(crate) fn open(path: PathBuf, flushed: bool) -> Result<Self, IndexError> {
        let error = || IndexError::io("opening", &path);
        let file = disk::create(&path).map_err(error())?;
        drop_cached(&file).map_err(error())?;
        let len = file.metadata().map_err(error())?.len();
        let mut runs: Vec<Run> = Vec::new();
        while let Some(run) =
            Run::open(&file, runs.last().map_or(0, Run::end), len, !flushed).map_err(error())?
        {
            runs.push(run);
        }
        let end = runs.last().map_or(0, Run::end);
        let sealed = is_sealed(&file, len).map_err(error())?;
        if end + if sealed { HEADER as u64 } else { 0 } != len {
            // Of a seal that was not flushed the device may have the room only.
            if sealed || flushed && len - end > HEADER as u64 {
                return Err(IndexError::damaged(
                    &path,
                    format!("the run at {end} is bad"),
                ));
            }
            disk::set_len(&file, end).map_err(error())?;
        }
        Ok(Self {
            path,
            file: Arc::new(file),
            runs,
            // A process that was killed may have left something.
            dirty: true,
        })
    }

    /// Forgets the pairs at or above `checkpoint`. Those below it in a run that reaches across stay, in a run of their
    /// own, since nothing brings them again.
    ///
    /// The file is replaced, not cut: of a cut that is not on the device yet the old seal might come back behind new runs,
    /// and vouch for what is half of each.
    pub(crate) fn cut_at(&mut self, checkpoint: u64) -> Result<(), IndexError> {
        let keep = self.runs.partition_point(|run| run.highest < checkpoint);
        if keep == self.runs.len() {
            return Ok(());
        }
        let mut below: Vec<Pair> = Vec::new();
        for run in self.runs.drain(keep..) {
            let pairs = run.pairs(&self.file).map_err(unread(&self.path))?;
            below.extend(pairs.into_iter().filter(|pair| pair.1 < checkpoint));
        }
        let end = self.runs.last().map_or(0, Run::end);
        let mut bytes = vec![0; end as usize];
        self.file
            .read_exact_at(&mut bytes, 0)
            .map_err(IndexError::io("reading", &self.path))?;
        if !below.is_empty() {
            let run = run::encode(&mut below);
            self.runs.extend(Run::from_header(&run, end));
            bytes.extend_from_slice(&run);
        }
        bytes.extend_from_slice(&run::seal(bytes.len() as u64));
        self.file =
            Arc::new(replace(&self.path, &bytes).map_err(IndexError::io("rewriting", &self.path))?);
        Ok(())
    }

    /// Adds a run; sorts the pairs.
    pub(crate) fn append(&mut self, pairs: &mut [Pair]) -> Result<(), IndexError> {
        let at = self.runs.last().map_or(0, Run::end);
        let bytes = run::encode(pairs);
        disk::write_at(&self.file, &bytes, at).map_err(IndexError::io("writing", &self.path))?;
        self.runs.extend(Run::from_header(&bytes, at));
        self.dirty = true;
        Ok(())
    }

    /// Notes that the device has all of the runs of the snapshot, unless there are more now. A power cut may lose the note;
    /// then a bad last run counts as torn.
    pub(crate) fn seal(&self, flushed: &Snapshot) {
        let end = self.runs.last().map_or(0, Run::end);
        if self.runs != flushed.runs {
            return;
        }
        if let Err(error) = disk::write_at(&self.file, &run::seal(end), end) {
            tracing::warn!(%error, path = %self.path.display(), "a key file goes on without its seal");
        }
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
                .map_err(unread(&self.path))?;
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
            pairs.extend(run.pairs(&self.file).map_err(unread(&self.path))?);
        }
        let mut bytes = run::encode(&mut pairs);
        bytes.extend_from_slice(&run::seal(bytes.len() as u64));
        let temporary = self.path.with_extension("merged");
        let file = disk::create_empty(&temporary).map_err(error())?;
        disk::write_at(&file, &bytes, 0)
            .and_then(|()| disk::flush(Flush::KeysMerged, &file))
            .map_err(error())?;
        Ok(Merged {
            temporary,
            file,
            run: Run::from_header(&bytes, 0),
        })
    }
}

impl Merged {
    /// The stretch was dropped meanwhile.
    pub(crate) fn discard(self) -> Result<(), IndexError> {
        disk::unlink(&self.temporary).map_err(IndexError::io("removing", &self.temporary))
    }
}

/// Whether a file of `len` bytes ends with a seal.
fn is_sealed(file: &File, len: u64) -> io::Result<bool> {
    let Some(at) = len.checked_sub(HEADER as u64) else {
        return Ok(false);
    };
    let mut last = [0; HEADER];
    file.read_exact_at(&mut last, at)?;
    Ok(last == run::seal(at))
}

/// For `map_err`: pairs that could not be read, or were not what was written.
fn unread(path: &Path) -> impl FnOnce(io::Error) -> IndexError {
    move |source| match source.kind() {
        io::ErrorKind::InvalidData => IndexError::damaged(path, source.to_string()),
        _ => IndexError::io("reading", path)(source),
    }
}
