//! A file as bytes in memory, read-only.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// A whole file, mapped for reading, its pages already in the page table.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes are only ever read, and belong to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `file`, which must not be empty, and which nobody may write or truncate while it is mapped: here a segment
    /// of a store that is closed, in a folder that this program made.
    pub fn of(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mapping = Self { start, length };
        // SAFETY: the range is the mapping above; populating reads pages and changes none.
        unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxPopulateRead)? };
        Ok(mapping)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped and readable for as long as `self` lives, and written by nobody (see `of`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `of`, and every slice of it borrowed `self`. It cannot fail for such a range.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
