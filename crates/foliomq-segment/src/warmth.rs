//! Reads that are cold: pages are brought in before a slice of them is handed out.
//!
//! A touch of a page that is not in memory stops the thread for the time of a device read, reads far more than was asked
//! for, and ends the process by a signal if the device cannot read. [`Segment::warm`] brings in whole blocks by calls
//! that return an error. To ask the kernel for each read would cost more than the read, so it is remembered for a moment
//! that a block was found, or made, resident.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{Advice, UncheckedAdvice};
use rustix::time::{ClockId, clock_gettime};

use crate::PAGE;
use crate::page_cache;
use crate::segment::Segment;

/// Bytes of a block: what is looked at, brought in and given back at once.
pub const BLOCK: u64 = BLOCK_PAGES * PAGE;
/// One for each bit of a word.
const BLOCK_PAGES: u64 = 64;
/// What this process appended last counts as resident without a look, bytes.
const TAIL: u64 = 16 << 20;
/// For how many ticks of a second a look counts.
const LOOK_LASTS: u32 = 1;

/// When each block of a segment was last known to be resident.
#[derive(Debug)]
pub(crate) struct Warmth {
    /// Ticks; 0 is never.
    blocks: Box<[AtomicU32]>,
    /// What is published from here on was appended since the segment was mapped.
    appended_from: u64,
}

/// Pages of one block that were brought in by [`Segment::warm`], and so may be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColdBlock {
    /// Bytes from the segment's start.
    offset: u64,
    /// A bit for each page.
    pages: u64,
}

impl Warmth {
    pub(crate) fn new(size: u64, appended_from: u64) -> Self {
        let blocks = (0..size.div_ceil(BLOCK)).map(|_| AtomicU32::new(0));
        Self {
            blocks: blocks.collect(),
            appended_from,
        }
    }

    fn knows(&self, block: u64, now: u32) -> bool {
        let looked = self.blocks[block as usize].load(Ordering::Relaxed);
        looked != 0 && now.wrapping_sub(looked) <= LOOK_LASTS
    }

    fn note(&self, block: u64, tick: u32) {
        self.blocks[block as usize].store(tick, Ordering::Relaxed);
    }
}

impl ColdBlock {
    /// Bytes that it takes in memory.
    pub fn len(&self) -> u64 {
        u64::from(self.pages.count_ones()) * PAGE
    }

    /// Whether there is nothing to give back.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Ranges of offsets, each of adjacent pages.
    fn runs(mut self) -> impl Iterator<Item = Range<u64>> {
        std::iter::from_fn(move || {
            let start = self.pages.trailing_zeros();
            let len = self.pages.checked_shr(start)?.trailing_ones();
            let end = start + len;
            self.pages &= u64::MAX.checked_shl(end).unwrap_or(0);
            let at = |page: u32| self.offset + u64::from(page) * PAGE;
            Some(at(start)..at(end))
        })
    }
}

impl Segment {
    /// The position after the block that holds `position`.
    pub fn block_end(&self, position: u64) -> u64 {
        let offset = position.clamp(self.base(), self.end()) - self.base();
        (self.base() + (offset / BLOCK + 1) * BLOCK).min(self.end())
    }

