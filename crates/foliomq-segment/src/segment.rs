//! A mapped segment, as readers see it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use crate::PAGE;
use crate::disk::{self, Flush};
use crate::file::allocated;
use crate::folder::Claim;
use crate::warmth::Warmth;
use crate::watermark::Watermark;

/// A segment mapped for reading. It lives, with its mapping, until the last reference into it is gone.
#[derive(Debug)]
pub struct Segment {
    /// `PROT_READ`, shared. Every slice that readers get lies in it.
    pages: MmapRaw,
    file: File,
    path: PathBuf,
    claim: Claim,
    /// What is published of the log.
    watermark: Arc<Watermark>,
    pub(crate) warmth: Warmth,
    /// Whether its writer has locked it in memory.
    pub(crate) locked: AtomicBool,
    /// Views of it that are alive.
    pub(crate) views: AtomicU64,
}

impl Segment {
    pub(crate) fn map(
        file: File,
        path: PathBuf,
        size: u64,
        claim: Claim,
        watermark: Arc<Watermark>,
    ) -> io::Result<Arc<Self>> {
        let pages = MmapOptions::new()
            .len(size as usize)
            .map_raw_read_only(&file)?;
        let warmth = Warmth::new(size, watermark.value());
        Ok(Arc::new(Self {
            pages,
            file,
            path,
            claim,
            watermark,
            warmth,
            locked: AtomicBool::new(false),
            views: AtomicU64::new(0),
        }))
    }

    /// Position of its first byte.
    pub fn base(&self) -> u64 {
        self.claim.base
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Position after its last byte.
    pub fn end(&self) -> u64 {
        self.base() + self.size()
    }

    /// Where its file is, or was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the device that it occupies.
    pub fn allocated(&self) -> io::Result<u64> {
        allocated(&self.file)
    }

    /// `len` bytes at `position` by reference, if all of them lie in this segment and are published.
    pub fn bytes(self: &Arc<Self>, position: u64, len: usize) -> Option<Bytes> {
        let range = self.published(position, len)?;
        Some(View::bytes(self, range))
    }

    /// All that is published of this segment, by reference.
    pub fn published_bytes(self: &Arc<Self>) -> Bytes {
        let end = self.watermark.value().clamp(self.base(), self.end());
        let range = 0..(end - self.base()) as usize;
        View::bytes(self, range)
    }

    /// Fills `buffer` with the bytes at `position` by a read of the file. Only what is published has a meaning.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = position
            .checked_sub(self.base())
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(buffer, offset)
    }

    /// Writes the dirty pages that hold `positions` (cut to this segment) to the device and waits for it.
    ///
    /// The range matters: pages that are preheated but not yet written must stay untouched.
    pub fn flush(&self, positions: Range<u64>) -> io::Result<()> {
        let start = positions.start.clamp(self.base(), self.end()) - self.base();
        let end = positions.end.clamp(self.base(), self.end()) - self.base();
        if start >= end {
            return Ok(());
        }
        // msync works through this mapping too: the file is open for writing, so it is a shared mapping to the kernel,
        // and what is flushed is the file's range.
        let start = start / PAGE * PAGE;
        disk::flush_range(Flush::Records, &self.file, start..end, || {
            self.pages
                .flush_range(start as usize, (end - start) as usize)
        })
    }

    /// Whether `bytes` lies in the pages of this segment's mapping.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        let pages = self.pages.as_ptr().addr()..self.pages.as_ptr().addr() + self.pages.len();
        let start = bytes.as_ptr().addr();
        pages.contains(&start) && start + bytes.len() <= pages.end
    }

    pub(crate) fn watermark(&self) -> &Arc<Watermark> {
        &self.watermark
    }

    /// Writes bytes that nobody can read yet to the file, `offset` bytes after its start.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        disk::write_at(&self.file, bytes, offset)
    }

    pub(crate) fn pages(&self) -> &MmapRaw {
        &self.pages
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The range of offsets, if it is inside the segment and published.
    fn published(&self, position: u64, len: usize) -> Option<Range<usize>> {
        let offset = position.checked_sub(self.base())?;
        let end = position.checked_add(len as u64)?;
        if end > self.end() || end > self.watermark.value() {
            return None;
        }
        let offset = offset as usize;
        Some(offset..offset + len)
    }
}

/// A published range of a segment. The only place that makes slices of mapped memory.
struct View {
    segment: Arc<Segment>,
    range: Range<usize>,
}

impl View {
    fn bytes(segment: &Arc<Segment>, range: Range<usize>) -> Bytes {
        segment.views.fetch_add(1, Ordering::Relaxed);
        let segment = segment.clone();
        Bytes::from_owner(Self { segment, range })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.segment.views.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping and below the published position (checked where the view is made, by
        // an acquire load). Published bytes are never written again: a position is reserved once, and its slot is used
        // up by publishing. The file is neither truncated nor written by others (folder lock). The mapping lives as
        // long as `self.segment`, and so as the slice.
        unsafe {
            std::slice::from_raw_parts(
                self.segment.pages.as_ptr().add(self.range.start),
                self.range.len(),
            )
        }
    }
}
