//! The topics of a store, in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use event_listener::Event;
use foliomq_commitlog::AppendError;
use parking_lot::RwLock;

use crate::error::StoreError;
use crate::meta::{Change, TopicMeta};
use crate::topic::Topic;

/// A topic with what changes in it.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) meta: TopicMeta,
    /// For each queue the offset of its next message.
    pub(crate) next_offsets: Box<[AtomicU64]>,
    /// For each queue the end of what retention has emptied it of: where it begins while its index holds nothing.
    pub(crate) floors: Box<[AtomicU64]>,
    /// Whose turn it is among the queues.
    turn: AtomicU32,
    /// Set under the log's lock once the topic is deleted: from there on it takes nothing more.
    pub(crate) closed: AtomicBool,
    /// Woken when new messages can be read.
    pub(crate) event: Event,
}

impl TopicState {
    pub(crate) fn new(meta: TopicMeta) -> Arc<Self> {
        let zeros = || (0..meta.queues).map(|_| AtomicU64::new(0)).collect();
        let (next_offsets, floors) = (zeros(), zeros());
        Arc::new(Self {
            meta,
            next_offsets,
            floors,
            turn: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            event: Event::new(),
        })
    }

    /// The next queue in turn.
    pub(crate) fn take_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.meta.queues
    }

    /// What an appender is told that the log has refused.
    pub(crate) fn refusal(&self, error: AppendError) -> StoreError {
        match error {
            AppendError::QueueClosed => self.unknown(),
            error => error.into(),
        }
    }

    fn emptied(&self, queue: usize, next: u64) {
        for offsets in [&self.floors, &self.next_offsets] {
            if let Some(offset) = offsets.get(queue) {
                offset.fetch_max(next, Ordering::AcqRel);
            }
        }
    }

    fn unknown(&self) -> StoreError {
        StoreError::UnknownTopic {
            topic: self.meta.name.clone(),
        }
    }

    /// The number of a queue in the consume queues.
    pub(crate) fn number(&self, queue: u32) -> Result<u32, StoreError> {
        if queue < self.meta.queues {
            return Ok(self.meta.first_number + queue);
        }
        Err(StoreError::UnknownQueue {
            topic: self.meta.name.clone(),
            queue,
            queues: self.meta.queues,
        })
    }

    pub(crate) fn topic(&self) -> Topic {
        let TopicMeta {
            name,
            id,
            queues,
            kind,
            ..
        } = self.meta.clone();
        Topic {
            name,
            id,
            queues,
            kind,
        }
    }
}

/// A deleted topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) id: u32,
    /// What lies below in the commit log belongs to nobody.
    pub(crate) position: u64,
}

/// Every topic, by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inner: RwLock<Inner>,
    /// Counts the topics made and deleted: whoever keeps topics of his own looks whether they still hold.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    topics: HashMap<String, Arc<TopicState>>,
    deleted: HashMap<String, Deleted>,
    next_id: u32,
    next_number: u32,
}

impl Registry {
    /// How many changes there were.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Brings a change into effect that comes from the metadata log.
    pub(crate) fn apply(&self, change: &Change) {
        let mut inner = self.inner.write();
        self.changes.fetch_add(1, Ordering::AcqRel);
        match change {
            Change::Topic(meta) => inner.insert(meta.clone()),
            Change::Deleted { name, id, position } => inner.remove(name, *id, *position),
            Change::Emptied { topic, queue, next } => {
                if let Some(state) = inner.by_id(*topic) {
                    state.emptied(*queue as usize, *next);
                }
            }
            Change::Counters { id, number } => {
                inner.next_id = inner.next_id.max(*id);
                inner.next_number = inner.next_number.max(*number);
            }
            Change::Progress { .. } => {}
        }
    }

    /// What no new topic may fall below, as a change.
    pub(crate) fn counters(&self) -> Change {
        let inner = self.inner.read();
        Change::Counters {
            id: inner.next_id,
            number: inner.next_number,
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<TopicState>> {
        self.inner.read().topics.get(name).cloned()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<TopicState>, StoreError> {
        self.find(name).ok_or_else(|| StoreError::UnknownTopic {
            topic: name.to_owned(),
        })
    }

    /// Adds the topic that `make` describes, from the next free id and queue number, unless one of this name is there.
    /// Only one caller at a time: the store's lock for changes sees to it.
    pub(crate) fn add(
        &self,
        name: &str,
        make: impl FnOnce(u32, u32) -> Result<TopicMeta, StoreError>,
    ) -> Result<Arc<TopicState>, StoreError> {
        let (next_id, next_number) = {
            let inner = self.inner.read();
            if let Some(state) = inner.topics.get(name) {
                return Ok(state.clone());
            }
            (inner.next_id, inner.next_number)
        };
        // Appends to other topics go on meanwhile: this waits for the disk.
        let state = TopicState::new(make(next_id, next_number)?);
        self.inner.write().put(state.clone());
        Ok(state)
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Arc<TopicState>> {
        let mut topics: Vec<_> = self.inner.read().topics.values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
        topics
    }

    /// Whether the record at `position` belongs to a topic that is deleted.
    pub(crate) fn is_deleted(&self, name: &str, position: u64) -> bool {
        self.inner
            .read()
            .deleted
            .get(name)
            .is_some_and(|deleted| position < deleted.position)
    }

    /// Below it lie the records of an earlier topic of this name; 0 if there was none.
    pub(crate) fn deleted_at(&self, name: &str) -> u64 {
        let inner = self.inner.read();
        inner.deleted.get(name).map_or(0, |gone| gone.position)
    }

    /// Deleted topics that still have bytes in a log that begins at `start`; forgets the others.
    pub(crate) fn deleted(&self, start: u64) -> Vec<(String, Deleted)> {
        let mut inner = self.inner.write();
        inner.deleted.retain(|_, deleted| deleted.position > start);
        inner
            .deleted
            .iter()
            .map(|(name, deleted)| (name.clone(), *deleted))
            .collect()
    }
}

impl Inner {
    fn insert(&mut self, meta: TopicMeta) {
        // The state is written again when the log is compacted; what is there may have waiters and counters.
        if self
            .topics
            .get(&meta.name)
            .is_none_or(|state| state.meta.id != meta.id)
        {
            self.put(TopicState::new(meta));
        }
    }

    fn put(&mut self, state: Arc<TopicState>) {
        self.next_id = self.next_id.max(state.meta.id + 1);
        self.next_number = self
            .next_number
            .max(state.meta.first_number + state.meta.queues);
        self.topics.insert(state.meta.name.clone(), state);
    }

    fn remove(&mut self, name: &str, id: u32, position: u64) {
        self.next_id = self.next_id.max(id + 1);
        if self
            .topics
            .get(name)
            .is_some_and(|state| state.meta.id == id)
            && let Some(state) = self.topics.remove(name)
        {
            state.event.notify(usize::MAX);
        }
        self.deleted
            .insert(name.to_owned(), Deleted { id, position });
    }

    fn by_id(&self, id: u32) -> Option<&Arc<TopicState>> {
        self.topics.values().find(|state| state.meta.id == id)
    }
}