    /// Whether a read of published `positions` would find its pages in memory. Does not wait, and fetches nothing.
    pub fn is_warm(&self, positions: Range<u64>) -> io::Result<bool> {
        for block in self.blocks_to_look_at(&positions) {
            if !self.look(block)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Brings the blocks that hold published `positions` into memory, and waits for it; those within `ahead` bytes
    /// after them are asked for, and not waited for. Each block of which pages were missing goes to `fetched`.
    ///
    /// Cheap for what was warm a moment ago, and for what was just appended. Between this call and a touch the kernel
    /// may take a page away again: unlikely within a moment, but not impossible.
    ///
    /// # Errors
    ///
    /// What the device, or the file, cannot deliver: where a touch would be a signal.
    pub fn warm(
        &self,
        positions: Range<u64>,
        ahead: u64,
        mut fetched: impl FnMut(ColdBlock),
    ) -> io::Result<()> {
        let mut cold = false;
        for block in self.blocks_to_look_at(&positions) {
            let missing = self.look(block)?;
            if !missing.is_empty() {
                cold = true;
                fetched(missing);
                self.ask_for(missing)?;
                self.populate(block)?;
                self.warmth.note(block, now());
            }
        }
        if cold {
            self.read_ahead(positions.end..positions.end.saturating_add(ahead), fetched)?;
        }
        Ok(())
    }

    /// Takes pages that [`warm`](Self::warm) had brought in out of memory again, as far as nobody else uses them. What is
    /// handed out of them stays valid: a touch reads them anew.
    pub fn give_back(&self, cold: ColdBlock) -> io::Result<()> {
        self.warmth.note(cold.offset / BLOCK, 0);
        for run in cold.runs() {
            let (start, len) = (run.start as usize, (run.end - run.start) as usize);
            // SAFETY: the pages are of a file, mapped shared and for reading: they stay what they are, in the page cache or
            // on the device, and the next load finds them again.
            unsafe {
                self.pages()
                    .unchecked_advise_range(UncheckedAdvice::DontNeed, start, len)?;
            }
            let len = std::num::NonZeroU64::new(run.end - run.start);
            rustix::fs::fadvise(self.file(), run.start, len, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    }

    fn read_ahead(
        &self,
        positions: Range<u64>,
        mut fetched: impl FnMut(ColdBlock),
    ) -> io::Result<()> {
        for block in self.blocks_to_look_at(&positions) {
            let missing = self.look(block)?;
            if !missing.is_empty() {
                fetched(missing);
                self.ask_for(missing)?;
            }
        }
        Ok(())
    }

    /// Blocks with published bytes at `positions` of which it is not known that they are resident.
    fn blocks_to_look_at(&self, positions: &Range<u64>) -> impl Iterator<Item = u64> + use<'_> {
        let published = self.watermark().value();
        let base = self.base();
        let end = positions.end.min(published).clamp(base, self.end());
        let start = positions.start.clamp(base, end);
        let recent = self
            .warmth
            .appended_from
            .max(published.saturating_sub(TAIL));
        let now = now();
        let blocks = (start - base) / BLOCK..(end - base).div_ceil(BLOCK);
        let blocks = if start >= recent || start == end {
            0..0
        } else {
            blocks
        };
        blocks.filter(move |&block| !self.warmth.knows(block, now))
    }

    /// The published part of a block, as offsets of whole pages.
    fn published_pages(&self, block: u64) -> Range<u64> {
        let published = self.watermark().value().clamp(self.base(), self.end()) - self.base();
        let end = published.next_multiple_of(PAGE).min((block + 1) * BLOCK);
        block * BLOCK..end.max(block * BLOCK)
    }

    /// The pages of a block that are not in memory. Notes it if there are none.
    fn look(&self, block: u64) -> io::Result<ColdBlock> {
        let range = self.published_pages(block);
        let mut found = [0; BLOCK_PAGES as usize];
        let found = &mut found[..((range.end - range.start) / PAGE) as usize];
        page_cache::look(self.pages(), range.start, found)?;
        let missing = found.iter().enumerate().filter(|(_, page)| *page & 1 == 0);
        let cold = ColdBlock {
            offset: range.start,
            pages: missing.fold(0, |pages, (index, _)| pages | 1 << index),
        };
        if cold.is_empty() {
            self.warmth.note(block, now());
        }
        Ok(cold)
    }

    /// Lets the kernel read exactly these pages, all at once, without waiting: a fault alone would read what lies around, by
    /// megabytes where the device's read-ahead is large.
    fn ask_for(&self, cold: ColdBlock) -> io::Result<()> {
        for run in cold.runs() {
            let len = std::num::NonZeroU64::new(run.end - run.start);
            rustix::fs::fadvise(self.file(), run.start, len, rustix::fs::Advice::WillNeed)?;
        }
        Ok(())
    }

    /// Waits until the published part of a block is in memory and mapped.
    fn populate(&self, block: u64) -> io::Result<()> {
        let range = self.published_pages(block);
        let (start, len) = (range.start as usize, (range.end - range.start) as usize);
        match self.pages().advise_range(Advice::PopulateRead, start, len) {
            // Before Linux 5.14: a read has the same errors.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.read_at(self.base() + range.start, &mut vec![0; len])
            }
            other => other,
        }
    }
}

/// Seconds since some moment, never 0: a clock that costs a few nanoseconds.
fn now() -> u32 {
    (clock_gettime(ClockId::MonotonicCoarse).tv_sec as u32).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::fs::{Advice as FileAdvice, fadvise};

    use super::*;
    use crate::{Folder, Publication, SegmentFile};

    const SIZE: u64 = 8 * BLOCK;

    fn cold_segment(dir: &std::path::Path) -> Arc<Segment> {
        let folder = Folder::lock(dir).unwrap();
        let file = SegmentFile::create(&folder, 0, SIZE).unwrap();
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at / PAGE) as u8).collect();
        file.write_at(0, &bytes).unwrap();
        file.sync(crate::disk::Flush::TailSealed).unwrap();
        let (publication, _) = Publication::new(SIZE);
        let segment = file.map(&publication).unwrap();
        fadvise(segment.file(), 0, None, FileAdvice::DontNeed).unwrap();
        segment
    }

