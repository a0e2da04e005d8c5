//! What the administration of a broker speaks of.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use foliomq_proto::v1;

use crate::admin_clients::GroupLite;
use crate::convert::system_time;
use crate::error::{Error, Result};
use crate::message::StoredMessage;
use crate::topic_settings::TopicSettings;

/// Which kind of message a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicKind {
    /// Every kind.
    #[default]
    Any,
    /// Without order, delay or transaction.
    Normal,
    /// In order within a message group.
    Fifo,
    /// Delivered at a later time.
    Delay,
    /// Visible once committed.
    Transaction,
    /// Of lite topics.
    Lite,
    /// With a priority.
    Priority,
}

impl TopicKind {
    /// Every kind, with the name that it has in text.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Any, "any"),
        (Self::Normal, "normal"),
        (Self::Fifo, "fifo"),
        (Self::Delay, "delay"),
        (Self::Transaction, "transaction"),
        (Self::Lite, "lite"),
        (Self::Priority, "priority"),
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(kind, _)| *kind == self)
            .map_or("any", |(_, name)| name)
    }

    pub(crate) fn to_wire(self) -> v1::TopicType {
        match self {
            Self::Any => v1::TopicType::Any,
            Self::Normal => v1::TopicType::Normal,
            Self::Fifo => v1::TopicType::Fifo,
            Self::Delay => v1::TopicType::Delay,
            Self::Transaction => v1::TopicType::Transaction,
            Self::Lite => v1::TopicType::Lite,
            Self::Priority => v1::TopicType::Priority,
        }
    }

    fn from_wire(kind: i32) -> Result<Self> {
        let kinds = Self::ALL.into_iter().map(|(kind, _)| kind);
        let mut fitting = kinds.filter(|known| i32::from(known.to_wire()) == kind);
        fitting
            .next()
            .ok_or_else(|| Error::Protocol(format!("topic type {kind} is unknown")))
    }
}

impl FromStr for TopicKind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = Self::ALL.into_iter().find(|(_, name)| *name == text);
        known
            .map(|(kind, _)| kind)
            .ok_or_else(|| format!("{text} is no kind of topic"))
    }
}

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: TopicKind,
    /// Its queues by id.
    pub queues: Vec<Queue>,
    /// How many lite topics it has, each with a queue of its own.
    pub lite_topics: u64,
    /// What else is set.
    pub settings: TopicSettings,
}

/// One queue: it holds the offsets `min_offset..max_offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Counted from 0.
    pub id: u32,
    /// Of the oldest message that is still there.
    pub min_offset: u64,
    /// Of the next message to come.
    pub max_offset: u64,
    /// When the newest was stored.
    pub last_stored_at: Option<SystemTime>,
}

/// A consumer group as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Deliveries of one message before it goes to the dead-letter topic `%DLQ%name`.
    pub max_attempts: u32,
    /// Pauses between these, seconds; the last repeats. With a factor, the first and the longest.
    pub backoff: (Vec<u32>, Option<f32>),
    /// How it is held to the order of messages.
    pub order: GroupOrder,
    /// Where it begins in a topic that it has not read before.
    pub start: GroupStart,
    /// The shortest and the longest invisible time that its receives may ask for, seconds.
    pub invisible: (u32, u32),
    /// How far it is, queue by queue.
    pub queues: Vec<GroupQueue>,
    /// What it has to do in lite topics, by the topic that has them; empty in lists.
    pub lite: Vec<GroupLite>,
}

/// Where a group begins in a topic that it has not read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupStart {
    /// At the oldest message.
    #[default]
    Earliest,
    /// Behind the newest message.
    Latest,
    /// At the first message stored at or after it.
    Time(SystemTime),
}

impl From<v1::Start> for GroupStart {
    fn from(start: v1::Start) -> Self {
        match start.at {
            Some(v1::start::At::Edge(edge)) if edge == i32::from(v1::Edge::Latest) => Self::Latest,
            Some(v1::start::At::Time(time)) => system_time(time).map_or(Self::Earliest, Self::Time),
            Some(v1::start::At::Edge(_)) | None => Self::Earliest,
        }
    }
}

impl From<GroupStart> for v1::Start {
    fn from(start: GroupStart) -> Self {
        let at = match start {
            GroupStart::Earliest => v1::start::At::Edge(v1::Edge::Earliest.into()),
            GroupStart::Latest => v1::start::At::Edge(v1::Edge::Latest.into()),
            GroupStart::Time(time) => v1::start::At::Time(time.into()),
        };
        Self { at: Some(at) }
    }
}

