//! Whether a group gets messages in order, and which queue keeps the order of a message group.

use std::sync::atomic::{AtomicU8, Ordering as Atomic};

use foliomq_store::TopicType;
use xxhash_rust::xxh3::xxh3_64;

/// How a group is held to the order of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Order {
    /// As [`Queue`](Self::Queue) in topics of the type FIFO and in each lite topic, as [`Free`](Self::Free) in others.
    #[default]
    Auto = 0,
    /// Not at all: messages that are leased hold back no others.
    Free = 1,
    /// A batch that is not done holds back its queue, as in RocketMQ.
    Queue = 2,
    /// A message that is not done holds back the later ones of its message group only. Messages without a group are free.
    MessageGroup = 3,
}

impl Order {
    /// In the order of their codes.
    const ALL: [Self; 4] = [Self::Auto, Self::Free, Self::Queue, Self::MessageGroup];

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// What it means in a topic of this type: never [`Auto`](Self::Auto).
    #[must_use]
    pub fn within(self, kind: TopicType) -> Self {
        match (self, kind) {
            (Self::Auto, TopicType::Fifo | TopicType::Lite) => Self::Queue,
            (Self::Auto, _) => Self::Free,
            (order, _) => order,
        }
    }
}

/// A group's order, changed while it is read.
#[derive(Debug, Default)]
pub(crate) struct SharedOrder(AtomicU8);

impl SharedOrder {
    pub fn load(&self) -> Order {
        Order::from_code(self.0.load(Atomic::Relaxed)).unwrap_or_default()
    }

    pub fn store(&self, order: Order) {
        self.0.store(order.code(), Atomic::Relaxed);
    }
}

/// The queue of a message group among `queues`: a stable hash (XXH3-64), the same for every sender and after every restart.
#[must_use]
pub fn queue_of(message_group: &str, queues: u32) -> u32 {
    (hash(message_group) % u64::from(queues.max(1))) as u32
}

/// The queue of a priority among `queues`: one queue is one level, the last the highest. A priority above that counts as
/// the highest.
#[must_use]
pub fn queue_of_priority(priority: u32, queues: u32) -> u32 {
    priority.min(queues.saturating_sub(1))
}

pub(crate) fn hash(message_group: &str) -> u64 {
    xxh3_64(message_group.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_every_version() {
        let queues = ["a", "b", "order-1", "Bestellung-ä"].map(|group| queue_of(group, 8));
        assert_eq!(
            queues,
            ["a", "b", "order-1", "Bestellung-ä"]
                .map(|group| (xxh3_64(group.as_bytes()) % 8) as u32)
        );
        assert_eq!(hash("a"), 0xe6c6_32b6_1e96_4e1f, "XXH3-64 of \"a\"");
        assert_eq!(queue_of("a", 0), 0);
    }

    #[test]
    fn each_queue_is_a_level_of_priority() {
        let levels = [0, 1, 7, 8, u32::MAX].map(|priority| queue_of_priority(priority, 8));
        assert_eq!(levels, [0, 1, 7, 7, 7]);
        assert_eq!(queue_of_priority(3, 0), 0);
    }

    #[test]
    fn auto_goes_by_the_topic() {
        assert_eq!(Order::Auto.within(TopicType::Fifo), Order::Queue);
        assert_eq!(Order::Auto.within(TopicType::Any), Order::Free);
        assert_eq!(Order::Free.within(TopicType::Fifo), Order::Free);
        for order in Order::ALL {
            assert_eq!(Order::from_code(order.code()), Some(order));
        }
        assert_eq!(Order::from_code(4), None);
    }
}
