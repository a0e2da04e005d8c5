//! What may be set of a topic.

use std::time::Duration;

use foliomq_proto::v1;

use crate::TopicKind;

/// What clients may do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicPermission {
    /// Send and receive.
    #[default]
    ReadWrite,
    /// Receive only.
    Read,
    /// Send only.
    Write,
    /// Neither.
    None,
}

impl TopicPermission {
    /// Every permission, with the name that it has in text.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::ReadWrite, "read-write"),
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::None, "none"),
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.into_iter().find(|(known, _)| *known == self);
        known.map_or("read-write", |(_, name)| name)
    }

    fn to_wire(self) -> v1::Permission {
        match self {
            Self::ReadWrite => v1::Permission::ReadWrite,
            Self::Read => v1::Permission::Read,
            Self::Write => v1::Permission::Write,
            Self::None => v1::Permission::None,
        }
    }

    fn from_wire(permission: v1::Permission) -> Self {
        match permission {
            v1::Permission::ReadWrite => Self::ReadWrite,
            v1::Permission::Read => Self::Read,
            v1::Permission::Write => Self::Write,
            v1::Permission::None => Self::None,
        }
    }
}

/// Settings of a topic. Of lite topics `None` stands for what the broker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicSettings {
    /// What clients may do.
    pub permission: TopicPermission,
    /// Messages that were stored longer ago are no longer read. `None`: for as long as the log has them.
    pub keep_for: Option<Duration>,
    /// While the records of its messages take more bytes, the oldest are no longer read. `None`: without a limit.
    pub keep_bytes: Option<u64>,
    /// Lite topics without a message or a subscriber for so long are removed.
    pub lite_ttl: Option<Duration>,
    /// Most lite topics.
    pub lite_topics: Option<u32>,
    /// Most lite topics that one client subscribes to.
    pub lite_subscriptions: Option<u32>,
}

impl From<v1::TopicSettings> for TopicSettings {
    fn from(settings: v1::TopicSettings) -> Self {
        let some = |number: Option<u64>| number.filter(|number| *number > 0);
        let time = |millis| some(millis).map(Duration::from_millis);
        let count = |count: Option<u32>| count.filter(|count| *count > 0);
        Self {
            permission: TopicPermission::from_wire(settings.permission()),
            keep_for: time(settings.keep_for_ms),
            keep_bytes: some(settings.keep_bytes),
            lite_ttl: time(settings.lite_ttl_ms),
            lite_topics: count(settings.lite_topics),
            lite_subscriptions: count(settings.lite_subscriptions),
        }
    }
}

/// A change of a topic, or a new one: what is `None` stays as it is, and 0 of a setting is without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicUpdate {
    /// No fewer than there are, at most 1024.
    pub queues: Option<u32>,
    /// Not to or from lite and priority.
    pub kind: Option<TopicKind>,
    /// As in [`TopicSettings`].
    pub permission: Option<TopicPermission>,
    /// From 1 s to 100 years.
    pub keep_for: Option<Duration>,
    /// Bytes.
    pub keep_bytes: Option<u64>,
    /// From 1 s to 100 years.
    pub lite_ttl: Option<Duration>,
    /// As in [`TopicSettings`].
    pub lite_topics: Option<u32>,
    /// As in [`TopicSettings`].
    pub lite_subscriptions: Option<u32>,
}

impl TopicUpdate {
    pub(crate) fn to_wire(self, topic: &str) -> v1::UpdateTopicRequest {
        v1::UpdateTopicRequest {
            topic: topic.to_owned(),
            queues: self.queues.unwrap_or(0),
            r#type: self.kind.map(|kind| kind.to_wire().into()),
            settings: Some(self.settings()),
        }
    }

    pub(crate) fn to_creation(self, topic: &str) -> v1::CreateTopicRequest {
        v1::CreateTopicRequest {
            topic: topic.to_owned(),
            queues: self.queues.unwrap_or(0),
            r#type: self.kind.unwrap_or_default().to_wire().into(),
            settings: Some(self.settings()),
        }
    }

    fn settings(self) -> v1::TopicSettings {
        // Upwards: 0 would be without.
        let millis = |time: Duration| time.as_nanos().div_ceil(1_000_000);
        let millis = |time| u64::try_from(millis(time)).unwrap_or(u64::MAX);
        let permission = |permission: TopicPermission| permission.to_wire().into();
        v1::TopicSettings {
            permission: self.permission.map(permission),
            keep_for_ms: self.keep_for.map(millis),
            keep_bytes: self.keep_bytes,
            lite_ttl_ms: self.lite_ttl.map(millis),
            lite_topics: self.lite_topics,
            lite_subscriptions: self.lite_subscriptions,
        }
    }
}
