//! The ledger: an index queue that lists, in log order, the messages that were hidden and what became of each.

use std::sync::atomic::Ordering;

use foliomq_commitlog::RecordRef;
use foliomq_consumequeue::{Entry, QueueNumber};

use crate::change::Change;
use crate::dispatcher::contradiction;
use crate::error::StoreError;
use crate::hidden::{Awaits, Control, Prefix, Verdict};
use crate::open::CatchUpError;
use crate::shared::Shared;

/// One line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Of the record in the commit log.
    pub position: u64,
    /// When it was stored, Unix milliseconds.
    pub store_time: u64,
    /// What the record says.
    pub event: LedgerEvent,
}

/// What happened to a hidden message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerEvent {
    /// It was appended, and its position is its id.
    Hidden(Awaits),
    /// Retention has carried it here: [`Store::hidden`](crate::Store::hidden) tells its id.
    Carried,
    /// It was put into its queue.
    Revealed {
        /// Its id.
        id: u64,
    },
    /// It was given up.
    Cancelled {
        /// Its id.
        id: u64,
    },
}

/// The kind of an event stands in the highest bits of an index entry's tag hash, its number in the others.
const NUMBER_BITS: u32 = 61;
const MOST: u64 = (1 << NUMBER_BITS) - 1;

impl LedgerEvent {
    fn to_word(self) -> u64 {
        let (kind, number): (u64, u64) = match self {
            Self::Hidden(Awaits::Time(due)) => (1, due),
            Self::Hidden(Awaits::Decision(ask_at)) => (2, ask_at),
            Self::Carried => (3, 0),
            Self::Revealed { id } => (4, id),
            Self::Cancelled { id } => (5, id),
        };
        kind << NUMBER_BITS | number.min(MOST)
    }

    fn from_word(word: u64) -> Option<Self> {
        let number = word & MOST;
        Some(match word >> NUMBER_BITS {
            1 => Self::Hidden(Awaits::Time(number)),
            2 => Self::Hidden(Awaits::Decision(number)),
            3 => Self::Carried,
            4 => Self::Revealed { id: number },
            5 => Self::Cancelled { id: number },
            _ => return None,
        })
    }

    /// What a hidden record's message says.
    pub(crate) fn of_hidden(message: &[u8]) -> Option<Self> {
        Prefix::decode(message).map(Self::of_prefix)
    }

    /// The same, of what stands before the message.
    pub(crate) fn of_prefix(prefix: Prefix) -> Self {
        match prefix.carried {
            Some(_) => Self::Carried,
            None => Self::Hidden(prefix.awaits),
        }
    }

    /// What a control record says.
    pub(crate) fn of_control(control: &Control<'_>) -> Self {
        let id = control.id;
        match control.verdict {
            Verdict::Revealed => Self::Revealed { id },
            Verdict::Cancelled => Self::Cancelled { id },
        }
    }

    /// As the index has it.
    pub(crate) fn entry(self, position: u64, size: u32, store_time: u64) -> Entry {
        Entry {
            position,
            size,
            tag_hash: self.to_word(),
            store_time,
        }
    }
}

impl Shared {
    /// Adds a line for the record. One that is there already, after a dispatch that stopped half-way, is not added again.
    pub(crate) fn enter_ledger(
        &self,
        record: &RecordRef<'_>,
        event: LedgerEvent,
    ) -> Result<(), CatchUpError> {
        let header = record.header();
        let number = self.ledger_from(header.position).map_err(|error| {
            contradiction(record, &format!("hidden, and cannot be listed: {error}"))
        })?;
        let end = self.queues.offsets(number).end;
        let last = match end.checked_sub(1) {
            Some(last) => self.queues.entry(number, last)?,
            None => None,
        };
        if last.is_none_or(|last| last.position < header.position) {
            let entry = event.entry(header.position, header.size, header.store_time);
            self.queues.put(number, end, entry)?;
            self.listed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The ledger's queue number, made for the record at `position` if there was none.
    fn ledger_from(&self, position: u64) -> Result<QueueNumber, StoreError> {
        if let Some(number) = self.registry.ledger() {
            return Ok(number);
        }
        // The metadata that should have named it, and what is to be kept, may be lost.
        self.hold_from(position)?;
        let _changing = self.changing.lock();
        let number = self.registry.next().1;
        let change = Change::Ledger { queue: number };
        self.meta.append(&change)?;
        self.registry.apply(&change);
        Ok(number)
    }

    /// The first line of a record at or after `position`.
    pub(crate) fn ledger_at(&self, position: u64) -> Result<u64, StoreError> {
        let Some(number) = self.registry.ledger() else {
            return Ok(0);
        };
        let offsets = self.queues.offsets(number);
        let (mut low, mut high) = (offsets.start, offsets.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.queues.entry(number, middle)?;
            // What was trimmed meanwhile lies lower than all that is asked for.
            match entry.is_some_and(|entry| entry.position >= position) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }

    pub(crate) fn ledger(
        &self,
        from: u64,
        most: usize,
        out: &mut Vec<LedgerEntry>,
    ) -> Result<u64, StoreError> {
        let Some(number) = self.registry.ledger() else {
            return Ok(from);
        };
        let start = self.queues.offsets(number).start.max(from);
        let mut entries = Vec::new();
        let found = self.queues.entries(number, start, most, &mut entries)?;
        for entry in &entries {
            let event = LedgerEvent::from_word(entry.tag_hash).ok_or_else(|| {
                StoreError::Index(format!("no such event at position {}", entry.position))
            })?;
            out.push(LedgerEntry {
                position: entry.position,
                store_time: entry.store_time,
                event,
            });
        }
        Ok(start + found as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_from_their_words() {
        let events = [
            LedgerEvent::Hidden(Awaits::Time(1_790_000_000_000)),
            LedgerEvent::Hidden(Awaits::Decision(7)),
            LedgerEvent::Carried,
            LedgerEvent::Revealed { id: MOST },
            LedgerEvent::Cancelled { id: 0 },
        ];
        for event in events {
            assert_eq!(LedgerEvent::from_word(event.to_word()), Some(event));
        }
        assert_eq!(LedgerEvent::from_word(0), None);
        let far = LedgerEvent::Hidden(Awaits::Time(u64::MAX));
        let found = LedgerEvent::from_word(far.to_word());
        assert_eq!(found, Some(LedgerEvent::Hidden(Awaits::Time(MOST))));
    }
}
