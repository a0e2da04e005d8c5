//! A topic with what changes in it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use event_listener::{Event, EventListener};
use foliomq_commitlog::AppendError;
use foliomq_consumequeue::QueueNumber;
use parking_lot::RwLock;

use crate::change::{Change, KINDS, PERMISSIONS, TopicMeta, code, permission_code};
use crate::error::StoreError;
use crate::lite::lite_parts;
use crate::span::{Span, above_zero, zeros};
use crate::stored::StoredMessage;
use crate::topic::{Topic, TopicType};
use crate::topic_settings::{Permission, TopicSettings};

/// A topic with what changes in it: some 200 bytes for a topic, and 8 for each queue.
#[derive(Debug)]
pub(crate) struct TopicState {
    /// As it was made: what is different since is in `rare`.
    pub(crate) meta: TopicMeta,
    /// For each of the first queues the offset of its next message.
    next_offsets: Box<[AtomicU64]>,
    /// Where queue 0 begins at the earliest: retention has emptied it of what lies below. Here, because a lite topic has no
    /// other queue, and there may be many that are emptied.
    first_floor: AtomicU64,
    rare: OnceLock<Box<Rare>>,
    /// What is asked for each message.
    class: Class,
    /// Whose turn it is among the queues.
    turn: AtomicU32,
    /// Set under the log's lock once the topic is deleted: from there on it takes nothing more.
    pub(crate) closed: AtomicBool,
    /// Woken when new messages can be read.
    pub(crate) event: Arrivals,
}

/// What few topics have, made with the first of it.
#[derive(Debug)]
struct Rare {
    /// For each of the first queues but queue 0: where it begins at the earliest.
    floors: Box<[AtomicU64]>,
    /// How many queues there are by now.
    queues: AtomicU32,
    /// Those that came later.
    more: OnceLock<Box<Span>>,
    /// Type and settings as they are by now.
    shape: RwLock<(TopicType, TopicSettings)>,
}

/// Type and permission in one number, to be read without a lock.
#[derive(Debug)]
struct Class(AtomicU8);

impl Class {
    fn new(kind: TopicType) -> Self {
        Self(AtomicU8::new(Self::number(kind, Permission::default())))
    }

    fn number(kind: TopicType, permission: Permission) -> u8 {
        let number = code(kind) * PERMISSIONS.len() as u64 + permission_code(permission);
        number as u8
    }

    fn set(&self, kind: TopicType, permission: Permission) {
        self.0
            .store(Self::number(kind, permission), Ordering::Release);
    }

