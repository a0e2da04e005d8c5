//! How bytes get from an append into a segment's file.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::mapped::Mapped;
use crate::segment::Segment;
use crate::staged::Staged;

/// What takes appended bytes and brings them into a segment's file. Bytes enter it only through a
/// [`Slot`](crate::Slot) or [`Reserver::put`](crate::Reserver::put).
pub trait Writer: Memory + Debug + Send + Sync {
    /// What it writes to.
    fn segment(&self) -> &Arc<Segment>;

    /// Makes the memory of `positions` (cut to the segment) resident and writable, without changing it.
    ///
    /// Memory that cannot be had (no block behind it, none free) is an error here instead of a signal at a store. A
    /// kernel without `MADV_POPULATE_WRITE` (before 5.14) only gets a hint. Folios are prepared as a whole, so more
    /// than `positions` may be ready afterwards.
    fn preheat(&self, positions: Range<u64>, folios: Folios) -> io::Result<Prepared>;

    /// Writes `positions` (cut to the segment), which are complete, to the file.
    fn write_out(&self, positions: Range<u64>) -> io::Result<()>;

    /// Gives back what it holds for everything below `position`, which is in the file and not written any more.
    fn release(&self, position: u64) -> io::Result<()>;

    /// Locks its memory.
    fn lock(&self) -> io::Result<()>;
}

/// How large the pieces of page cache are that preheating makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folios {
    /// Single pages. A flush of a few bytes writes 4 KiB.
    Small,
    /// What the kernel's read-ahead makes, up to 2 MiB: up to three times as fast to make where free memory is in one
    /// piece, and a flush writes a whole one.
    Large,
}

/// What a call of [`Writer::preheat`] has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What is ready now: whole folios.
    pub positions: Range<u64>,
    /// Processor time that it took on this thread.
    pub cost: Duration,
}

impl Prepared {
    /// Runs `work`, which makes `positions` ready.
    pub(crate) fn by(
        positions: Range<u64>,
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Self> {
        let begin = processor_time();
        work()?;
        let cost = processor_time().saturating_sub(begin);
        Ok(Self { positions, cost })
    }
}

/// What this thread has had so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The kinds of writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterKind {
    /// Stores into a preheated mapping of the file.
    Mapped,
    /// Stores into private memory, from which whole batches go to the file by `pwrite`.
    Staged,
}

impl WriterKind {
    /// A writer of this kind to `segment`.
    pub fn open(self, segment: &Arc<Segment>) -> io::Result<Arc<dyn Writer>> {
        Ok(match self {
            Self::Mapped => Arc::new(Mapped::new(segment)?),
            Self::Staged => Arc::new(Staged::new(segment)?),
        })
    }
}

mod memory {
    use std::ptr::NonNull;

    /// Memory as large as the segment. Public in name only: no other crate can see it, and so make a writer.
    pub trait Memory {
        /// The byte for the segment's first position. As many as the segment has are mapped and writable behind it,
        /// for as long as the writer lives.
        fn memory(&self) -> NonNull<u8>;
    }
}

pub(crate) use memory::Memory;

/// Offsets, in the segment, of the whole units of `unit` bytes that hold `positions`, as far as the segment goes; empty if
/// none of them lies in it.
pub(crate) fn units_of(segment: &Segment, positions: &Range<u64>, unit: u64) -> Range<u64> {
    let (base, limit) = (segment.base(), segment.end());
    let start = (positions.start.clamp(base, limit) - base) / unit * unit;
    let end = (positions.end.clamp(base, limit) - base)
        .next_multiple_of(unit)
        .min(segment.size());
    start..end.max(start)
}
