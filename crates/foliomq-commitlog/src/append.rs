//! Appending: reserve under the short lock, write outside, publish in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use foliomq_segment::{Refused, Reserver, Slot, Writer};

use crate::error::AppendError;
use crate::header::{
    ALIGN, HEADER, Header, Kind, MAX_MESSAGE, MAX_TOPIC, filler_size, record_size,
};
use crate::record::{Appended, Draft};
use crate::shared::Shared;

/// What the short lock guards.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) reserver: Reserver,
    pub(crate) writer: Arc<Writer>,
    /// The preparer is woken once the head passes this position.
    pub(crate) wake_at: u64,
    pub(crate) closed: bool,
}

/// What became of an attempt to reserve.
enum Attempt {
    Reserved(Slot),
    /// The segment was sealed; the filler is still to be written. Try again.
    Rolled(Option<Filler>),
    /// The next segment is not there yet.
    NoSegment,
    /// Too many writes in flight.
    Busy,
}

struct Filler {
    slot: Slot,
    store_time: u64,
}

impl Shared {
    /// Appends one record.
    pub(crate) fn append(&self, draft: &Draft<'_>) -> Result<Appended, AppendError> {
        let mut appended = [UNSET];
        self.append_all(std::slice::from_ref(draft), &mut appended)?;
        Ok(appended[0])
    }

