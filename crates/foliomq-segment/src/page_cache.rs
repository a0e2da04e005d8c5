//! What the kernel says of pages of a file in its cache: the two calls that no library has.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use memmap2::MmapRaw;

use crate::PAGE;

/// Number of the system call `cachestat`, the same on every architecture.
const CACHESTAT: libc::c_long = 451;

/// Pages of a range of a file, as `cachestat` counts them.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub(crate) struct Counts {
    pub(crate) resident: u64,
    pub(crate) dirty: u64,
    pub(crate) writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Counts the pages of a range of offsets; `None` where the kernel has no such call (before Linux 6.5), the file system
/// has no page cache, or the file is not ours to ask about.
pub(crate) fn counts(file: &File, range: Range<u64>) -> io::Result<Option<Counts>> {
    let within = [range.start, range.end - range.start];
    let mut counts = Counts::default();
    // SAFETY: the kernel reads two words from `within` and writes five to `counts`; both live until the call returns.
    let result = unsafe {
        let (within, counts) = (within.as_ptr(), &raw mut counts);
        libc::syscall(CACHESTAT, file.as_raw_fd(), within, counts, 0)
    };
    if result == 0 {
        return Ok(Some(counts));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => Ok(None),
        _ => Err(error),
    }
}

/// Sets the lowest bit of each of `found`, one byte a page, if that page of the mapping is in memory. `offset` is a
/// multiple of a page, and the pages lie in the mapping.
pub(crate) fn look(pages: &MmapRaw, offset: u64, found: &mut [u8]) -> io::Result<()> {
    let len = found.len() * PAGE as usize;
    if !offset.is_multiple_of(PAGE)
        || offset as usize + len > pages.len().next_multiple_of(PAGE as usize)
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the range was just found to lie in the mapping, which lives as long as `pages`; the kernel writes one byte
    // for each page of it, and `found` has as many.
    let result = unsafe {
        let start = pages.as_mut_ptr().add(offset as usize);
        libc::mincore(start.cast(), len, found.as_mut_ptr())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