/// How a group is held to the order of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupOrder {
    /// As [`Queue`](Self::Queue) in topics of the type FIFO, as [`Free`](Self::Free) in others.
    #[default]
    Auto,
    /// Messages that are not done hold back no others.
    Free,
    /// A batch that is not done holds back its queue, as in RocketMQ.
    Queue,
    /// A message that is not done holds back its message group only.
    MessageGroup,
}

impl GroupOrder {
    /// As the command line names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Free => "free",
            Self::Queue => "queue",
            Self::MessageGroup => "message-group",
        }
    }
}

impl From<v1::Order> for GroupOrder {
    fn from(order: v1::Order) -> Self {
        match order {
            v1::Order::Auto => Self::Auto,
            v1::Order::Free => Self::Free,
            v1::Order::Queue => Self::Queue,
            v1::Order::MessageGroup => Self::MessageGroup,
        }
    }
}

impl From<GroupOrder> for v1::Order {
    fn from(order: GroupOrder) -> Self {
        match order {
            GroupOrder::Auto => Self::Auto,
            GroupOrder::Free => Self::Free,
            GroupOrder::Queue => Self::Queue,
            GroupOrder::MessageGroup => Self::MessageGroup,
        }
    }
}

/// A group's progress in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupQueue {
    /// The queue's topic.
    pub topic: String,
    /// The queue's id.
    pub queue_id: u32,
    /// Every message below it is done.
    pub committed: u64,
    /// The next message never yet delivered.
    pub next: u64,
    /// The next message to come.
    pub max_offset: u64,
    /// Delivered and not yet acknowledged.
    pub in_flight: u64,
}

impl GroupQueue {
    /// Messages that are not done.
    pub fn lag(&self) -> u64 {
        self.max_offset.saturating_sub(self.committed)
    }
}

/// Where to set a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// The oldest message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// The first message stored at or after it.
    Time(SystemTime),
    /// The same offset in each queue, within what it holds.
    Offset(u64),
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFrom {
    /// The oldest message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// The first message stored at or after it.
    Time(SystemTime),
    /// The newest so many of each queue.
    Last(u32),
}

/// A broker as it is now. Positions are byte offsets in its commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Of the program.
    pub version: String,
    /// The oldest position still there.
    pub start: u64,
    /// Everything below is in the log.
    pub appended: u64,
    /// Everything below survives a power cut.
    pub durable: u64,
    /// Everything below may be acknowledged and read.
    pub committed: u64,
    /// Everything below is indexed.
    pub dispatched: u64,
    /// Files of the log.
    pub segments: u64,
    /// Body bytes handed out straight from mapped pages.
    pub body_bytes_by_reference: u64,
    /// Body bytes handed out by way of a copy.
    pub body_bytes_copied: u64,
    /// Bytes of bodies that left next to what is around them, copied once since they are small.
    pub body_bytes_packed: u64,
    /// Bytes of answers that no socket has taken yet.
    pub unread_bytes: u64,
    /// Those of them that are mapped pages of the log.
    pub pinned_bytes: u64,
    /// Messages that wait for their time.
    pub delayed_messages: u64,
    /// Half messages whose transaction has no end yet.
    pub open_transactions: u64,
    /// Clients heard of lately.
    pub connected_clients: u64,
    /// When it started.
    pub started_at: SystemTime,
    /// Why it takes no messages at present; empty while it does.
    pub refusing: String,
    /// What preheating cost and bought since it started.
    pub preheat: Preheat,
    /// Bytes that its process has written to the disk since it started, the log's and all others.
    pub bytes_written: u64,
    /// Bytes appended to the log since it started.
    pub bytes_appended: u64,
}

/// What preheating cost and bought. Pages are of 4 KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preheat {
    /// Time that the broker's threads spent on it.
    pub time: Duration,
    /// Pages made ready.
    pub pages: u64,
    /// Faults that no append had to take.
    pub faults_avoided: u64,
    /// Pages that the append head reached before they were ready.
    pub faults_taken: u64,
}

impl From<v1::PreheatBill> for Preheat {
    fn from(bill: v1::PreheatBill) -> Self {
        Self {
            time: Duration::from_micros(bill.microseconds),
            pages: bill.pages,
            faults_avoided: bill.faults_avoided,
            faults_taken: bill.faults_taken,
        }
    }
}

