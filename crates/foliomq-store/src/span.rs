//! Queues of a topic that were made together.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_consumequeue::QueueNumber;

/// Queues that a topic has got later: their numbers follow each other. A list that only grows, so that it is read without
/// a lock.
#[derive(Debug)]
pub(crate) struct Span {
    /// Which queue of the topic is the first of them.
    pub(crate) first_queue: u32,
    /// The number of that queue in the consume queues.
    pub(crate) first_number: QueueNumber,
    pub(crate) next_offsets: Box<[AtomicU64]>,
    /// As in [`TopicState`](crate::topic_state::TopicState).
    pub(crate) floors: Box<[AtomicU64]>,
    pub(crate) more: OnceLock<Box<Span>>,
}

impl Span {
    pub(crate) fn new(first_queue: u32, first_number: QueueNumber, queues: u32) -> Self {
        Self {
            first_queue,
            first_number,
            next_offsets: zeros(queues),
            floors: zeros(queues),
            more: OnceLock::new(),
        }
    }

    pub(crate) fn queues(&self) -> u32 {
        self.next_offsets.len() as u32
    }

    /// The number after that of the last queue.
    pub(crate) fn end_number(&self) -> QueueNumber {
        self.first_number.saturating_add(self.queues())
    }

    /// Which of these queues a queue of the topic is.
    pub(crate) fn index(&self, queue: u32) -> Option<u32> {
        let index = queue.checked_sub(self.first_queue)?;
        (index < self.queues()).then_some(index)
    }

    /// This one and those that came later.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |span| span.more.get().map(|more| &**more))
    }

    /// The queues that begin later than at 0, and where.
    pub(crate) fn floors(&self) -> impl Iterator<Item = (QueueNumber, u64)> {
        above_zero(self.first_number, &self.floors)
    }
}

pub(crate) fn zeros(queues: u32) -> Box<[AtomicU64]> {
    (0..queues).map(|_| AtomicU64::new(0)).collect()
}

/// Those of the queues from number `first` on that have a floor.
pub(crate) fn above_zero(
    first: QueueNumber,
    floors: &[AtomicU64],
) -> impl Iterator<Item = (QueueNumber, u64)> {
    let floors = floors.iter().map(|floor| floor.load(Ordering::Acquire));
    (first..).zip(floors).filter(|(_, floor)| *floor > 0)
}
