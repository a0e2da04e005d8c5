//! The messages of a frame, apart from what they were decoded to: they may go to another thread, and nothing is decoded twice.

use std::ops::Range;

use bytes::Bytes;
use foliomq_delivery::{queue_of, queue_of_priority};
use foliomq_proto::v1::RefusedMessage;
use foliomq_proto::v2::MessageType;
use foliomq_store::{Appender, TopicType, lite_name};

use crate::broker::Handles;
use crate::caller::Language;
use crate::frame::{Frame, Message};
use crate::properties::unix_ms;
use crate::send::check_kind;
use crate::status::Refusal;
use crate::stored_properties::{Stored, write_properties};
use crate::topic_settings;

/// A message that is ready to be stored.
pub(crate) struct Part {
    /// In its frame, from 0.
    pub(crate) index: u32,
    pub(crate) number: u64,
    pub(crate) kind: MessageType,
    /// Where it goes; `None`: to the next queue in turn.
    pub(crate) queue: Option<u32>,
    /// Its lite topic, if it has one.
    pub(crate) lite: Option<Box<str>>,
    /// When consumers are to get it, if that is said.
    pub(crate) due: Option<u64>,
    /// Its place in the frame's bytes.
    body: Range<usize>,
    /// Their place in what was written.
    properties: Stored,
}

/// What is left of a frame once the bad ones are sifted out, in order.
pub(crate) struct Parts {
    pub(crate) producer: u64,
    pub(crate) all: Vec<Part>,
    bytes: Bytes,
    /// The properties of all.
    pub(crate) written: Vec<u8>,
}

impl Part {
    /// Whether it may be appended together with the one before it.
    pub(crate) fn goes_with(&self, before: &Self) -> bool {
        self.queue == before.queue
            && self.lite == before.lite
            && self.due.is_some() == before.due.is_some()
    }

    /// Bytes.
    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The store's name of the topic that holds it.
    pub(crate) fn held_by(&self, topic: &str) -> Option<String> {
        self.lite.as_deref().map(|lite| lite_name(topic, lite))
    }
}

impl Parts {
    /// Of what is left of `bytes`; `written` is room for the properties of all.
    pub(crate) fn new(
        frame: &Frame<'_>,
        bytes: &Bytes,
        appender: &Appender,
        mut written: Vec<u8>,
    ) -> Self {
        let (now, places) = (unix_ms(), (appender.kind(), appender.queues()));
        let part = |message: &Message<'_>| {
            let number = frame.number(message);
            Part {
                index: message.index,
                number,
                kind: message.kind(),
                queue: frame.queue_id.or_else(|| queue(message, places)),
                lite: message.lite_topic.map(Into::into),
                due: message.deliver_unix_ms,
                body: place_in(bytes, message.body),
                properties: write_properties(
                    message,
                    (frame.producer_id, number),
                    now,
                    &mut written,
                ),
            }
        };
        let all = frame.messages.iter().map(part).collect();
        Self {
            producer: frame.producer_id,
            all,
            bytes: bytes.clone(),
            written,
        }
    }

    /// Whether all of them go to the topic itself, as they are.
    pub(crate) fn are_plain(&self) -> bool {
        let mut all = self.all.iter();
        all.all(|part| part.lite.is_none() && part.due.is_none())
    }

    /// Makes the lite topics that are not there, unless the topic takes no such messages. Those whose cannot be made are taken
    /// out, and said why.
    pub(crate) fn make_lite_topics(
        &mut self,
        handles: &Handles,
        appender: &Appender,
    ) -> Vec<RefusedMessage> {
        let topic = appender.topic();
        let may = topic_settings::may_write(topic, appender.permission());
        let names = self.all.iter().filter_map(|part| part.lite.as_deref());
        let names: Vec<&str> = names.collect();
        let takes = may.and_then(|()| check_kind(MessageType::Lite, appender.kind()));
        let groups = &handles.groups;
        if names.is_empty()
            || takes.is_err()
            || groups.lite_topics(topic, &names, unix_ms()).is_ok()
        {
            return Vec::new();
        }
        // Not all of them together: those that can be, one by one.
        let mut refused = Vec::new();
        self.all.retain(|part| {
            let lite = part.lite.as_deref();
            let made = lite.map_or(Ok(()), |lite| groups.lite_topics(topic, &[lite], unix_ms()));
            let good = made.is_ok();
            refused.extend(made.err().map(|error| RefusedMessage {
                index: part.index,
                status: Some(Refusal::from(error).status(Language::Other)),
            }));
            good
        });
        refused
    }

    /// As the store takes them.
    pub(crate) fn encoded(
        &self,
        parts: &[Part],
    ) -> Result<Vec<foliomq_store::Message<'_>>, Refusal> {
        let one = |part: &Part| {
            let body = self.bytes.get(part.body.clone()).unwrap_or_default();
            Ok(part.properties.message(&self.written, body)?)
        };
        parts.iter().map(one).collect()
    }
}

/// The queue of its message group, or of its priority in a topic where these have queues.
fn queue(message: &Message<'_>, (kind, queues): (TopicType, u32)) -> Option<u32> {
    let of_group = message.message_group.map(|group| queue_of(group, queues));
    let priority = message.priority.filter(|_| kind == TopicType::Priority);
    let level = |priority: i32| queue_of_priority(priority.unsigned_abs(), queues);
    of_group.or(priority.map(level))
}

/// Where a part of the bytes lies in them.
fn place_in(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    let place = start..start.wrapping_add(part.len());
    debug_assert!(part.is_empty() || bytes.get(place.clone()) == Some(part));
    place
}
