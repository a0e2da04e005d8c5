//! Reserving: each position of a log is handed out for writing once.

use std::sync::Arc;

use crate::publication::{IN_FLIGHT, Publication};
use crate::slot::{Slot, Space};
use crate::writer::Writer;

/// Why no slot was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`IN_FLIGHT`] slots are open. Clears when the oldest is published.
    #[error("too many writes are in flight")]
    Busy,
    /// A slot was dropped unpublished: nothing after it will ever be readable.
    #[error("an earlier write was given up, so nothing after it can be published")]
    Poisoned,
    /// The segment does not hold the next `len` positions, or belongs to another log.
    #[error("the next position does not lie in this segment, or too close to its end")]
    OutOfSegment,
}

/// Hands out the positions of a log, each once. There is one per [`Publication`].
#[derive(Debug)]
pub struct Reserver {
    publication: Arc<Publication>,
    /// Where the next position lies.
    writer: Option<Arc<dyn Writer>>,
    /// Slots handed out so far.
    sequence: u64,
    position: u64,
}

impl Reserver {
    pub(crate) fn new(publication: Arc<Publication>, position: u64) -> Self {
        Self {
            publication,
            writer: None,
            sequence: 0,
            position,
        }
    }

    /// The next position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the next position is written through.
    pub fn writer(&self) -> Option<&Arc<dyn Writer>> {
        self.writer.as_ref()
    }

    /// Goes on in the segment of `writer`, which must hold the next position.
    pub fn go_on(&mut self, writer: Arc<dyn Writer>) -> Result<(), Refused> {
        let segment = writer.segment();
        let holds = (segment.base()..segment.end()).contains(&self.position);
        if !holds || !Arc::ptr_eq(segment.watermark(), self.publication.watermark()) {
            return Err(Refused::OutOfSegment);
        }
        self.publication.keep(writer.clone());
        self.writer = Some(writer);
        Ok(())
    }

    /// Positions that are left in the segment.
    pub fn room(&self) -> u64 {
        let end = self.writer.as_ref().map(|writer| writer.segment().end());
        end.map_or(0, |end| end - self.position)
    }

    /// Whether [`reserve`](Self::reserve) would be refused as busy.
    pub fn busy(&self) -> bool {
        self.publication.in_flight(self.sequence) >= IN_FLIGHT as u64
    }

    /// Whether no slot is open, so that [`put`](Self::put) can publish at once.
    pub fn idle(&self) -> bool {
        self.publication.in_flight(self.sequence) == 0
    }

    /// The next `len` positions, to be written outside the caller's lock. `publication` is the reserver's own.
    pub fn reserve<'a>(
        &mut self,
        publication: &'a Publication,
        len: usize,
    ) -> Result<Slot<'a>, Refused> {
        if !std::ptr::eq(publication, &*self.publication) {
            return Err(Refused::OutOfSegment);
        }
        let busy = self.busy();
        let space = self.space(len)?;
        if busy {
            return Err(Refused::Busy);
        }
        // SAFETY: `space` lies in the memory of a writer that `publication` keeps until the position that it reports
        // has passed the writer's whole segment, and it does not pass this slot before the slot is used up. The slot
        // borrows the publication. No other space holds these positions: they are handed out here, once.
        let space = unsafe { space.for_as_long_as(publication) };
        self.position += len as u64;
        self.sequence += 1;
        Ok(Slot::new(
            publication,
            space,
            self.sequence - 1,
            self.position,
        ))
    }

    /// Writes the next `len` positions by `write` and publishes them at once: less work than a slot, for what is short
    /// enough to be copied while others wait. Refused as [`Busy`](Refused::Busy) unless it is [`idle`](Self::idle).
    /// Those who wait for the position are left to [`Watermark::wake`](crate::Watermark::wake).
    pub fn put(&mut self, len: usize, write: impl FnOnce(&mut Space<'_>)) -> Result<(), Refused> {
        if !self.idle() {
            return Err(Refused::Busy);
        }
        // If `write` panics nothing has happened: the same positions are written again.
        write(&mut self.space(len)?);
        self.position += len as u64;
        self.publication.complete().set(self.position);
        Ok(())
    }

    /// The memory of the next `len` positions.
    fn space(&mut self, len: usize) -> Result<Space<'_>, Refused> {
        let Some(writer) = &self.writer else {
            return Err(Refused::OutOfSegment);
        };
        if len as u64 > self.room() {
            return Err(Refused::OutOfSegment);
        }
        if self.publication.poisoned() {
            return Err(Refused::Poisoned);
        }
        let offset = (self.position - writer.segment().base()) as usize;
        // SAFETY: the range lies in the segment, and so in the writer's memory, which lives as long as the reserver
        // is borrowed. Nobody else writes it: its positions are not handed out yet, and this borrow is exclusive.
        Ok(unsafe { Space::new(writer.memory().add(offset), len) })
    }
}