    /// Appends `drafts` one after the other, and tells in `appended` (as long) where they went.
    pub(crate) fn append_all(
        &self,
        drafts: &[Draft<'_>],
        appended: &mut [Appended],
    ) -> Result<(), AppendError> {
        let total = self.measure(drafts, appended)?;
        let mut slot = self.reserve(total, drafts, appended)?;
        let mut at = 0;
        for (draft, placed) in drafts.iter().zip(appended.iter()) {
            write_record(&mut slot, at, draft, placed, self.generation);
            at += placed.size as usize;
        }
        slot.publish();
        Ok(())
    }

    /// Sizes of the records, and their sum.
    fn measure(&self, drafts: &[Draft<'_>], appended: &mut [Appended]) -> Result<u64, AppendError> {
        let mut total = 0;
        for (draft, placed) in drafts.iter().zip(appended) {
            let message = draft
                .message
                .iter()
                .map(|part| part.len() as u64)
                .sum::<u64>();
            if message > MAX_MESSAGE {
                return Err(AppendError::TooLarge {
                    size: message,
                    limit: MAX_MESSAGE,
                });
            }
            if draft.topic.len() > MAX_TOPIC {
                return Err(AppendError::TooLarge {
                    size: draft.topic.len() as u64,
                    limit: MAX_TOPIC as u64,
                });
            }
            let size = record_size(draft.topic.len() as u64, message);
            if draft.kind == Kind::Filler {
                return Err(AppendError::TooLarge { size, limit: 0 });
            }
            // At most 2 GiB and a little: fits.
            placed.size = size as u32;
            total += size;
        }
        let limit = self.options.segment_size - HEADER as u64;
        if total > limit {
            Err(AppendError::TooLarge { size: total, limit })
        } else {
            Ok(total)
        }
    }

    fn reserve(
        &self,
        total: u64,
        drafts: &[Draft<'_>],
        appended: &mut [Appended],
    ) -> Result<Slot, AppendError> {
        let now = unix_millis();
        loop {
            let mut head = self.head.lock();
            if head.closed {
                return Err(AppendError::Closed);
            }
            self.poisoned()?;
            let attempt = self.attempt(&mut head, total)?;
            if let Attempt::Reserved(slot) = &attempt {
                self.stamp(slot.position(), now, drafts, appended);
            }
            let wake = head.passes_wake_mark(&self.options.preheat);
            drop(head);
            if wake {
                self.preparation.wake();
            }
            match attempt {
                Attempt::Reserved(slot) => return Ok(slot),
                Attempt::Rolled(filler) => self.fill(filler),
                Attempt::NoSegment => self.await_segment()?,
                Attempt::Busy => std::thread::yield_now(),
            }
        }
    }

    /// One attempt, under the lock: never waits.
    fn attempt(&self, head: &mut Head, total: u64) -> Result<Attempt, AppendError> {
        let room = head.writer.segment().end() - head.reserver.position();
        let fits = room == total || room >= total + HEADER as u64;
        let reserved = if fits {
            head.reserver
                .reserve(&head.writer, total as usize)
                .map(Attempt::Reserved)
        } else {
            self.roll(head, room)
        };
        match reserved {
            Ok(attempt) => Ok(attempt),
            Err(Refused::Busy) => Ok(Attempt::Busy),
            Err(refused @ (Refused::Poisoned | Refused::OutOfSegment)) => {
                Err(AppendError::Poisoned {
                    reason: refused.to_string(),
                })
            }
        }
    }

    /// Seals the active segment and goes on in the next, if that is ready.
    fn roll(&self, head: &mut Head, room: u64) -> Result<Attempt, Refused> {
        if head.reserver.busy() {
            return Ok(Attempt::Busy);
        }
        let Some(next) = self.preparation.ready() else {
            return Ok(Attempt::NoSegment);
        };
        let store_time = self.store_time.load(Ordering::Relaxed);
        let filler = match room {
            0 => None,
            _ => Some(Filler {
                slot: head.reserver.reserve(&head.writer, room as usize)?,
                store_time,
            }),
        };
        self.segments.roll(next.segment().clone(), store_time);
        self.activate(head, next);
        self.preparation.taken();
        head.wake_at = head.reserver.position();
        Ok(Attempt::Rolled(filler))
    }

    /// Gives the records of a reserved slot their positions, queue offsets and time, under the lock.
    fn stamp(&self, mut position: u64, now: u64, drafts: &[Draft<'_>], appended: &mut [Appended]) {
        let store_time = self.store_time.load(Ordering::Relaxed).max(now);
        self.store_time.store(store_time, Ordering::Relaxed);
        for (draft, placed) in drafts.iter().zip(appended) {
            placed.position = position;
            placed.queue_offset = draft.next_offset.fetch_add(1, Ordering::AcqRel);
            placed.store_time = store_time;
            position += u64::from(placed.size);
        }
    }

    fn fill(&self, filler: Option<Filler>) {
        let Some(Filler {
            mut slot,
            store_time,
        }) = filler
        else {
            return;
        };
        let header = Header::filler(
            slot.position(),
            filler_size(slot.len() as u64),
            self.generation,
            store_time,
        );
        slot.write(0, &header.encode(std::iter::empty()));
        slot.publish();
    }
}

/// Filled in before it is returned.
pub(crate) const UNSET: Appended = Appended {
    position: 0,
    size: 0,
    queue_offset: 0,
    store_time: 0,
};

fn write_record(slot: &mut Slot, at: usize, draft: &Draft<'_>, placed: &Appended, generation: u64) {
    let message_len = draft.message.iter().map(|part| part.len()).sum::<usize>();
    let header = Header {
        kind: draft.kind,
        topic_len: draft.topic.len() as u16,
        size: placed.size,
        crc: 0,
        position: placed.position,
        generation,
        term: 0,
        store_time: placed.store_time,
        queue_offset: placed.queue_offset,
        queue_id: draft.queue_id,
        message_len: message_len as u32,
    };
    let parts = || std::iter::once(draft.topic.as_bytes()).chain(draft.message.iter().copied());
    slot.write(at, &header.encode(parts()));
    let mut end = at + HEADER;
    for part in parts() {
        slot.write(end, part);
        end += part.len();
    }
    let padding = at + placed.size as usize - end;
    slot.write(end, &[0; ALIGN as usize][..padding]);
}

/// Unix milliseconds now.
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as u64)
}
