//! The state of queues that stand together: what a put changes in atomic cells, what it seldom changes behind a lock.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_segment::words::Words;

use crate::entry::{Bad, Entry, QueueNumber};
use crate::error::IndexError;
use crate::extent::{Extent, Extents};
use crate::files::Files;

/// Queues of a page.
pub(crate) const QUEUES: usize = 256;

/// The state of [`QUEUES`] queues. Its lock is held for writing only while extents come or go; a put that finds room in
/// the last extent goes by the cells alone.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) cells: Arc<[Cell]>,
    pub(crate) extents: Box<[Extents]>,
}

/// What a put changes: 24 bytes for a queue.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// The first offset, or a lower one: what the log has dropped since is passed over by readers.
    pub(crate) start: AtomicU64,
    /// Every entry below is whole.
    pub(crate) end: AtomicU64,
    /// A [`Next`]; only the writer looks at it.
    pub(crate) next: AtomicU64,
}

/// Where the next entry of a queue goes: entries left 17 bits, entry of the file 24 bits, file 22 bits, and one bit for
/// a queue that the writer is to look at first. 0: the queue has no extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next(u64);

const ROOM_BITS: u32 = 17;
const SLOT_BITS: u32 = 24;
const DORMANT: u64 = 1 << 63;

impl Next {
    pub(crate) const NONE: Self = Self(0);

    /// Where `offset` goes in `extent`.
    pub(crate) fn of(extent: &Extent, offset: u64) -> Self {
        let place = extent.place;
        let room = extent.limit().saturating_sub(offset);
        let slot = u64::from(place.end()) - room;
        Self(u64::from(place.file()) << (ROOM_BITS + SLOT_BITS) | slot << ROOM_BITS | room)
    }

    /// Whether an entry may be put there without a further look.
    #[inline]
    pub(crate) fn is_ready(self) -> bool {
        self.room() > 0 && self.0 & DORMANT == 0
    }

    #[inline]
    pub(crate) fn room(self) -> u64 {
        self.0 & ((1 << ROOM_BITS) - 1)
    }

    #[inline]
    pub(crate) fn file(self) -> usize {
        ((self.0 & !DORMANT) >> (ROOM_BITS + SLOT_BITS)) as usize
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        (self.0 >> ROOM_BITS) as usize & ((1 << SLOT_BITS) - 1)
    }

    /// One entry on.
    #[inline]
    pub(crate) fn after(self) -> Self {
        Self(self.0 + (1 << ROOM_BITS) - 1)
    }

    /// The same place of a queue that holds nothing and waits in no list.
    pub(crate) fn dormant(self) -> Self {
        Self(self.0 | DORMANT)
    }

    pub(crate) fn is_dormant(self) -> bool {
        self.0 & DORMANT != 0
    }

    pub(crate) fn awake(self) -> Self {
        Self(self.0 & !DORMANT)
    }
}

impl Cell {
    #[inline]
    pub(crate) fn next(&self) -> Next {
        Next(self.next.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_next(&self, next: Next) {
        self.next.store(next.0, Ordering::Relaxed);
    }

    /// Sets the whole state. The page is locked.
    pub(crate) fn set(&self, offsets: Range<u64>, next: Next) {
        self.start.store(offsets.start, Ordering::Release);
        self.set_next(next);
        self.end.store(offsets.end, Ordering::Release);
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            cells: (0..QUEUES).map(|_| Cell::default()).collect(),
            extents: (0..QUEUES).map(|_| Extents::default()).collect(),
        }
    }
}

impl Page {
    /// Whether no queue in it has anything.
    pub(crate) fn is_unused(&self) -> bool {
        let none = |extents: &Extents| matches!(extents, Extents::None);
        self.extents.iter().all(none)
    }

    /// One queue as it is now. Entries below `log_start` count as gone.
    pub(crate) fn view<'a>(
        &'a self,
        queue: QueueNumber,
        files: &'a Files,
        log_start: u64,
    ) -> View<'a> {
        let index = queue as usize % QUEUES;
        let cell = &self.cells[index];
        View {
            queue,
            extents: self.extents[index].as_slice(),
            files,
            log_start,
            offsets: cell.start.load(Ordering::Acquire)..cell.end.load(Ordering::Acquire),
        }
    }
}

/// A queue at one moment.
#[derive(Debug)]
pub(crate) struct View<'a> {
    queue: QueueNumber,
    extents: &'a [Extent],
    files: &'a Files,
    log_start: u64,
    offsets: Range<u64>,
}

