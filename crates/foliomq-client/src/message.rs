//! Messages on their way out and on their way in.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use foliomq_proto::{v1, v2};

use crate::convert::{not_before, resource, stored_name, system_time};
use crate::error::{Error, Result};
use crate::headers::unix_millis;

/// A message to send: a topic, a body, and what goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// 1 to 127 of `a-z A-Z 0-9 % | _ -`.
    pub topic: String,
    /// At least one byte; at most what the broker takes (4 MiB unless it is set otherwise).
    pub body: Bytes,
    /// By it consumers filter.
    pub tag: Option<String>,
    /// By them the message can be found again.
    pub keys: Vec<String>,
    /// The application's own.
    pub properties: HashMap<String, String>,
    /// Made by the producer when absent.
    pub id: Option<String>,
    /// Messages of one group go to one queue and keep their order; shorter than 64 bytes.
    pub message_group: Option<String>,
    /// Makes it a delayed message: consumers get it then. It has no queue offset before.
    pub deliver_at: Option<SystemTime>,
    /// In topics of the type priority the highest comes first; 0 is the lowest. No message group, time or lite topic beside it.
    pub priority: Option<u32>,
    /// The lite topic that it goes to, 1 to 64 characters; made if it is not there. No message group, time or priority beside it.
    pub lite_topic: Option<String>,
}

impl Message {
    /// A message with a body and nothing else.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// Sets the tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Adds a key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Sets one property.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Sets the message id: 34 hex digits, as the producers make them.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the message group.
    pub fn message_group(mut self, group: impl Into<String>) -> Self {
        self.message_group = Some(group.into());
        self
    }

    /// Sets when consumers get it.
    pub fn deliver_at(mut self, time: SystemTime) -> Self {
        self.deliver_at = Some(time);
        self
    }

    /// Sets the priority.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets the lite topic.
    pub fn lite_topic(mut self, lite: impl Into<String>) -> Self {
        self.lite_topic = Some(lite.into());
        self
    }

    fn kind(&self) -> v2::MessageType {
        match self {
            Self {
                deliver_at: Some(_),
                ..
            } => v2::MessageType::Delay,
            Self {
                message_group: Some(_),
                ..
            } => v2::MessageType::Fifo,
            Self {
                lite_topic: Some(_),
                ..
            } => v2::MessageType::Lite,
            Self {
                priority: Some(_), ..
            } => v2::MessageType::Priority,
            _ => v2::MessageType::Normal,
        }
    }

    /// As a Publish stream carries it, apart from its topic.
    pub(crate) fn into_new(self) -> v1::NewMessage {
        v1::NewMessage {
            body: self.body,
            tag: self.tag,
            keys: self.keys,
            properties: self.properties,
            born_unix_ms: unix_millis() as u64,
            message_group: self.message_group,
            priority: self.priority.map(on_wire),
            lite_topic: self.lite_topic,
            deliver_unix_ms: self.deliver_at.map(not_before),
        }
    }

    pub(crate) fn into_wire(self, host: &str, new_id: impl FnOnce() -> String) -> v2::Message {
        let kind = self.kind();
        v2::Message {
            topic: Some(resource(self.topic)),
            user_properties: self.properties,
            system_properties: Some(v2::SystemProperties {
                tag: self.tag,
                keys: self.keys,
                message_id: self.id.unwrap_or_else(new_id),
                body_encoding: v2::Encoding::Identity.into(),
                message_type: kind.into(),
                message_group: self.message_group,
                delivery_timestamp: self.deliver_at.map(Into::into),
                priority: self.priority.map(on_wire),
                lite_topic: self.lite_topic,
                born_timestamp: Some(SystemTime::now().into()),
                born_host: host.to_owned(),
                ..Default::default()
            }),
            body: self.body,
        }
    }
}

/// A priority as the protocol has it: what is above its range is above every level, too.
fn on_wire(priority: u32) -> i32 {
    i32::try_from(priority).unwrap_or(i32::MAX)
}

/// A message as the broker holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The topic it was sent to.
    pub topic: String,
    /// The sender's message id.
    pub id: String,
    /// The bytes that were sent.
    pub body: Bytes,
    /// Whether the sender compressed the body with gzip; this crate neither compresses nor expands.
    pub gzip: bool,
    /// The tag, if it has one.
    pub tag: Option<String>,
    /// The keys, in the sender's order.
    pub keys: Vec<String>,
    /// The application's own properties.
    pub properties: HashMap<String, String>,
    /// The queue of the topic that holds it.
    pub queue_id: u32,
    /// Its place in that queue, counted from 0.
    pub queue_offset: u64,
    /// When it was sent, by the sender's clock.
    pub born_at: Option<SystemTime>,
    /// When it was stored, by the broker's clock.
    pub stored_at: Option<SystemTime>,
    /// The priority that it was sent with.
    pub priority: Option<u32>,
    /// The lite topic that holds it, if one does.
    pub lite_topic: Option<String>,
}

