//! A segment's file before it is mapped: made, or opened and repaired.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Advice;

use crate::PAGE;
use crate::disk::{self, Flush};
use crate::folder::{Claim, Folder};
use crate::publication::Publication;
use crate::segment::Segment;
use crate::uncached::Uncached;

/// A segment's file that nothing maps yet, so that its bytes may still be repaired.
#[derive(Debug)]
pub struct SegmentFile {
    file: File,
    path: PathBuf,
    size: u64,
    claim: Claim,
}

impl SegmentFile {
    /// Makes a segment of `size` bytes (a multiple of [`PAGE`]) with real blocks, durably, under its final name.
    ///
    /// It is made under a temporary name, flushed and renamed, so that a segment is there whole or not at all. Without
    /// space it fails with [`io::ErrorKind::StorageFull`] and gives back what it had taken.
    pub fn create(folder: &Arc<Folder>, base: u64, size: u64) -> io::Result<Self> {
        check_size(size)?;
        let claim = folder.claim(base)?;
        let path = folder.segment_path(base);
        if path.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists", path.display()),
            ));
        }
        if folder.usage()?.free < size {
            // Trying would fill the disk to the brim before it fails.
            let text = format!("a segment of {size} bytes does not fit the free space");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let temporary = folder.temporary_path(base);
        let file = reserve_blocks(Flush::SegmentMade, &temporary, size)
            .and_then(|file| disk::rename(&temporary, &path).map(|()| file))
            .and_then(|file| folder.sync(Flush::SegmentNamed).map(|()| file))
            .inspect_err(|_| {
                // The first error is the one to report; a leftover is removed at the next start.
                let _ = disk::unlink(&temporary).or_else(|_| disk::unlink(&path));
            })?;
        Ok(Self {
            file,
            path,
            size,
            claim,
        })
    }

    /// Opens an existing segment; its length must be a positive multiple of [`PAGE`].
    pub fn open(folder: &Arc<Folder>, base: u64) -> io::Result<Self> {
        let claim = folder.claim(base)?;
        let path = folder.segment_path(base);
        let file = File::options().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        check_size(size)?;
        Ok(Self {
            file,
            path,
            size,
            claim,
        })
    }

    /// Position of its first byte.
    pub fn base(&self) -> u64 {
        self.claim.base
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where it is.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Fills `buffer` from the file, `offset` bytes after its start.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// What of it is on the device: see [`Uncached`].
    pub fn uncached(&self) -> io::Result<Uncached<'_>> {
        Uncached::open(&self.path, &self.file)
    }

    /// Overwrites bytes within the file, to repair it.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset
            .checked_add(bytes.len() as u64)
            .is_none_or(|end| end > self.size)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a write past the end of a segment",
            ));
        }
        disk::write_at(&self.file, bytes, offset)
    }

    /// Gives the blocks from `offset` to the end back to the file system; they read as zeros afterwards.
    pub fn punch_from(&self, offset: u64) -> io::Result<()> {
        if offset >= self.size {
            return Ok(());
        }
        match disk::punch(&self.file, offset..self.size) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.zero_from(offset),
            other => other,
        }
    }

    /// Makes the whole pages from `offset` on, which hold zeros, as if they had never been written: a first touch then
    /// finds a zero page without asking the device. Does nothing where the file system cannot.
    pub fn unwrite_from(&self, offset: u64) -> io::Result<()> {
        let start = offset.next_multiple_of(PAGE);
        if start >= self.size {
            return Ok(());
        }
        match disk::unwrite(&self.file, start..self.size) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            other => other,
        }
    }

    /// Makes repairs durable.
    pub fn sync(&self, what: Flush) -> io::Result<()> {
        disk::flush(what, &self.file)
    }

    /// Drops the file's clean pages, from `offset` on, from the page cache.
    ///
    /// Reading a file brings it in by large folios, and a store through a mapping dirties a whole folio: the next
    /// small flush would then write up to 2 MiB. Pages that come in by write faults are small.
    pub fn drop_cached(&self, offset: u64) -> io::Result<()> {
        Ok(rustix::fs::fadvise(
            &self.file,
            offset,
            None,
            Advice::DontNeed,
        )?)
    }

    /// Maps it. From here on its bytes change only through the reserver that belongs to `publication`.
    pub fn map(self, publication: &Arc<Publication>) -> io::Result<Arc<Segment>> {
        Segment::map(
            self.file,
            self.path,
            self.size,
            self.claim,
            publication.watermark().clone(),
        )
    }

    fn zero_from(&self, mut offset: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while offset < self.size {
            let step = (self.size - offset).min(ZEROS.len() as u64);
            disk::write_at(&self.file, &ZEROS[..step as usize], offset)?;
            offset += step;
        }
        Ok(())
    }
}

