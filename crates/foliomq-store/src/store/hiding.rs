//! Hidden messages: in no queue until they are revealed.

use std::sync::atomic::Ordering;

use event_listener::EventListener;
use foliomq_commitlog::Appended;

use super::Store;
use crate::error::StoreError;
use crate::hidden::{Awaits, HiddenMessage};
use crate::ledger::LedgerEntry;
use crate::message::Message;
use crate::reveal::Revealed;

impl Store {
    /// Appends all or none, in no queue, *without* waiting, as [`submit`](Self::submit): nobody reads them before
    /// [`reveal`](Self::reveal). `queue` is where they go then; `None`: the next in turn. The position of each is its id.
    ///
    /// From the first of them on, retention drops nothing unless [`keep_from`](Self::keep_from) says that it may.
    pub fn submit_hidden(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[(Awaits, &Message<'_>)],
    ) -> Result<Vec<Appended>, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        self.0.shared.append_hidden(&topic, queue, messages)
    }

    /// The hidden message whose record lies at `position`.
    pub fn hidden(&self, position: u64) -> Result<HiddenMessage, StoreError> {
        self.0.shared.hidden(position)
    }

    /// The message with this id that waited for its time, or still does: the one appended last. `None` if the log has none any
    /// more.
    pub fn find_delayed(&self, topic: &str, id: &str) -> Result<Option<HiddenMessage>, StoreError> {
        self.0.shared.find_hidden(topic, id)
    }

    /// Puts hidden messages, by the positions where they lie, into their queues *without* waiting: the first of them, as many
    /// as go into one batch. An error means that none was, yet what was carried forward is. Each is to be revealed or cancelled
    /// once: see [`ledger`](Self::ledger).
    pub fn reveal(&self, positions: &[u64]) -> Result<Revealed, StoreError> {
        self.0.shared.reveal(positions)
    }

    /// Gives up the hidden message `id` that lies at `position`, *without* waiting; returns the position to wait for.
    pub fn cancel(&self, id: u64, position: u64) -> Result<u64, StoreError> {
        self.0.shared.cancel(id, position)
    }

    /// Appends the hidden message at `position` again, under the same id, so that the old record may go.
    pub fn carry(&self, position: u64) -> Result<Appended, StoreError> {
        self.0.shared.carry(position)
    }

    /// The number of the first ledger line of a record at or after `position`.
    pub fn ledger_at(&self, position: u64) -> Result<u64, StoreError> {
        self.0.shared.ledger_at(position)
    }

    /// Lines of the ledger, in log order, from number `from` (or the first that is there) on, at most `most`, appended to
    /// `out`; returns the number that comes next. Numbers change when the indexes are made anew, never while the store is open.
    pub fn ledger(
        &self,
        from: u64,
        most: usize,
        out: &mut Vec<LedgerEntry>,
    ) -> Result<u64, StoreError> {
        self.0.shared.ledger(from, most, out)
    }

    /// Woken when the ledger has new lines, and when the store closes. Listen first, then look, then wait.
    pub fn listen_ledger(&self) -> EventListener {
        self.0.shared.ledger_event.listen()
    }

    /// Up to which position retention would drop the log, if it may not for what [`keep_from`](Self::keep_from) says.
    pub fn held_back(&self) -> Option<u64> {
        let wanted = self.0.shared.wanted.load(Ordering::Acquire);
        Some(wanted).filter(|&wanted| wanted > 0)
    }

    /// Says that no hidden message lies below `position` any more, so that retention may drop it. It never goes back.
    pub fn keep_from(&self, position: u64) -> Result<(), StoreError> {
        self.0.shared.keep_from(position)
    }
}
