//! What the store is compared with: a plain file, reserved in full, written by `write()`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};

/// Bytes that the buffered writer gathers before it writes.
pub const BUFFER: usize = 64 << 10;

/// How bodies get into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One `write()` for each body.
    Each,
    /// Through a `BufWriter` of 64 KiB.
    Buffered,
    /// One `write()` and one `fdatasync()` for each body.
    EachFlushed,
}

/// A file of bare bodies, one after the other: no header, no checksum, no index. Removed when dropped.
#[derive(Debug)]
pub struct PlainFile {
    path: PathBuf,
    way: Way,
    writer: Mutex<BufWriter<File>>,
}

impl PlainFile {
    /// Creates it in `folder` with `size` bytes of blocks reserved, as a segment's are.
    pub fn create(folder: &Path, way: Way, size: u64) -> Result<Self> {
        let path = folder.join("plain");
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)
            .context("creating the plain file")?;
        fallocate(&file, FallocateFlags::empty(), 0, size).context("reserving the plain file")?;
        file.sync_all().context("flushing the plain file")?;
        let capacity = if way == Way::Buffered { BUFFER } else { 0 };
        Ok(Self {
            path,
            way,
            writer: Mutex::new(BufWriter::with_capacity(capacity, file)),
        })
    }

    /// Appends a body; threads take turns, so that bodies stay whole and in order.
    pub fn append(&self, body: &[u8]) -> io::Result<()> {
        let mut writer = self
            .writer
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        writer.write_all(body)?;
        match self.way {
            Way::EachFlushed => writer.get_ref().sync_data(),
            Way::Each | Way::Buffered => Ok(()),
        }
    }

    /// Hands what is gathered to the kernel.
    pub fn finish(&self) -> io::Result<()> {
        self.writer
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .flush()
    }
}

impl Drop for PlainFile {
    fn drop(&mut self) {
        // Best effort: the folder around it is temporary too.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_writes_the_bodies_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for way in [Way::Each, Way::Buffered, Way::EachFlushed] {
            let file = PlainFile::create(folder.path(), way, 1 << 16).unwrap();
            file.append(b"one").unwrap();
            file.append(b"two").unwrap();
            file.finish().unwrap();
            let bytes = std::fs::read(folder.path().join("plain")).unwrap();
            assert_eq!(
                (bytes.len(), &bytes[..7]),
                (1 << 16, b"onetwo\0".as_slice())
            );
        }
    }
}