impl View<'_> {
    /// What it holds now. A damaged entry counts as held: it is for a read to say so.
    pub(crate) fn offsets(&self) -> Range<u64> {
        self.held_from(self.offsets.start)..self.offsets.end
    }

    /// `from`, or the first later offset that the log still holds.
    fn held_from(&self, from: u64) -> u64 {
        let from = from.max(self.offsets.start).min(self.offsets.end);
        if from == self.offsets.end || !self.is_gone(from) {
            return from;
        }
        partition(from..self.offsets.end, |offset| !self.is_gone(offset))
    }

    fn is_gone(&self, offset: u64) -> bool {
        let entry = self.any(offset);
        entry.is_ok_and(|entry| entry.position < self.log_start)
    }

    /// The entry of `offset`, if the log still holds it.
    pub(crate) fn entry(&self, offset: u64) -> Result<Option<Entry>, IndexError> {
        if !self.offsets.contains(&offset) {
            return Ok(None);
        }
        let entry = self.any(offset).map_err(|_| self.damaged(offset))?;
        Ok(Some(entry).filter(|entry| entry.position >= self.log_start))
    }

    /// The entry of `offset`, whether or not the log still holds it. One that is not there is bad, too.
    fn any(&self, offset: u64) -> Result<Entry, Bad> {
        let extent = self
            .extent_at(offset)
            .and_then(|at| self.extents.get(at))
            .ok_or(Bad)?;
        let words = self.words(extent).ok_or(Bad)?;
        extent.entry(self.queue, words, offset)?.ok_or(Bad)
    }

    fn damaged(&self, offset: u64) -> IndexError {
        let queue = self.queue;
        IndexError::DamagedEntry { queue, offset }
    }

    /// Entries from `from`, or the start, on; at most `most`. Those before a damaged one come first: it is an error
    /// only where there are none.
    pub(crate) fn entries(
        &self,
        from: u64,
        most: usize,
        out: &mut Vec<Entry>,
    ) -> Result<usize, IndexError> {
        let mut at = self.held_from(from);
        let to = self.offsets.end.min(at.saturating_add(most as u64));
        let before = out.len();
        for extent in &self.extents[self.extent_at(at).unwrap_or(0)..] {
            let end = to.min(extent.limit());
            let Some(words) = self.words(extent).filter(|_| at < end) else {
                break;
            };
            out.extend((at..end).map_while(|offset| {
                let entry = extent.entry(self.queue, words, offset).ok().flatten();
                at += u64::from(entry.is_some());
                entry
            }));
            if at < end {
                break;
            }
        }
        match out.len() - before {
            0 if at < to => Err(self.damaged(at)),
            found => Ok(found),
        }
    }

    /// The first offset that the log holds whose store time is at or after `time`, the end if none is.
    pub(crate) fn offset_at(&self, time: u64) -> Result<u64, IndexError> {
        try_partition(self.offsets(), |offset| {
            let entry = self.any(offset).map_err(|_| self.damaged(offset))?;
            Ok(entry.store_time >= time)
        })
    }

    /// How many extents at the front hold nothing at or above `log_start`. The last one always stays: it says where the
    /// queue ends. One with a damaged end stays, too, until the indexes are made anew.
    pub(crate) fn expired(&self) -> usize {
        let starts = self.extents.iter().skip(1).map(|extent| extent.first);
        starts
            .take_while(|&first| self.is_gone(first.saturating_sub(1)))
            .count()
    }

    /// Log position of the last entry of the first extent: once the log has dropped it there is something to free.
    pub(crate) fn next_expiry(&self) -> u64 {
        let limit = self.extents.first().map_or(0, Extent::limit);
        let last = limit.min(self.offsets.end).saturating_sub(1);
        self.any(last).map_or(0, |entry| entry.position)
    }

    fn words(&self, extent: &Extent) -> Option<&Words> {
        self.files.get(extent.place.file() as usize)
    }

    fn extent_at(&self, offset: u64) -> Option<usize> {
        self.extents
            .partition_point(|extent| extent.first <= offset)
            .checked_sub(1)
    }
}

/// The first of `range` that passes, or its end. Those that pass follow those that do not.
fn partition(range: Range<u64>, passes: impl Fn(u64) -> bool) -> u64 {
    let Ok(first) = try_partition(range, |at| Ok::<_, Infallible>(passes(at)));
    first
}

/// The same, where a look can fail.
pub(crate) fn try_partition<E>(
    range: Range<u64>,
    passes: impl Fn(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if passes(middle)? {
            high = middle
        } else {
            low = middle + 1
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Place;

    #[test]
    fn the_next_place_moves_through_its_extent() {
        let place = Place::new(77, 4000, 6).unwrap();
        let extent = Extent { first: 100, place };
        let mut next = Next::of(&extent, 100);
        assert_eq!((next.file(), next.slot(), next.room()), (77, 4000, 32_768));
        for offset in 101..=extent.limit() {
            next = next.after();
            assert_eq!(next, Next::of(&extent, offset));
        }
        assert!(!next.is_ready());
        assert_eq!(next.dormant().file(), 77);
        assert_eq!(next.dormant().awake(), next);
    }
}
