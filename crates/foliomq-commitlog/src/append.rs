//! Appending: reserve under the short lock, write outside, publish in order.

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use foliomq_segment::{Refused, Reserver, Slot, Space, WriterKind};

use crate::error::AppendError;
use crate::header::{
    ALIGN, CRC, HEADER, Header, Kind, MAX_MESSAGE, MAX_TOPIC, checksum, filler_size, record_size,
};
use crate::record::{Appended, Draft};
use crate::shared::Shared;

/// Up to so many bytes are written under the short lock: to copy them takes less time than to hand out a slot for them.
const SHORT: u64 = 8 << 10;
/// A staged writer holds at most so many bytes that are not in the file yet; whoever appends more writes them out first.
const MOST_STAGED: u64 = 64 << 20;

/// What the short lock guards.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) reserver: Reserver,
    /// The preparer is woken once the head passes this position.
    pub(crate) wake_at: u64,
    pub(crate) closed: bool,
}

/// What became of an attempt to append.
enum Attempt<'a> {
    /// Written and published.
    Done,
    /// To be written and published outside the lock.
    Reserved(Slot<'a>),
    /// The segment was sealed; the filler is still to be written. Try again.
    Rolled(Option<Filler<'a>>),
    /// The next segment is not there yet.
    NoSegment,
    /// Too many writes in flight.
    Busy,
}

struct Filler<'a> {
    slot: Slot<'a>,
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
        self.keep_up()?;
        let now = unix_millis();
        loop {
            match self.attempt(total, now, drafts, appended)? {
                Attempt::Done => {
                    self.publication.complete().wake();
                    return Ok(());
                }
                Attempt::Reserved(mut slot) => {
                    write_records(&mut slot.space(), drafts, appended, self.generation);
                    slot.publish();
                    return Ok(());
                }
                Attempt::Rolled(filler) => self.fill(filler),
                Attempt::NoSegment => self.await_segment()?,
                Attempt::Busy => std::thread::yield_now(),
            }
        }
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

    /// Bounds what a staged writer holds.
    fn keep_up(&self) -> Result<(), AppendError> {
        if self.options.writer() != WriterKind::Staged {
            return Ok(());
        }
        // In this order: what is written out only grows, and never beyond what is complete.
        let written = self.publication.position();
        let complete = self.publication.complete().value();
        if complete - written > MOST_STAGED {
            self.write_out()?;
        }
        Ok(())
    }

    /// One attempt, under the lock: never waits.
    fn attempt(
        &self,
        total: u64,
        now: u64,
        drafts: &[Draft<'_>],
        appended: &mut [Appended],
    ) -> Result<Attempt<'_>, AppendError> {
        let mut head = self.head.lock();
        if head.closed {
            return Err(AppendError::Closed);
        }
        self.poisoned()?;
        if drafts.iter().any(Draft::is_closed) {
            return Err(AppendError::QueueClosed);
        }
        let room = head.reserver.room();
        let fits = room == total || room >= total + HEADER as u64;
        let attempt = match fits {
            true if total <= SHORT && head.reserver.idle() => {
                self.put(&mut head, total, now, drafts, appended)
            }
            true => self.reserve(&mut head, total, now, drafts, appended),
            false => self.roll(&mut head, room),
        };
        let wake = head.passes_wake_mark(&self.options.preheat);
        drop(head);
        if wake {
            self.preparation.head_moved(&self.options.preheat);
        }
        match attempt {
            Err(Refused::Busy) => Ok(Attempt::Busy),
            Err(refused @ (Refused::Poisoned | Refused::OutOfSegment)) => {
                Err(AppendError::Poisoned {
                    reason: refused.to_string(),
                })
            }
            Ok(attempt) => Ok(attempt),
        }
    }

    fn put(
        &self,
        head: &mut Head,
        total: u64,
        now: u64,
        drafts: &[Draft<'_>],
        appended: &mut [Appended],
    ) -> Result<Attempt<'_>, Refused> {
        let position = head.reserver.position();
        head.reserver.put(total as usize, |space| {
            self.stamp(position, now, drafts, appended);
            write_records(space, drafts, appended, self.generation);
        })?;
        Ok(Attempt::Done)
    }

    fn reserve(
        &self,
        head: &mut Head,
        total: u64,
        now: u64,
        drafts: &[Draft<'_>],
        appended: &mut [Appended],
    ) -> Result<Attempt<'_>, Refused> {
        let slot = head.reserver.reserve(&self.publication, total as usize)?;
        self.stamp(slot.position(), now, drafts, appended);
        Ok(Attempt::Reserved(slot))
    }

    /// Seals the active segment and goes on in the next, if that is ready.
    fn roll(&self, head: &mut Head, room: u64) -> Result<Attempt<'_>, Refused> {
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
                slot: head.reserver.reserve(&self.publication, room as usize)?,
                store_time,
            }),
        };
        self.segments.roll(next.segment().clone(), store_time);
        head.reserver.go_on(next)?;
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
            // Only ever changed under the lock, so that a load and a store will do.
            let offset = draft.next_offset.load(Ordering::Acquire);
            draft.next_offset.store(offset + 1, Ordering::Release);
            placed.queue_offset = offset;
            placed.store_time = store_time;
            position += u64::from(placed.size);
        }
    }

    fn fill(&self, filler: Option<Filler<'_>>) {
        let Some(Filler {
            mut slot,
            store_time,
        }) = filler
        else {
            return;
        };
        let (position, mut space) = (slot.position(), slot.space());
        let size = filler_size(space.len() as u64);
        let header = Header::filler(position, size, self.generation, store_time);
        space.write(0, &header.encode());
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

fn write_records(
    space: &mut Space<'_>,
    drafts: &[Draft<'_>],
    appended: &[Appended],
    generation: u64,
) {
    let mut at = 0;
    for (draft, placed) in drafts.iter().zip(appended) {
        write_record(space, at, draft, placed, generation);
        at += placed.size as usize;
    }
}

fn write_record(
    space: &mut Space<'_>,
    at: usize,
    draft: &Draft<'_>,
    placed: &Appended,
    generation: u64,
) {
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
    space.write(at, &header.fields());
    let mut end = at + HEADER;
    for part in std::iter::once(draft.topic.as_bytes()).chain(draft.message.iter().copied()) {
        space.write(end, part);
        end += part.len();
    }
    let record = at..at + placed.size as usize;
    space.write(end, &[0; ALIGN as usize][..record.end - end]);
    // Over the memory, not part by part: one pass over what is in the cache.
    let checksum = checksum(&space.bytes()[record]);
    space.write(at + CRC.start, &checksum.to_le_bytes());
}

/// Unix milliseconds now.
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as u64)
}
