//! The writer that gathers bytes in memory, and writes whole batches to the file.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use crate::PAGE;
use crate::mapped::start_of;
use crate::segment::Segment;
use crate::writer::{Folios, Memory, Prepared, Writer, units_of};

/// Private memory with the addresses of a segment. Only what is appended and not yet released takes room in it.
#[derive(Debug)]
pub(crate) struct Staged {
    pages: MmapRaw,
    segment: Arc<Segment>,
    /// Everything below this offset is given back.
    released: AtomicU64,
}

impl Staged {
    pub(crate) fn new(segment: &Arc<Segment>) -> io::Result<Self> {
        let pages = MmapOptions::new()
            .len(segment.size() as usize)
            .no_reserve_swap()
            .map_anon()?;
        Ok(Self {
            pages: pages.into(),
            segment: segment.clone(),
            released: AtomicU64::new(0),
        })
    }
}

impl Writer for Staged {
    fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    fn preheat(&self, positions: Range<u64>, _folios: Folios) -> io::Result<Prepared> {
        let Range { start, end } = units_of(&self.segment, &positions, PAGE);
        let base = self.segment.base();
        Prepared::by(base + start..base + end, || {
            let (start, len) = (start as usize, (end - start) as usize);
            match self.pages.advise_range(Advice::PopulateWrite, start, len) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            }
        })
    }

    fn write_out(&self, positions: Range<u64>) -> io::Result<()> {
        let (base, limit) = (self.segment.base(), self.segment.end());
        let start = positions.start.clamp(base, limit) - base;
        let end = positions.end.clamp(base, limit) - base;
        if start >= end {
            return Ok(());
        }
        // SAFETY: the range lies in the mapping, which lives as long as `self`. It is complete: its slots are used up,
        // so nobody writes it any more.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                self.pages.as_ptr().add(start as usize),
                (end - start) as usize,
            )
        };
        self.segment.write_at(start, bytes)
    }

    fn release(&self, position: u64) -> io::Result<()> {
        let segment = &self.segment;
        let end = (position.clamp(segment.base(), segment.end()) - segment.base()) / PAGE * PAGE;
        let start = self.released.fetch_max(end, Ordering::AcqRel);
        if start >= end {
            return Ok(());
        }
        // SAFETY: nobody needs these bytes any more: they are in the file, and their slots are used up. The pages are
        // private memory, which reads as zeros from here on.
        unsafe {
            self.pages.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                start as usize,
                (end - start) as usize,
            )
        }
    }

    fn lock(&self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "staged memory is not locked: it is written out and given back at once",
        ))
    }
}

impl Memory for Staged {
    fn memory(&self) -> NonNull<u8> {
        start_of(&self.pages)
    }
}
