//! The folder of a log: its lock, its segments' names, its file system.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{self, Flush};

const LOCK: &str = "lock";
/// Digits of a segment's name: the position of its first byte.
const NAME_DIGITS: usize = 20;
/// Ending of a segment that is still being made.
const TEMPORARY: &str = ".tmp";

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process, or another log in this one, holds the lock.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// The folder or its lock file could not be made or opened.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Size of the file system that holds a folder, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What is used and what is free together: without what is kept for root, as `df` counts it.
    pub total: u64,
    /// What an unprivileged process may still take.
    pub free: u64,
}

/// A locked folder of segments. The lock ends when the last user of the folder is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
    _lock: File,
    /// Bases of the segments that are open: each may be open once.
    open: Mutex<BTreeSet<u64>>,
}

impl Folder {
    /// Makes the folder if needed, and takes its lock.
    pub fn lock(path: &Path) -> Result<Arc<Self>, FolderError> {
        let error = |path: &Path| {
            let path = path.to_path_buf();
            move |source| FolderError::Io { path, source }
        };
        disk::make_folder(path).map_err(error(path))?;
        let file = path.join(LOCK);
        let lock = disk::create(&file).map_err(error(&file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Locked(path.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(error(&file)(source)),
        }
        let handle = File::open(path).map_err(error(path))?;
        Ok(Arc::new(Self {
            path: path.to_path_buf(),
            handle,
            _lock: lock,
            open: Mutex::default(),
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes creations, renames and removals in the folder durable.
    pub fn sync(&self, what: Flush) -> io::Result<()> {
        disk::flush_folder(what, &self.handle)
    }

    /// The path of the segment that begins at `base`.
    pub fn segment_path(&self, base: u64) -> PathBuf {
        Self::path_in(&self.path, base)
    }

    /// The path of the segment that begins at `base` in the folder `dir`. Needs no lock.
    pub fn path_in(dir: &Path, base: u64) -> PathBuf {
        dir.join(format!("{base:0NAME_DIGITS$}"))
    }

    /// The path under which a segment is made before it gets its name.
    pub(crate) fn temporary_path(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:0NAME_DIGITS$}{TEMPORARY}"))
    }

    /// First positions of the segments in `path`, ascending. Needs no lock; other files are passed over.
    pub fn bases(path: &Path) -> io::Result<Vec<u64>> {
        let mut bases = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Some(base) = entry?.file_name().to_str().and_then(parse_name) {
                bases.push(base);
            }
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Removes what a crash left half made.
    pub fn remove_temporary(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let base = name
                .to_str()
                .and_then(|name| name.strip_suffix(TEMPORARY))
                .and_then(parse_name);
            if base.is_some() {
                disk::unlink(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Unlinks a segment. References into it stay valid. Not durable before [`sync`](Self::sync).
    pub fn remove(&self, base: u64) -> io::Result<()> {
        match disk::unlink(&self.segment_path(base)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// How full the file system is.
    pub fn usage(&self) -> io::Result<Usage> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(Usage {
            total: (stat.f_blocks - stat.f_bfree + stat.f_bavail) * stat.f_frsize,
            free: stat.f_bavail * stat.f_frsize,
        })
    }

    /// Notes that the segment at `base` is open; an error if it already is.
    pub(crate) fn claim(self: &Arc<Self>, base: u64) -> io::Result<Claim> {
        if self.open.lock().insert(base) {
            Ok(Claim {
                folder: Some(self.clone()),
                base,
            })
        } else {
            let path = self.segment_path(base);
            Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("segment {} is already open", path.display()),
            ))
        }
    }
}

/// The right to have one segment open.
#[derive(Debug)]
pub(crate) struct Claim {
    /// `None` for a segment of another process's log, which may be opened any number of times, to be read.
    folder: Option<Arc<Folder>>,
    pub(crate) base: u64,
}

impl Claim {
    pub(crate) fn foreign(base: u64) -> Self {
        Self { folder: None, base }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            folder.open.lock().remove(&self.base);
        }
    }
}

fn parse_name(name: &str) -> Option<u64> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_may_hold_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        assert!(matches!(
            Folder::lock(dir.path()),
            Err(FolderError::Locked(_))
        ));
        drop(folder);
        Folder::lock(dir.path()).unwrap();
    }

    #[test]
    fn bases_are_sorted_and_other_files_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        for base in [70_000, 0, 9] {
            fs::write(folder.segment_path(base), b"").unwrap();
        }
        fs::write(folder.temporary_path(5), b"").unwrap();
        fs::write(dir.path().join("checkpoint"), b"").unwrap();
        assert_eq!(Folder::bases(dir.path()).unwrap(), [0, 9, 70_000]);
        folder.remove_temporary().unwrap();
        assert!(!folder.temporary_path(5).exists());
    }

    #[test]
    fn usage_is_plausible() {
        let dir = tempfile::tempdir().unwrap();
        let usage = Folder::lock(dir.path()).unwrap().usage().unwrap();
        assert!(usage.total > 0 && usage.free <= usage.total);
    }
}