    fn resident(segment: &Segment) -> u64 {
        segment.residency(1).unwrap().resident
    }

    #[test]
    fn what_is_warmed_is_resident_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let segment = cold_segment(dir.path());
        if resident(&segment) > 0 {
            eprintln!("skipped: this file system keeps the file in memory");
            return;
        }
        assert!(!segment.is_warm(0..1).unwrap());
        let mut cold = Vec::new();
        let wanted = BLOCK + 5..2 * BLOCK + 1;
        segment
            .warm(wanted.clone(), 0, |block| cold.push(block))
            .unwrap();
        assert_eq!(cold.iter().map(ColdBlock::len).sum::<u64>(), 2 * BLOCK);
        assert_eq!(resident(&segment), 2 * BLOCK, "and nothing around it");
        assert!(segment.is_warm(wanted.clone()).unwrap());
        segment
            .warm(wanted, BLOCK, |_| panic!("it is warm"))
            .unwrap();
        let bytes = segment.bytes(BLOCK, 2 * BLOCK as usize).unwrap();
        assert_eq!(bytes[0], BLOCK_PAGES as u8);
        for block in cold {
            segment.give_back(block).unwrap();
        }
        assert_eq!(resident(&segment), 0);
        assert_eq!(bytes[BLOCK as usize], 2 * BLOCK_PAGES as u8, "still valid");
    }

    #[test]
    fn what_was_warm_before_is_not_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let segment = cold_segment(dir.path());
        if resident(&segment) > 0 {
            eprintln!("skipped: this file system keeps the file in memory");
            return;
        }
        fadvise(segment.file(), 0, None, FileAdvice::Random).unwrap();
        segment
            .read_at(3 * PAGE, &mut [0; 2 * PAGE as usize])
            .unwrap();
        assert_eq!(resident(&segment), 2 * PAGE);
        let mut cold = Vec::new();
        segment.warm(0..1, 0, |block| cold.push(block)).unwrap();
        assert_eq!(resident(&segment), BLOCK);
        cold.drain(..)
            .for_each(|block| segment.give_back(block).unwrap());
        assert_eq!(resident(&segment), 2 * PAGE);
    }

    #[test]
    fn a_file_cut_short_is_an_error_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let segment = cold_segment(dir.path());
        // What the log never does.
        std::fs::File::options()
            .write(true)
            .open(segment.path())
            .unwrap()
            .set_len(4 * BLOCK)
            .unwrap();
        segment.warm(0..4 * BLOCK, 0, drop).unwrap();
        segment.warm(5 * BLOCK..5 * BLOCK + 1, 0, drop).unwrap_err();
        segment.warm(0..SIZE, 0, drop).unwrap_err();
    }

    #[test]
    fn runs_are_the_set_bits() {
        let runs = |pages: u64| -> Vec<(u64, u64)> {
            let cold = ColdBlock { offset: 0, pages };
            cold.runs()
                .map(|run| (run.start / PAGE, run.end / PAGE))
                .collect()
        };
        assert_eq!(runs(0), []);
        assert_eq!(runs(u64::MAX), [(0, 64)]);
        assert_eq!(runs(0b1011), [(0, 2), (3, 4)]);
        assert_eq!(runs(1 << 63 | 1), [(0, 1), (63, 64)]);
    }
}
