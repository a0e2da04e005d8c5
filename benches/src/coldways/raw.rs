//! A file as bytes in memory, whose pages the caller brings in and sends away.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;
use rustix::mm::{Advice, madvise};

/// A whole file, mapped for reading.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    /// Maps `file`, which nobody may write or truncate while it is mapped: here one that this program made.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: this program made the file, in a folder of its own, and only reads it from now on.
        unsafe { Mmap::map(file).map(Self) }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells the kernel something of the bytes in `range`, or asks for them.
    pub fn advise(&self, advice: Advice, range: Range<usize>) -> io::Result<()> {
        let bytes = &self.0[range];
        let start = bytes.as_ptr().cast_mut().cast();
        // SAFETY: the pages are of this mapping, which is of a file and read-only: whether they are brought in, sent away
        // or unmapped, a later touch finds the same bytes.
        unsafe { madvise(start, bytes.len(), advice) }.map_err(io::Error::from)
    }
}