    #[inline]
    fn get(&self) -> (TopicType, Permission) {
        let number = usize::from(self.0.load(Ordering::Acquire));
        let kind = KINDS.get(number / PERMISSIONS.len()).copied();
        (
            kind.unwrap_or_default(),
            PERMISSIONS[number % PERMISSIONS.len()],
        )
    }
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
        Arc::new(Self {
            next_offsets: zeros(meta.queues),
            first_floor: AtomicU64::new(0),
            rare: OnceLock::new(),
            class: Class::new(meta.kind),
            meta,
            turn: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            event: Arrivals::default(),
        })
    }

    /// The next queue in turn.
    pub(crate) fn take_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.queues()
    }

    /// What an appender is told that the log has refused.
    pub(crate) fn refusal(&self, error: AppendError) -> StoreError {
        match error {
            AppendError::QueueClosed => self.unknown(),
            error => error.into(),
        }
    }

    /// Retention has emptied a queue of what lies below `next`: from now on it begins there, or later.
    pub(crate) fn emptied(&self, queue: u32, next: u64) {
        if queue > 0 {
            self.rare();
        }
        if let Some(floor) = self.floor_of(queue) {
            floor.fetch_max(next, Ordering::AcqRel);
        }
        self.reaches(queue, next);
    }

    /// The next message of a queue gets no lower offset; returns which it gets.
    pub(crate) fn reaches(&self, queue: u32, next: u64) -> u64 {
        self.next_offset(queue).map_or(next, |offset| {
            offset.fetch_max(next, Ordering::AcqRel).max(next)
        })
    }

    /// The offset of a queue's next message.
    #[inline]
    pub(crate) fn next_offset(&self, queue: u32) -> Option<&AtomicU64> {
        match self.next_offsets.get(queue as usize) {
            None => {
                let (span, index) = span_of(self.rare.get()?, queue)?;
                span.next_offsets.get(index)
            }
            first => first,
        }
    }

    /// Where a queue begins at the earliest.
    pub(crate) fn floor(&self, queue: u32) -> u64 {
        let floor = self.floor_of(queue);
        floor.map_or(0, |floor| floor.load(Ordering::Acquire))
    }

    /// The same, where it is kept; `None` while nothing is.
    fn floor_of(&self, queue: u32) -> Option<&AtomicU64> {
        let Some(after_first) = (queue as usize).checked_sub(1) else {
            return Some(&self.first_floor);
        };
        let rare = self.rare.get()?;
        match rare.floors.get(after_first) {
            None => span_of(rare, queue).map(|(span, index)| &span.floors[index]),
            floor => floor,
        }
    }

    /// The numbers of the queues that begin later than at 0, and where.
    pub(crate) fn floors(&self) -> impl Iterator<Item = (QueueNumber, u64)> {
        let number = self.meta.first_number;
        let first = above_zero(number, std::slice::from_ref(&self.first_floor));
        let others = self.rare.get().map_or(&[][..], |rare| &rare.floors);
        let later = self.spans().flat_map(Span::floors);
        first.chain(above_zero(number + 1, others)).chain(later)
    }

    /// Whether the message is not one that retention has taken from its queue.
    pub(crate) fn keeps(&self, message: &StoredMessage) -> bool {
        message.queue_offset() >= self.floor(message.queue_id())
    }

    /// How many queues it has by now.
    #[inline]
    pub(crate) fn queues(&self) -> u32 {
        let rare = self.rare.get();
        rare.map_or(self.meta.queues, |rare| rare.queues.load(Ordering::Acquire))
    }

    /// The queues that came later.
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        let first = self.rare.get().and_then(|rare| rare.more.get());
        first.into_iter().flat_map(|span| span.all())
    }

    /// Adds queues behind those that there are. Only one caller at a time: the registry's lock sees to it.
    pub(crate) fn grow(&self, span: Span) {
        let (rare, queues) = (self.rare(), span.first_queue + span.queues());
        let last = self.spans().last();
        let place = last.map_or(&rare.more, |last| &last.more);
        if place.set(Box::new(span)).is_ok() {
            rare.queues.store(queues, Ordering::Release);
        }
    }

    /// Which kinds of message it takes.
    #[inline]
    pub(crate) fn kind(&self) -> TopicType {
        self.class.get().0
    }

    /// What clients may do with it.
    #[inline]
    pub(crate) fn permission(&self) -> Permission {
        self.class.get().1
    }

    /// Its type and settings.
    pub(crate) fn shape(&self) -> (TopicType, TopicSettings) {
        match self.rare.get() {
            Some(rare) => *rare.shape.read(),
            None => (self.meta.kind, TopicSettings::default()),
        }
    }

    /// That it is deleted: its records are those below `position`.
    pub(crate) fn deleted(&self, position: u64) -> Change {
        Change::Deleted {
            name: self.meta.name.clone(),
            id: self.meta.id,
            position,
        }
    }

    /// Takes a type and settings that are written down.
    pub(crate) fn reshape(&self, kind: TopicType, settings: TopicSettings) {
        *self.rare().shape.write() = (kind, settings);
        self.class.set(kind, settings.permission);
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(|| {
            Box::new(Rare {
                floors: zeros(self.meta.queues.saturating_sub(1)),
                queues: AtomicU32::new(self.meta.queues),
                more: OnceLock::new(),
                shape: RwLock::new((self.meta.kind, TopicSettings::default())),
            })
        })
    }

    /// Whether it is a lite topic of another.
    pub(crate) fn is_lite(&self) -> bool {
        self.meta.kind == TopicType::Lite && lite_parts(&self.meta.name).is_some()
    }

    /// The number after that of the last of its first queues.
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
        let later = self.rare.get().and_then(|rare| span_of(rare, queue));
        if let Some((span, index)) = later {
            return Ok(span.first_number.saturating_add(index as u32));
        }
        Err(self.unknown_queue(queue))
    }

    /// The offset of a queue's next message, or why there is none.
    #[inline]
    pub(crate) fn place(&self, queue: u32) -> Result<&AtomicU64, StoreError> {
        self.next_offset(queue)
            .ok_or_else(|| self.unknown_queue(queue))
    }

    #[cold]
    fn unknown_queue(&self, queue: u32) -> StoreError {
        StoreError::UnknownQueue {
            topic: self.meta.name.clone(),
            queue,
            queues: self.queues(),
        }
    }

    pub(crate) fn topic(&self) -> Topic {
        let (kind, settings) = self.shape();
        Topic {
            name: self.meta.name.clone(),
            id: self.meta.id,
            queues: self.queues(),
            kind,
            settings,
        }
    }
}

/// Where a queue is that came later.
#[cold]
fn span_of(rare: &Rare, queue: u32) -> Option<(&Span, usize)> {
    let mut spans = rare.more.get()?.all();
    spans.find_map(|span| Some((span, span.index(queue)? as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(queues: u32) -> Arc<TopicState> {
        TopicState::new(TopicMeta {
            name: "t".to_owned(),
            id: 1,
            queues,
            kind: TopicType::Fifo,
            first_number: 10,
            since: 0,
        })
    }

    #[test]
    fn a_topic_of_one_queue_takes_no_more_memory_once_it_was_emptied() {
        let topic = topic(1);
        assert!(
            size_of::<TopicState>() <= 112,
            "the name and the queue beside"
        );
        assert_eq!(topic.floor(0), 0);
        topic.emptied(0, 5);
        topic.emptied(0, 4);
        assert!(topic.rare.get().is_none());
        assert_eq!(topic.floor(0), 5);
        assert_eq!(topic.floors().collect::<Vec<_>>(), [(10, 5)]);
    }

    #[test]
    fn each_queue_begins_where_it_was_emptied() {
        let topic = topic(3);
        topic.grow(Span::new(3, 20, 2));
        for (queue, next) in [(0, 1), (1, 2), (2, 3), (4, 5)] {
            topic.emptied(queue, next);
        }
        assert_eq!(
            [0, 1, 2, 3, 4].map(|queue| topic.floor(queue)),
            [1, 2, 3, 0, 5]
        );
        let floors: Vec<_> = topic.floors().collect();
        assert_eq!(floors, [(10, 1), (11, 2), (12, 3), (21, 5)]);
        topic.emptied(9, 7);
        assert_eq!(topic.floor(9), 0, "there is no such queue");
    }

    #[test]
    fn type_and_permission_come_back() {
        let topic = topic(1);
        assert_eq!(topic.kind(), TopicType::Fifo);
        assert_eq!(topic.permission(), Permission::ReadWrite);
        for kind in KINDS {
            for permission in PERMISSIONS {
                let settings = TopicSettings {
                    permission,
                    ..TopicSettings::default()
                };
                topic.reshape(kind, settings);
                assert_eq!((topic.kind(), topic.permission()), (kind, permission));
                assert_eq!(topic.shape(), (kind, settings));
            }
        }
    }
}