/// Bytes of the device that a file occupies.
pub(crate) fn allocated(file: &File) -> io::Result<u64> {
    const BLOCK: u64 = 512;
    Ok(file.metadata()?.blocks() * BLOCK)
}

pub(crate) fn check_size(size: u64) -> io::Result<()> {
    if size == 0 || !size.is_multiple_of(PAGE) || usize::try_from(size).is_err() {
        let text =
            format!("a segment cannot have {size} bytes: it takes a positive multiple of {PAGE}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(())
}

/// Makes a file with real blocks, so that a full disk is an error here and not a signal at a store.
pub(crate) fn reserve_blocks(what: Flush, path: &Path, size: u64) -> io::Result<File> {
    let file = disk::create_empty(path)?;
    disk::allocate(&file, size)?;
    disk::flush(what, &file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_segment_has_all_its_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let segment = SegmentFile::create(&folder, 0, 64 << 10).unwrap();
        assert_eq!(allocated(&segment.file).unwrap(), 64 << 10);
    }

    #[test]
    fn a_segment_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let first = SegmentFile::create(&folder, 0, 64 << 10).unwrap();
        assert_eq!(
            SegmentFile::open(&folder, 0).unwrap_err().kind(),
            io::ErrorKind::ResourceBusy
        );
        drop(first);
        SegmentFile::open(&folder, 0).unwrap();
    }

    #[test]
    fn a_segment_too_large_for_the_disk_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let too_much = (folder.usage().unwrap().total + (1 << 30)).next_multiple_of(PAGE);
        let error = SegmentFile::create(&folder, 0, too_much).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "only the lock"
        );
    }

    #[test]
    fn unwriting_keeps_what_is_before_and_the_blocks() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let file = SegmentFile::create(&folder, 0, 8 * PAGE).unwrap();
        file.write_at(0, &[7; 5 * PAGE as usize]).unwrap();
        let blocks = file.file.metadata().unwrap().blocks();
        file.unwrite_from(PAGE + 1).unwrap();
        file.unwrite_from(8 * PAGE).unwrap();
        let mut read = vec![0; 8 * PAGE as usize];
        file.read_at(0, &mut read).unwrap();
        let (kept, rest) = read.split_at(2 * PAGE as usize);
        assert!(kept.iter().all(|&byte| byte == 7));
        // Where the file system cannot, all stays as it was.
        assert!(
            rest.iter().all(|&byte| byte == 0)
                || rest[..3 * PAGE as usize].iter().all(|&byte| byte == 7)
        );
        assert_eq!(file.file.metadata().unwrap().blocks(), blocks);
    }

    #[test]
    fn punching_zeroes_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let file = SegmentFile::create(&folder, 0, 64 << 10).unwrap();
        file.write_at(0, &[7; 64 << 10]).unwrap();
        file.punch_from(100).unwrap();
        let mut bytes = vec![1; 64 << 10];
        file.read_at(0, &mut bytes).unwrap();
        assert!(
            bytes[..100].iter().all(|&byte| byte == 7)
                && bytes[100..].iter().all(|&byte| byte == 0)
        );
    }
}
