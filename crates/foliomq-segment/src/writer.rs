//! The writable mapping of a segment.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::PAGE;
use crate::segment::Segment;

/// One system call of preheating covers at most this many bytes, so that it can be stopped in between and never holds
/// the memory map of the process for long.
const PREHEAT_STEP: u64 = 1 << 20;

/// The writable mapping of a segment: dropped when the segment is full, while readers keep theirs.
///
/// Bytes enter it only through a [`Slot`](crate::Slot).
#[derive(Debug)]
pub struct Writer {
    pages: MmapRaw,
    segment: Arc<Segment>,
}

impl Writer {
    /// Maps `segment` for writing.
    pub fn new(segment: &Arc<Segment>) -> io::Result<Arc<Self>> {
        let pages = MmapOptions::new()
            .len(segment.size() as usize)
            .map_raw(segment.file())?;
        // No read-ahead: it would fill up to 8 MiB of pages in one fault, and as large folios, which every later
        // flush of a few bytes writes as a whole.
        pages.advise(Advice::Random)?;
        Ok(Arc::new(Self {
            pages,
            segment: segment.clone(),
        }))
    }

    /// What it writes to.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Makes the pages of `positions` (cut to the segment) resident and writable, without changing them.
    ///
    /// A page that cannot be had (no block behind it, no memory) is an error here instead of a signal at a store. A
    /// kernel without `MADV_POPULATE_WRITE` (before 5.14) only gets a hint.
    pub fn preheat(&self, positions: Range<u64>) -> io::Result<()> {
        let (base, limit) = (self.segment.base(), self.segment.end());
        let mut start = (positions.start.clamp(base, limit) - base) / PAGE * PAGE;
        let end = positions.end.clamp(base, limit) - base;
        while start < end {
            let step = (end - start).min(PREHEAT_STEP);
            self.populate(start as usize, step as usize)?;
            start += step;
        }
        Ok(())
    }

    /// Locks the segment's pages in memory.
    pub fn lock(&self) -> io::Result<()> {
        self.pages.lock()
    }

    /// Undoes [`lock`](Self::lock).
    pub fn unlock(&self) -> io::Result<()> {
        self.pages.unlock()
    }

    fn populate(&self, offset: usize, len: usize) -> io::Result<()> {
        match self.pages.advise_range(Advice::PopulateWrite, offset, len) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.pages.advise_range(Advice::WillNeed, offset, len)
            }
            other => other,
        }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Safety
    ///
    /// The range lies in the mapping, belongs to the caller alone and is not published.
    pub(crate) unsafe fn copy(&self, offset: usize, bytes: &[u8]) {
        debug_assert!(offset + bytes.len() <= self.pages.len());
        // SAFETY: the caller vouches for the range; `bytes` cannot lie in it, since no slice of unpublished bytes
        // exists. The blocks are reserved, so the store finds a page.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.pages.as_mut_ptr().add(offset),
                bytes.len(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Folder, Publication, SegmentFile};

    const SIZE: u64 = 4 << 20;

    #[test]
    fn preheating_and_flushing_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let (publication, mut reserver) = Publication::new(SIZE);
        let segment = SegmentFile::create(&folder, SIZE, SIZE)
            .unwrap()
            .map(&publication)
            .unwrap();
        let writer = Writer::new(&segment).unwrap();
        let mut slot = reserver.reserve(&writer, 9000).unwrap();
        slot.write(0, &[5; 9000]);
        slot.publish();
        for range in [
            0..u64::MAX,
            SIZE..SIZE + 1,
            SIZE + 5000..SIZE + 5001,
            0..SIZE,
            3 * SIZE..4 * SIZE,
        ] {
            writer.preheat(range.clone()).unwrap();
            segment.flush(range).unwrap();
        }
        assert!(
            segment
                .bytes(SIZE, 9000)
                .unwrap()
                .iter()
                .all(|&byte| byte == 5)
        );
        let mut read = vec![0; 9000];
        segment.read_at(SIZE, &mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 5));
    }

    #[test]
    fn a_page_without_a_block_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let (publication, _reserver) = Publication::new(0);
        let segment = SegmentFile::create(&folder, 0, SIZE)
            .unwrap()
            .map(&publication)
            .unwrap();
        let writer = Writer::new(&segment).unwrap();
        // What the log never does: the file is cut short under the mapping.
        std::fs::File::options()
            .write(true)
            .open(segment.path())
            .unwrap()
            .set_len(SIZE / 2)
            .unwrap();
        writer.preheat(0..SIZE / 2).unwrap();
        writer.preheat(0..SIZE).unwrap_err();
    }
}
