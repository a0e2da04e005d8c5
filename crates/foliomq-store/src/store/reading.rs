//! Messages come out, and how far groups have read them.

use std::ops::Range;

use foliomq_consumequeue::Entry;

use super::Store;
use crate::change::Change;
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::stored::StoredMessage;
use crate::tail::Tail;

impl Store {
    /// One message; `None` if the queue does not hold the offset. What was committed before the call is found.
    pub fn read(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let found = self.read_many(topic, queue, offset, 1)?.pop();
        Ok(found.filter(|message| message.queue_offset() == offset))
    }

    /// Up to `most` messages from `offset` (or the queue's start, if that is later) on.
    pub fn read_many(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.0.shared.read_many(topic, queue, offset, most)
    }

    /// Index entries from `offset` (or the queue's start, if that is later) on, without touching the log: to filter by
    /// tag hash, say. Appended to `out`; returns their offsets, which begin later than asked where retention has taken
    /// what was before.
    pub fn entries(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
        most: usize,
        out: &mut Vec<Entry>,
    ) -> Result<Range<u64>, StoreError> {
        self.0.shared.entries(topic, queue, offset, most, out)
    }

    /// The message of an entry.
    pub fn message(&self, entry: &Entry) -> Result<StoredMessage, StoreError> {
        self.0.shared.message_of(entry)
    }

    /// Follows a queue from an offset on.
    pub fn tail(&self, topic: &str, queue: u32, from: u64) -> Result<Tail, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        topic.number(queue)?;
        Ok(Tail::new(self.0.shared.clone(), topic, queue, from))
    }

    /// Goes over a queue from an offset on, by reference and without an allocation for each message.
    pub fn cursor(&self, topic: &str, queue: u32, from: u64) -> Result<Cursor, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        Cursor::new(self.0.shared.clone(), topic, queue, from)
    }

    /// The offsets that a queue holds.
    pub fn offsets(&self, topic: &str, queue: u32) -> Result<Range<u64>, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        let offsets = self.0.shared.queues.offsets(topic.number(queue)?);
        // An index does not know of messages that retention took from the queue; one that was made anew, of no earlier ones.
        let floor = topic.floor(queue);
        Ok(offsets.start.max(floor)..offsets.end.max(floor))
    }

    /// Where a queue begins at the earliest: retention took what lies below. It never goes back.
    pub fn floor(&self, topic: &str, queue: u32) -> Result<u64, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        topic.number(queue)?;
        Ok(topic.floor(queue))
    }

    /// The first offset whose store time is at or after `time` (Unix ms); the queue's end if there is none.
    pub fn offset_at(&self, topic: &str, queue: u32, time: u64) -> Result<u64, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        let offset = self.0.shared.queues.offset_at(topic.number(queue)?, time)?;
        Ok(offset.max(topic.floor(queue)))
    }

    /// Messages with this key, newest first.
    pub fn find_by_key(
        &self,
        topic: &str,
        key: &str,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.0.shared.find_by_key(topic, key, most)
    }

    /// Messages with this id, newest first: a client that sends again sends the same id.
    pub fn find_by_id(
        &self,
        topic: &str,
        id: &str,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.0.shared.find_by_id(topic, id, most)
    }

    /// A group's progress in one queue: every message below it is done. Survives a restart.
    pub fn progress(&self, group: &str, topic: &str, queue: u32) -> Option<u64> {
        let topic = self.0.shared.registry.find(topic)?;
        self.0.shared.progress.offset(group, topic.meta.id, queue)
    }

    /// Forgets a group's progress, durably: in the topics with these ids, or in all.
    pub fn forget_progress(&self, group: &str, topics: Option<&[u32]>) -> Result<(), StoreError> {
        let forgotten = |topic| Change::Forgotten {
            group: group.to_owned(),
            topic,
        };
        let changes: Vec<Change> = match topics {
            None => vec![forgotten(None)],
            Some(topics) => topics.iter().map(|&id| forgotten(Some(id))).collect(),
        };
        let shared = &self.0.shared;
        let changing = shared.changing.lock();
        shared.meta.append_all(&changes)?;
        changes
            .iter()
            .for_each(|change| shared.progress.apply(change));
        drop(changing);
        shared.meta.flush()
    }

    /// Sets a group's progress: safe from a crash of the process when it returns, from a power cut half a second later.
    /// The next start sets back what lies past the queue's end, where a power cut may leave it.
    pub fn set_progress(
        &self,
        group: &str,
        topic: &str,
        queue: u32,
        offset: u64,
    ) -> Result<(), StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        topic.number(queue)?;
        self.0.shared.change(&Change::Progress {
            group: group.to_owned(),
            topic: topic.meta.id,
            queue,
            offset,
        })
    }
}
