//! A topic with what changes in it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use event_listener::{Event, EventListener};
use foliomq_commitlog::AppendError;
use foliomq_consumequeue::QueueNumber;

use crate::change::TopicMeta;
use crate::error::StoreError;
use crate::lite::lite_parts;
use crate::topic::{Topic, TopicType};

/// A topic with what changes in it: some 200 bytes for a topic, and 8 for each queue.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) meta: TopicMeta,
    /// For each queue the offset of its next message.
    pub(crate) next_offsets: Box<[AtomicU64]>,
    /// For each queue the end of what retention has emptied it of: where it begins while its index holds nothing. Made
    /// when retention empties the first.
    floors: OnceLock<Box<[AtomicU64]>>,
    /// Whose turn it is among the queues.
    turn: AtomicU32,
    /// Set under the log's lock once the topic is deleted: from there on it takes nothing more.
    pub(crate) closed: AtomicBool,
    /// Woken when new messages can be read.
    pub(crate) event: Arrivals,
}

/// An event that takes no memory, and no time, before the first listener.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    event: Event,
    heard: AtomicBool,
}

impl Arrivals {
    /// Listen first, then look, then wait.
    pub(crate) fn listen(&self) -> EventListener {
        let listener = self.event.listen();
        self.heard.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        listener
    }

    /// Wakes at most so many.
    pub(crate) fn notify(&self, most: usize) {
        // With the fence in `listen`: either this sees that somebody listens, or he sees what was changed before this.
        fence(Ordering::SeqCst);
        if self.heard.load(Ordering::Relaxed) {
            self.event.notify(most);
        }
    }
}

impl TopicState {
    pub(crate) fn new(meta: TopicMeta) -> Arc<Self> {
        let next_offsets = zeros(meta.queues);
        Arc::new(Self {
            meta,
            next_offsets,
            floors: OnceLock::new(),
            turn: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            event: Arrivals::default(),
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

    /// Retention has emptied a queue, which goes on at `next`.
    pub(crate) fn emptied(&self, queue: u32, next: u64) {
        let floors = self.floors.get_or_init(|| zeros(self.meta.queues));
        if let Some(floor) = floors.get(queue as usize) {
            floor.fetch_max(next, Ordering::AcqRel);
        }
        self.reaches(queue, next);
    }

    /// The next message of a queue gets no lower offset; returns which it gets.
    pub(crate) fn reaches(&self, queue: u32, next: u64) -> u64 {
        let offset = self.next_offsets.get(queue as usize);
        offset.map_or(next, |offset| {
            offset.fetch_max(next, Ordering::AcqRel).max(next)
        })
    }

    /// Where a queue begins of which the index knows nothing.
    pub(crate) fn floor(&self, queue: u32) -> u64 {
        let floors = self
            .floors
            .get()
            .and_then(|floors| floors.get(queue as usize));
        floors.map_or(0, |floor| floor.load(Ordering::Acquire))
    }

    /// The queues that retention has emptied once, and where each goes on.
    pub(crate) fn floors(&self) -> impl Iterator<Item = (u32, u64)> {
        let floors = self.floors.get().map_or(&[][..], |floors| floors);
        let floors = floors.iter().map(|floor| floor.load(Ordering::Acquire));
        (0..).zip(floors).filter(|(_, floor)| *floor > 0)
    }

    /// Whether it is a lite topic of another.
    pub(crate) fn is_lite(&self) -> bool {
        self.meta.kind == TopicType::Lite && lite_parts(&self.meta.name).is_some()
    }

    /// The number after that of the last queue.
    pub(crate) fn end_number(&self) -> QueueNumber {
        self.meta.first_number.saturating_add(self.meta.queues)
    }

    fn unknown(&self) -> StoreError {
        StoreError::UnknownTopic {
            topic: self.meta.name.clone(),
        }
    }

    /// The number of a queue in the consume queues.
    pub(crate) fn number(&self, queue: u32) -> Result<QueueNumber, StoreError> {
        if queue < self.meta.queues {
            return Ok(self.meta.first_number.saturating_add(queue));
        }
        Err(StoreError::UnknownQueue {
            topic: self.meta.name.clone(),
            queue,
            queues: self.meta.queues,
        })
    }

    pub(crate) fn topic(&self) -> Topic {
        Topic {
            name: self.meta.name.clone(),
            id: self.meta.id,
            queues: self.meta.queues,
            kind: self.meta.kind,
        }
    }
}

fn zeros(queues: u32) -> Box<[AtomicU64]> {
    (0..queues).map(|_| AtomicU64::new(0)).collect()
}