impl TryFrom<v1::Topic> for Topic {
    type Error = Error;

    fn try_from(topic: v1::Topic) -> Result<Self> {
        let queues = topic.queues.into_iter().map(|queue| Queue {
            id: queue.id,
            min_offset: queue.min_offset,
            max_offset: queue.max_offset,
            last_stored_at: queue.last_store_time.and_then(system_time),
        });
        Ok(Self {
            lite_topics: topic.lite_topics,
            settings: topic.settings.unwrap_or_default().into(),
            name: topic.topic,
            kind: TopicKind::from_wire(topic.r#type)?,
            queues: queues.collect(),
        })
    }
}

impl From<v1::Group> for Group {
    fn from(group: v1::Group) -> Self {
        let order = group.order().into();
        let queues = group.progress.into_iter().map(|queue| GroupQueue {
            topic: queue.topic,
            queue_id: queue.queue_id,
            committed: queue.committed,
            next: queue.next,
            max_offset: queue.max_offset,
            in_flight: queue.in_flight,
        });
        Self {
            name: group.group,
            order,
            start: group.start.unwrap_or_default().into(),
            invisible: group
                .invisible
                .map(|bounds| (bounds.shortest, bounds.longest))
                .unwrap_or_default(),
            max_attempts: group.max_attempts,
            backoff: group
                .backoff
                .map(|backoff| (backoff.seconds, backoff.factor))
                .unwrap_or_default(),
            queues: queues.collect(),
            lite: group.lite.into_iter().map(GroupLite::from).collect(),
        }
    }
}

impl From<v1::Broker> for Broker {
    fn from(broker: v1::Broker) -> Self {
        Self {
            version: broker.version,
            start: broker.start,
            appended: broker.appended,
            durable: broker.durable,
            committed: broker.committed,
            dispatched: broker.dispatched,
            segments: broker.segments,
            body_bytes_by_reference: broker.body_bytes_by_reference,
            body_bytes_copied: broker.body_bytes_copied,
            body_bytes_packed: broker.body_bytes_packed,
            unread_bytes: broker.unread_bytes,
            pinned_bytes: broker.pinned_bytes,
            delayed_messages: broker.delayed_messages,
            open_transactions: broker.open_transactions,
            connected_clients: broker.connected_clients,
            started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(broker.start_time_unix_ms),
            refusing: broker.refusing,
            preheat: broker.preheat.unwrap_or_default().into(),
            bytes_written: broker.bytes_written,
            bytes_appended: broker.bytes_appended,
        }
    }
}

impl From<ResetTo> for v1::reset_group_request::To {
    fn from(to: ResetTo) -> Self {
        match to {
            ResetTo::Earliest => Self::Edge(v1::Edge::Earliest.into()),
            ResetTo::Latest => Self::Edge(v1::Edge::Latest.into()),
            ResetTo::Time(time) => Self::Time(time.into()),
            ResetTo::Offset(offset) => Self::Offset(offset),
        }
    }
}

impl From<TailFrom> for v1::tail_request::From {
    fn from(from: TailFrom) -> Self {
        match from {
            TailFrom::Earliest => Self::Edge(v1::Edge::Earliest.into()),
            TailFrom::Latest => Self::Edge(v1::Edge::Latest.into()),
            TailFrom::Time(time) => Self::Time(time.into()),
            TailFrom::Last(count) => Self::Last(count),
        }
    }
}

/// The place in the envelope counts: not every sender's properties name one.
pub(crate) fn tailed(tailed: v1::TailedMessage) -> Result<StoredMessage> {
    let message = tailed
        .message
        .ok_or_else(|| Error::Protocol("a message is missing".to_owned()))?;
    let mut message = StoredMessage::from_wire(message)?;
    message.queue_id = tailed.queue_id;
    message.queue_offset = tailed.queue_offset;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_topic_have_names_that_parse() {
        for (kind, name) in TopicKind::ALL {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.name(), name);
            assert_eq!(TopicKind::from_wire(kind.to_wire().into()).unwrap(), kind);
        }
        assert!("Any".parse::<TopicKind>().is_err());
        assert!(TopicKind::from_wire(99).is_err());
    }

    #[test]
    fn lag_counts_what_is_not_done() {
        let queue = GroupQueue {
            topic: "t".to_owned(),
            queue_id: 0,
            committed: 3,
            next: 5,
            max_offset: 9,
            in_flight: 2,
        };
        assert_eq!(queue.lag(), 6);
    }
}
