//! Reading what the device holds, past the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, OFlags};
use rustix::io::Errno;

use crate::PAGE;

/// A segment's file as the device has it.
///
/// After a failed flush the kernel may keep the lost pages, call them clean, and let the next flush succeed: they look
/// whole to every process until they are dropped. What decides how far a log is durable is therefore read with
/// `O_DIRECT`, which also waits for the pages that are still to be written, and fails if they cannot be. Where the file
/// system has no such reads, the clean pages are dropped first, as far as no process maps them.
#[derive(Debug)]
pub struct Uncached<'a> {
    direct: Option<File>,
    cached: &'a File,
}

impl<'a> Uncached<'a> {
    pub(crate) fn open(path: &Path, cached: &'a File) -> io::Result<Self> {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let opened = File::options().read(true).custom_flags(flags).open(path);
        let direct = match opened {
            Err(error) if unsupported(&error) => None,
            other => Some(other?),
        };
        if direct.is_none() {
            rustix::fs::fadvise(cached, 0, None, Advice::DontNeed)?;
        }
        Ok(Self { direct, cached })
    }

    /// Fills `buffer` from `offset` bytes after the file's start.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Some(direct) = &self.direct else {
            return self.cached.read_exact_at(buffer, offset);
        };
        // Offset, length and memory must be aligned to the device's blocks: a page is.
        let start = offset / PAGE * PAGE;
        let skip = (offset - start) as usize;
        let len = (skip + buffer.len()).next_multiple_of(PAGE as usize);
        let mut memory = vec![0; len + PAGE as usize];
        let aligned = memory.as_ptr().align_offset(PAGE as usize);
        let pages = &mut memory[aligned..aligned + len];
        match direct.read_exact_at(pages, start) {
            Err(error) if unsupported(&error) => self.cached.read_exact_at(buffer, offset),
            Err(error) => Err(error),
            Ok(()) => {
                buffer.copy_from_slice(&pages[skip..skip + buffer.len()]);
                Ok(())
            }
        }
    }
}

/// Drops what the page cache holds of a file, so that it comes from the device again; call it before the file is read.
///
/// [`Uncached`] says why its pages may lie. On ext4 they do worse: a page whose first write failed stays without a
/// written block, even if it is written again and flushed, with success, until it is dropped (seen with Linux 6.18).
/// A page that another process maps stays.
pub fn drop_cached(file: &File) -> io::Result<()> {
    // Only clean pages can be dropped.
    file.sync_data()?;
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Whether the file system cannot read past the page cache.
fn unsupported(error: &io::Error) -> bool {
    let errors = [Errno::INVAL, Errno::OPNOTSUPP];
    errors
        .iter()
        .any(|known| error.raw_os_error() == Some(known.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_reads_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..5 * PAGE).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let uncached = Uncached::open(&path, &file).unwrap();
        for (offset, len) in [
            (0, 10),
            (1, 4096),
            (4095, 2),
            (5000, 9000),
            (20479, 1),
            (0, 20480),
        ] {
            let mut read = vec![0; len];
            uncached.read_at(offset as u64, &mut read).unwrap();
            assert_eq!(read, bytes[offset..offset + len], "{len} bytes at {offset}");
        }
        let beyond = uncached.read_at(5 * PAGE - 1, &mut [0; 2]);
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
