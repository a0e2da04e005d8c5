//! Messages that their topic is not to keep for as long as the log has them: their queues begin behind them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use foliomq_consumequeue::{ConsumeQueues, Emptied, Entry, QueueNumber};

use crate::error::StoreError;
use crate::registry::TopicState;
use crate::shared::Shared;
use crate::stored::LOST;

/// Entries that are read at once.
const STEP: usize = 4096;

/// What the records of a queue's messages take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// The offsets that are counted.
    from: u64,
    to: u64,
    bytes: u64,
}

/// By queue, of topics with a limit.
pub(crate) type Weights = HashMap<QueueNumber, Weight>;

impl Shared {
    /// Moves up where the queues begin whose topics keep messages for a time, or up to a number of bytes.
    pub(crate) fn retain_topics(&self, now: u64) -> Result<(), StoreError> {
        let topics = self.registry.limited();
        let mut emptied = Vec::new();
        let mut weights = self.weights.lock();
        let before = std::mem::take(&mut *weights);
        for topic in topics {
            let settings = topic.shape().1;
            if let Some(limit) = settings.keep_for {
                self.older(&topic, limit, now, &mut emptied)?;
            }
            if let Some(limit) = settings.keep_bytes {
                let mut weighed = self.weigh(&topic, &before)?;
                self.lighten(&topic, &mut weighed, limit, &mut emptied)?;
                weights.extend(weighed);
            }
        }
        drop(weights);
        if emptied.is_empty() {
            return Ok(());
        }
        // What a power cut could take back must not be skipped: other messages would get its offsets.
        self.log.flush()?;
        self.keep_offsets(&emptied)
    }

    /// What is older than a topic, and its lite topics, keep.
    fn older(
        &self,
        topic: &TopicState,
        limit: Duration,
        now: u64,
        emptied: &mut Vec<Emptied>,
    ) -> Result<(), StoreError> {
        let time = now.saturating_sub(limit.as_millis() as u64);
        let lite = self.registry.lite(&topic.meta.name);
        for topic in lite.iter().map(|lite| &**lite).chain([topic]) {
            for queue in 0..topic.queues() {
                let number = topic.number(queue)?;
                if self.held_by(topic, queue, number).is_empty() {
                    continue;
                }
                let next = self.queues.offset_at(number, time)?;
                if next > topic.floor(queue) {
                    emptied.push(Emptied {
                        queue: number,
                        next,
                    });
                }
            }
        }
        Ok(())
    }

    /// What each queue of a topic takes now.
    fn weigh(&self, topic: &TopicState, before: &Weights) -> Result<Weights, StoreError> {
        let mut weights = Weights::new();
        for queue in 0..topic.queues() {
            let number = topic.number(queue)?;
            let held = self.held_by(topic, queue, number);
            let mut weight = before.get(&number).copied().unwrap_or_default();
            // Entries that are gone cannot be taken off any more.
            if weight.from != held.start {
                weight = Weight {
                    from: held.start,
                    to: held.start,
                    bytes: 0,
                };
            }
            let mut ahead = Ahead::new(number, weight.to);
            while weight.to < held.end
                && let Some(entry) = ahead.next(&self.queues)?
            {
                weight.to += 1;
                weight.bytes += bytes(&entry);
            }
            weights.insert(number, weight);
        }
        Ok(weights)
    }

    /// Lets the oldest messages of a topic go, in the order of the log, until it takes no more than `limit` bytes.
    fn lighten(
        &self,
        topic: &TopicState,
        weights: &mut Weights,
        limit: u64,
        emptied: &mut Vec<Emptied>,
    ) -> Result<(), StoreError> {
        let mut total: u64 = weights.values().map(|weight| weight.bytes).sum();
        if total <= limit {
            return Ok(());
        }
        let mut oldest = Oldest::new(&self.queues, weights)?;
        while total > limit
            && let Some((number, size)) = oldest.pop(&self.queues)?
        {
            total -= size;
            if let Some(weight) = weights.get_mut(&number) {
                weight.from += 1;
                weight.bytes -= size;
            }
        }
        for queue in 0..topic.queues() {
            let number = topic.number(queue)?;
            let next = weights.get(&number).map_or(0, |weight| weight.from);
            if next > self.held_by(topic, queue, number).start {
                emptied.push(Emptied {
                    queue: number,
                    next,
                });
            }
        }
        Ok(())
    }

    /// The offsets that a queue holds, by index and floor.
    fn held_by(&self, topic: &TopicState, queue: u32, number: QueueNumber) -> std::ops::Range<u64> {
        let offsets = self.queues.offsets(number);
        offsets.start.max(topic.floor(queue))..offsets.end
    }
}

/// What a message counts for. Of one that a salvage gave up nothing is left.
fn bytes(entry: &Entry) -> u64 {
    match entry.size {
        LOST => 0,
        size => u64::from(size),
    }
}

/// A queue's entries, read many at once.
struct Ahead {
    number: QueueNumber,
    offset: u64,
    read: std::vec::IntoIter<Entry>,
}

impl Ahead {
    fn new(number: QueueNumber, offset: u64) -> Self {
        Self {
            number,
            offset,
            read: Vec::new().into_iter(),
        }
    }

    fn next(&mut self, queues: &ConsumeQueues) -> Result<Option<Entry>, StoreError> {
        if self.read.len() == 0 {
            let mut entries = Vec::new();
            queues.entries(self.number, self.offset, STEP, &mut entries)?;
            self.read = entries.into_iter();
        }
        let entry = self.read.next();
        self.offset += u64::from(entry.is_some());
        Ok(entry)
    }
}

/// The messages of several queues, in the order of the log.
struct Oldest {
    queues: Vec<Ahead>,
    /// Position of each queue's oldest, its place in `queues`, and what it counts for.
    heads: BinaryHeap<Reverse<(u64, usize, u64)>>,
}

impl Oldest {
    fn new(queues: &ConsumeQueues, weights: &Weights) -> Result<Self, StoreError> {
        let from = weights.iter();
        let from = from.map(|(number, weight)| Ahead::new(*number, weight.from));
        let mut oldest = Self {
            queues: from.collect(),
            heads: BinaryHeap::new(),
        };
        for index in 0..oldest.queues.len() {
            oldest.push(queues, index)?;
        }
        Ok(oldest)
    }

    fn push(&mut self, queues: &ConsumeQueues, index: usize) -> Result<(), StoreError> {
        if let Some(entry) = self.queues[index].next(queues)? {
            self.heads
                .push(Reverse((entry.position, index, bytes(&entry))));
        }
        Ok(())
    }

    fn pop(&mut self, queues: &ConsumeQueues) -> Result<Option<(QueueNumber, u64)>, StoreError> {
        let Some(Reverse((_, index, size))) = self.heads.pop() else {
            return Ok(None);
        };
        self.push(queues, index)?;
        Ok(Some((self.queues[index].number, size)))
    }
}
