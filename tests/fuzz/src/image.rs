//! A store's folder in memory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Made anew at each opening.
const PASSING: [&str; 2] = ["control", "lock"];
/// Folders of cases are made here, if it is there: a device would only slow them.
const MEMORY: &str = "/dev/shm";

/// A file: its bytes up to the last that is not zero, and its length.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) len: usize,
}

/// The files of a folder, by path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) files: Vec<Content>,
}

impl Image {
    /// What is in `dir` now.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let mut image = Self::default();
        image.add(dir, dir)?;
        image.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(image)
    }

    fn add(&mut self, root: &Path, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let passing = path
                .file_name()
                .is_some_and(|name| PASSING.iter().any(|&other| name == other));
            if path.is_dir() {
                self.add(root, &path)?;
            } else if !passing {
                let mut bytes = fs::read(&path)?;
                let len = bytes.len();
                bytes.truncate(
                    bytes
                        .iter()
                        .rposition(|&byte| byte != 0)
                        .map_or(0, |last| last + 1),
                );
                let path = path
                    .strip_prefix(root)
                    .map_err(io::Error::other)?
                    .to_path_buf();
                self.files.push(Content { path, bytes, len });
            }
        }
        Ok(())
    }

    /// Takes the files of this name from another image.
    pub(crate) fn replace(&mut self, name: &str, other: &Self) {
        let from = other.files.iter().filter(|file| file.path.ends_with(name));
        for file in from {
            self.files.retain(|mine| mine.path != file.path);
            self.files.push(file.clone());
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Writes it to a folder of its own.
    pub(crate) fn write(&self) -> io::Result<TempDir> {
        let dir = folder()?;
        for file in &self.files {
            let path = dir.path().join(&file.path);
            fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
            fs::write(&path, &file.bytes)?;
            File::options()
                .write(true)
                .open(&path)?
                .set_len(file.len as u64)?;
        }
        Ok(dir)
    }
}

/// An empty folder, in memory if possible.
pub(crate) fn folder() -> io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("foliomq-fuzz-");
        builder
    };
    if Path::new(MEMORY).is_dir() {
        return builder().tempdir_in(MEMORY);
    }
    builder().tempdir()
}