/// One delivery of one message: acknowledge it, or it comes again when its invisible time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What was sent.
    pub message: StoredMessage,
    /// 1 for the first delivery.
    pub attempt: u32,
    pub(crate) handle: String,
}

impl Delivery {
    pub(crate) fn from_wire(message: v2::Message) -> Result<Self> {
        let system = message.system_properties.as_ref();
        let handle = system
            .and_then(|s| s.receipt_handle.clone())
            .unwrap_or_default();
        let attempt = system.and_then(|s| s.delivery_attempt).unwrap_or(1);
        Ok(Self {
            message: StoredMessage::from_wire(message)?,
            attempt: u32::try_from(attempt).unwrap_or(1),
            handle,
        })
    }
}

impl StoredMessage {
    pub(crate) fn from_wire(message: v2::Message) -> Result<Self> {
        let missing = |what| Error::Protocol(format!("a message has no {what}"));
        let topic = message.topic.ok_or_else(|| missing("topic"))?;
        let system = message
            .system_properties
            .ok_or_else(|| missing("system properties"))?;
        Ok(Self {
            topic: stored_name(topic),
            id: system.message_id,
            body: message.body,
            gzip: system.body_encoding == i32::from(v2::Encoding::Gzip),
            tag: system.tag,
            keys: system.keys,
            properties: message.user_properties,
            queue_id: u32::try_from(system.queue_id).unwrap_or_default(),
            queue_offset: system
                .queue_offset
                .and_then(|offset| u64::try_from(offset).ok())
                .unwrap_or_default(),
            born_at: system.born_timestamp.and_then(system_time),
            stored_at: system.store_timestamp.and_then(system_time),
            priority: system.priority.and_then(|given| given.try_into().ok()),
            lite_topic: system.lite_topic,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_in() {
        let message = Message::new("orders", "latte")
            .tag("hot")
            .key("k1")
            .key("k2")
            .property("size", "big");
        let wire = message.into_wire("here", || "01AA".to_owned());
        let stored = StoredMessage::from_wire(wire).unwrap();
        assert_eq!(stored.topic, "orders");
        assert_eq!(&stored.body[..], b"latte");
        assert_eq!(stored.tag.as_deref(), Some("hot"));
        assert_eq!(stored.keys, ["k1", "k2"]);
        assert_eq!(stored.properties["size"], "big");
        assert_eq!(stored.id, "01AA");
        assert!(stored.born_at.is_some() && !stored.gzip);
    }

    #[test]
    fn a_message_is_of_the_kind_that_it_says() {
        let kind = |message: Message| {
            let wire = message.into_wire("here", String::new);
            wire.system_properties.unwrap().message_type()
        };
        let message = || Message::new("t", "b");
        assert_eq!(kind(message()), v2::MessageType::Normal);
        assert_eq!(kind(message().priority(7)), v2::MessageType::Priority);
        assert_eq!(kind(message().lite_topic("l")), v2::MessageType::Lite);
        assert_eq!(kind(message().message_group("g")), v2::MessageType::Fifo);
        let due = SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1_000_001);
        assert_eq!(kind(message().deliver_at(due)), v2::MessageType::Delay);
        let all = message().priority(u32::MAX).lite_topic("l").deliver_at(due);
        let new = all.into_new();
        assert_eq!(
            (new.priority, new.deliver_unix_ms),
            (Some(i32::MAX), Some(2))
        );
        assert_eq!(new.lite_topic.as_deref(), Some("l"));
    }

    #[test]
    fn an_id_that_is_given_is_kept() {
        let wire = Message::new("t", "b")
            .id("01FF")
            .into_wire("here", || panic!("no id is to be made"));
        assert_eq!(wire.system_properties.unwrap().message_id, "01FF");
    }

    #[test]
    fn a_message_without_system_properties_is_a_protocol_error() {
        let wire = v2::Message {
            topic: Some(resource("t")),
            ..Default::default()
        };
        assert!(matches!(Delivery::from_wire(wire), Err(Error::Protocol(_))));
    }
}
