//! Reading messages by offset, time, key and id.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foliomq_commitlog::{Kind, Record};
use foliomq_consumequeue::{Entry, key_hash};

use crate::error::StoreError;
use crate::hidden::HiddenMessage;
use crate::shared::{Cause, Shared};
use crate::stored::{StoredMessage, position_of};

/// How long a read waits for the dispatcher to enter what was committed before it. It takes microseconds; the bound is
/// for a machine that is starved.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Records looked at for each one asked for by key: hashes collide, and the newest are not always of this topic.
const KEY_CANDIDATES: usize = 4;

impl Shared {
    /// Up to `most` messages from `offset` on; what was committed before the call is found.
    pub(crate) fn read_many(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let mut entries = Vec::new();
        let found = self.entries(topic, queue, offset, most, &mut entries)?;
        if entries.len() < most && self.is_appended(topic, queue, found.end) {
            self.catch_up_with_commits();
            entries.clear();
            self.entries(topic, queue, offset, most, &mut entries)?;
            if entries.is_empty() {
                // It is in the log, and will never come.
                self.refusal(Cause::Dispatcher).map_or(Ok(()), Err)?;
            }
        }
        entries
            .iter()
            .filter_map(|entry| self.message_if_there(entry).transpose())
            .collect()
    }

    /// Adds entries from `offset`, or the queue's start, on to `out`; returns their offsets.
    pub(crate) fn entries(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
        most: usize,
        out: &mut Vec<Entry>,
    ) -> Result<Range<u64>, StoreError> {
        let topic = self.registry.get(topic)?;
        let (number, before, mut from) = (topic.number(queue)?, out.len(), offset);
        loop {
            from = from.max(topic.floor(queue));
            let found = self.queues.entries(number, from, most, out)? as u64;
            // The start only moves up: if this is there now, it was the first of them.
            if found == 0 || self.queues.entry(number, from)?.is_some() {
                return Ok(from..from + found);
            }
            out.truncate(before);
            from = from.max(self.queues.offsets(number).start);
        }
    }

    pub(crate) fn find_by_key(
        &self,
        topic: &str,
        key: &str,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.find(topic, key, most, |message| {
            message.keys().any(|other| other == key)
        })
    }

    pub(crate) fn find_by_id(
        &self,
        topic: &str,
        id: &str,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let state = self.registry.get(topic)?;
        match position_of(id) {
            // An id that the store made of the position. Whatever else stands there is not what was asked for.
            Some(position) => {
                let message = self.message(position).ok();
                let mine = |message: &StoredMessage| {
                    message.topic() == topic
                        && message.sender_id().is_none()
                        && state.keeps(message)
                };
                Ok(message.filter(mine).into_iter().take(most).collect())
            }
            None => self.find(topic, id, most, |message| message.sender_id() == Some(id)),
        }
    }

    /// A delayed message with this id: whether it waits, was given up, or is in its queue since; the one appended last.
    pub(crate) fn find_hidden(
        &self,
        topic: &str,
        id: &str,
    ) -> Result<Option<HiddenMessage>, StoreError> {
        for position in self.candidates(topic, id, 1)? {
            let Some(record) = self.record_if_there(position)? else {
                continue;
            };
            if record.kind() == Kind::Hidden && record.topic() == topic {
                let hidden = HiddenMessage::new(record)?;
                if hidden.message.sender_id() == Some(id) {
                    return Ok(Some(hidden));
                }
            }
        }
        Ok(None)
    }

    fn find(
        &self,
        topic: &str,
        key: &str,
        most: usize,
        wanted: impl Fn(&StoredMessage) -> bool,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let state = self.registry.get(topic)?;
        let mut found = Vec::new();
        for position in self.candidates(topic, key, most)? {
            if found.len() >= most {
                break;
            }
            let message = match self.record_if_there(position)? {
                // Not by this record is it in a queue.
                None => None,
                Some(record) if record.kind() == Kind::Hidden => None,
                Some(record) => self.if_there(position, self.message_in(record))?,
            };
            let wanted = |message: &StoredMessage| {
                message.topic() == topic && state.keeps(message) && wanted(message)
            };
            found.extend(message.filter(wanted));
        }
        Ok(found)
    }

    /// Where messages with this key may lie, the newest first.
    fn candidates(&self, topic: &str, key: &str, most: usize) -> Result<Vec<u64>, StoreError> {
        let state = self.registry.get(topic)?;
        self.catch_up_with_commits();
        let most = most.saturating_mul(KEY_CANDIDATES);
        let mut positions = self.keys.positions(key_hash(topic, key), most)?;
        let start = self.log.watermarks().start.max(state.meta.since);
        positions.retain(|&position| position >= start);
        Ok(positions)
    }

    fn record_if_there(&self, position: u64) -> Result<Option<Record>, StoreError> {
        let read = self.log.read(position);
        self.if_there(position, read.map_err(StoreError::from))
    }

    /// What was read of a position in the key index; `None` if retention has dropped it since, or a salvage gave it up.
    fn if_there<T>(
        &self,
        position: u64,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Err(StoreError::Lost { .. } | StoreError::Deleted { .. }) => Ok(None),
            Err(_) if position < self.log.watermarks().start => Ok(None),
            read => read.map(Some),
        }
    }

    /// Waits until what is committed now is in the indexes, unless nothing comes into them any more.
    pub(crate) fn catch_up_with_commits(&self) {
        if self.refuses_for(Cause::Dispatcher) {
            return;
        }
        // An empty log has nothing to wait for.
        if let Some(last) = self.log.watermarks().committed.checked_sub(1) {
            self.dispatched.wait_past(last, CATCH_UP);
        }
    }

    /// Whether the offset was given to a message already.
    fn is_appended(&self, topic: &str, queue: u32, offset: u64) -> bool {
        let next = |topic: std::sync::Arc<crate::registry::TopicState>| {
            let next = topic.next_offset(queue)?;
            Some(next.load(Ordering::Acquire))
        };
        self.registry
            .find(topic)
            .and_then(next)
            .is_some_and(|next| offset < next)
    }
}
