//! The writer that stores into a mapping of the file.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use parking_lot::Mutex;

use crate::PAGE;
use crate::segment::Segment;
use crate::writer::{Folios, Memory, Prepared, Writer, units_of};

/// The largest folio, which the kernel maps by one entry. Ranges that are prepared or given back begin and end at
/// multiples, since a part of such an entry can only be had by taking the whole apart. One system call of preheating
/// covers one, so that it never holds the memory map of the process for long.
const HUGE: u64 = 2 << 20;

/// The writable mapping of a segment: dropped when the segment is full, while readers keep theirs.
#[derive(Debug)]
pub(crate) struct Mapped {
    pages: MmapRaw,
    segment: Arc<Segment>,
    /// Everything below this offset is given back.
    released: AtomicU64,
    locked: AtomicBool,
    /// What a fault brings in.
    folios: Mutex<Folios>,
}

impl Mapped {
    pub(crate) fn new(segment: &Arc<Segment>) -> io::Result<Self> {
        let pages = MmapOptions::new()
            .len(segment.size() as usize)
            .map_raw(segment.file())?;
        // No read-ahead unless it is asked for: it makes large folios, which every later flush of a few bytes writes
        // as a whole.
        pages.advise(Advice::Random)?;
        Ok(Self {
            pages,
            segment: segment.clone(),
            released: AtomicU64::new(0),
            locked: AtomicBool::new(false),
            folios: Mutex::new(Folios::Small),
        })
    }

    /// Sets what a fault from `start` on brings in.
    fn choose(&self, folios: Folios, start: u64) -> io::Result<()> {
        let mut chosen = self.folios.lock();
        if *chosen == folios {
            return Ok(());
        }
        let (start, len) = (start as usize, (self.segment.size() - start) as usize);
        let (around, huge) = match folios {
            Folios::Small => (Advice::Random, Advice::NoHugePage),
            Folios::Large => (Advice::Normal, Advice::HugePage),
        };
        self.pages.advise_range(around, start, len)?;
        match self.pages.advise_range(huge, start, len) {
            // A kernel without huge pages: its read-ahead decides.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            other => other?,
        }
        *chosen = folios;
        Ok(())
    }

    fn populate(&self, offset: usize, len: usize) -> io::Result<()> {
        match self.pages.advise_range(Advice::PopulateWrite, offset, len) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.pages.advise_range(Advice::WillNeed, offset, len)
            }
            other => other,
        }
    }
}

impl Writer for Mapped {
    fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    fn preheat(&self, positions: Range<u64>, folios: Folios) -> io::Result<Prepared> {
        let unit = match folios {
            Folios::Small => PAGE,
            Folios::Large => HUGE,
        };
        let units = units_of(&self.segment, &positions, unit);
        let base = self.segment.base();
        Prepared::by(base + units.start..base + units.end, || {
            if units.is_empty() {
                return Ok(());
            }
            self.choose(folios, units.start)?;
            let mut steps = units.clone().step_by(HUGE as usize);
            steps.try_for_each(|start| {
                let len = (units.end - start).min(HUGE);
                self.populate(start as usize, len as usize)
            })
        })
    }

    fn write_out(&self, _positions: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    /// Unmaps whole pages at once. Left mapped, each would be write-protected alone when it is flushed, at the price of
    /// an interrupt on every core that this process runs on.
    fn release(&self, position: u64) -> io::Result<()> {
        let segment = &self.segment;
        let end = match position.clamp(segment.base(), segment.end()) - segment.base() {
            whole if whole == segment.size() => whole,
            part => part / HUGE * HUGE,
        };
        let start = self.released.fetch_max(end, Ordering::AcqRel);
        if start >= end || self.locked.load(Ordering::Acquire) {
            return Ok(());
        }
        // SAFETY: the pages are of a file and mapped shared: they stay what they are, in the page cache, and a store
        // would find them again. (And there is none: what lies below is complete.)
        unsafe {
            self.pages.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                start as usize,
                (end - start) as usize,
            )
        }
    }

    fn lock(&self) -> io::Result<()> {
        self.pages.lock()?;
        self.locked.store(true, Ordering::Release);
        self.segment.locked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.segment.locked.store(false, Ordering::Relaxed);
    }
}

impl Memory for Mapped {
    fn memory(&self) -> NonNull<u8> {
        start_of(&self.pages)
    }
}

/// The first byte of a mapping.
pub(crate) fn start_of(pages: &MmapRaw) -> NonNull<u8> {
    NonNull::new(pages.as_mut_ptr()).expect("a mapping is never at address 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Folder, Publication, SegmentFile, WriterKind};

    const SIZE: u64 = 4 << 20;

    #[test]
    fn preheating_releasing_and_flushing_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let (publication, mut reserver) = Publication::new(SIZE);
        let file = SegmentFile::create(&folder, SIZE, SIZE).unwrap();
        let segment = file.map(&publication).unwrap();
        let writer = WriterKind::Mapped.open(&segment).unwrap();
        reserver.go_on(writer.clone()).unwrap();
        reserver
            .put(9000, |space| space.write(0, &[5; 9000]))
            .unwrap();
        for range in [
            0..u64::MAX,
            SIZE..SIZE + 1,
            SIZE + 5000..SIZE + 5001,
            0..SIZE,
            3 * SIZE..4 * SIZE,
        ] {
            for folios in [Folios::Small, Folios::Large] {
                writer.preheat(range.clone(), folios).unwrap();
            }
            publication.release(range.end).unwrap();
            segment.flush(range).unwrap();
        }
        assert_eq!(&segment.bytes(SIZE, 9000).unwrap()[..], [5; 9000]);
        let mut read = vec![0; 9000];
        segment.read_at(SIZE, &mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 5));
    }

    #[test]
    fn a_page_without_a_block_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let (publication, _reserver) = Publication::new(0);
        let file = SegmentFile::create(&folder, 0, SIZE).unwrap();
        let segment = file.map(&publication).unwrap();
        let writer = Mapped::new(&segment).unwrap();
        // What the log never does: the file is cut short under the mapping.
        std::fs::File::options()
            .write(true)
            .open(segment.path())
            .unwrap()
            .set_len(SIZE / 2)
            .unwrap();
        writer.preheat(0..SIZE / 2, Folios::Small).unwrap();
        writer.preheat(0..SIZE, Folios::Small).unwrap_err();
    }
}
