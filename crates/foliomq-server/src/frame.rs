//! A frame of a Publish stream, read where it lies: nothing of it is copied before it is stored.
//!
//! What is well-formed, and what the fields are, is as prost has it for `foliomq.v1.PublishRequest`; the tests compare the two.

use foliomq_proto::v2::MessageType;
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field,
};

/// Fields of `PublishRequest`.
mod request {
    pub(super) const PRODUCER_ID: u32 = 1;
    pub(super) const SEQUENCE: u32 = 2;
    pub(super) const TOPIC: u32 = 3;
    pub(super) const QUEUE_ID: u32 = 4;
    pub(super) const MESSAGES: u32 = 5;
}

/// Fields of `NewMessage`.
mod message {
    pub(super) const BODY: u32 = 1;
    pub(super) const TAG: u32 = 2;
    pub(super) const KEYS: u32 = 3;
    pub(super) const PROPERTIES: u32 = 4;
    pub(super) const BORN: u32 = 5;
    pub(super) const MESSAGE_GROUP: u32 = 6;
    pub(super) const PRIORITY: u32 = 7;
    pub(super) const LITE_TOPIC: u32 = 8;
    pub(super) const DELIVER: u32 = 9;
}

/// Most messages of one frame.
pub(crate) const MAX_MESSAGES: usize = 4096;

/// Not a `PublishRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// A `PublishRequest`.
#[derive(Debug, Default)]
pub(crate) struct Frame<'a> {
    pub(crate) producer_id: u64,
    pub(crate) sequence: u64,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: Option<u32>,
    /// The first [`MAX_MESSAGES`] of them.
    pub(crate) messages: Vec<Message<'a>>,
    /// How many there are.
    pub(crate) count: usize,
}

/// A `NewMessage`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) tag: Option<&'a str>,
    pub(crate) message_group: Option<&'a str>,
    pub(crate) born_unix_ms: u64,
    pub(crate) priority: Option<i32>,
    pub(crate) lite_topic: Option<&'a str>,
    pub(crate) deliver_unix_ms: Option<u64>,
    /// In its frame, from 0.
    pub(crate) index: u32,
    /// All of it: where keys and properties are, if there are any.
    encoded: &'a [u8],
    keys: bool,
    properties: bool,
}

impl<'a> Frame<'a> {
    pub(crate) fn decode(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut frame = Self::default();
        while !bytes.is_empty() {
            frame.field(&mut bytes)?;
        }
        Ok(frame)
    }

    /// The number of one of its messages.
    pub(crate) fn number(&self, message: &Message<'_>) -> u64 {
        self.sequence + u64::from(message.index)
    }

    fn field(&mut self, bytes: &mut &'a [u8]) -> Result<(), Malformed> {
        let (field, wire_type) = decode_key(bytes)?;
        match field {
            request::PRODUCER_ID => self.producer_id = fixed64(wire_type, bytes)?,
            request::SEQUENCE => self.sequence = number(wire_type, bytes)?,
            request::TOPIC => self.topic = text(wire_type, bytes)?,
            request::QUEUE_ID => self.queue_id = Some(number(wire_type, bytes)? as u32),
            request::MESSAGES => {
                let message = Message::decode(content(wire_type, bytes)?)?;
                self.add(message, bytes.len());
            }
            _ => skip_field(wire_type, field, bytes, DecodeContext::default())?,
        }
        Ok(())
    }

    /// Adds a message, which `rest` bytes follow.
    fn add(&mut self, mut message: Message<'a>, rest: usize) {
        message.index = self.count as u32;
        if self.count == 0 {
            let like_it = rest / message.encoded.len().max(1) + 1;
            self.messages.reserve_exact(like_it.min(MAX_MESSAGES));
        }
        self.count += 1;
        if self.count <= MAX_MESSAGES {
            self.messages.push(message);
        }
    }
}

impl<'a> Message<'a> {
    fn decode(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut message = Self {
            encoded: bytes,
            ..Self::default()
        };
        while !bytes.is_empty() {
            message.field(&mut bytes)?;
        }
        Ok(message)
    }

    fn field(&mut self, bytes: &mut &'a [u8]) -> Result<(), Malformed> {
        let (field, wire_type) = decode_key(bytes)?;
        match field {
            message::BODY => self.body = content(wire_type, bytes)?,
            message::TAG => self.tag = Some(text(wire_type, bytes)?),
            message::KEYS => self.keys |= text(wire_type, bytes).map(|_| true)?,
            message::PROPERTIES => {
                self.properties |= entry(content(wire_type, bytes)?).map(|_| true)?;
            }
            message::BORN => self.born_unix_ms = number(wire_type, bytes)?,
            message::MESSAGE_GROUP => self.message_group = Some(text(wire_type, bytes)?),
            message::PRIORITY => self.priority = Some(number(wire_type, bytes)? as i32),
            message::LITE_TOPIC => self.lite_topic = Some(text(wire_type, bytes)?),
            message::DELIVER => self.deliver_unix_ms = Some(number(wire_type, bytes)?),
            _ => skip_field(wire_type, field, bytes, DecodeContext::default())?,
        }
        Ok(())
    }

    /// The keys, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let encoded = if self.keys { self.encoded } else { &[] };
        contents(encoded, message::KEYS).filter_map(|key| std::str::from_utf8(key).ok())
    }

    /// Names and values of the properties, in order. Of a name that comes twice the last counts.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let encoded = if self.properties { self.encoded } else { &[] };
        contents(encoded, message::PROPERTIES).filter_map(|bytes| entry(bytes).ok())
    }

    /// What kind of message it is.
    pub(crate) fn kind(&self) -> MessageType {
        if self.deliver_unix_ms.is_some() {
            MessageType::Delay
        } else if self.message_group.is_some() {
            MessageType::Fifo
        } else if self.lite_topic.is_some() {
            MessageType::Lite
        } else if self.priority.is_some() {
            MessageType::Priority
        } else {
            MessageType::Normal
        }
    }
}

/// The contents of a length-delimited field, of bytes that were decoded before.
fn contents(mut bytes: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            let (field, wire_type) = decode_key(&mut bytes).ok()?;
            if field == wanted {
                return content(wire_type, &mut bytes).ok();
            }
            skip_field(wire_type, field, &mut bytes, DecodeContext::default()).ok()?;
        }
        None
    })
}

/// Name and value of an entry of a map.
fn entry(mut bytes: &[u8]) -> Result<(&str, &str), Malformed> {
    let (mut name, mut value) = ("", "");
    while !bytes.is_empty() {
        let (field, wire_type) = decode_key(&mut bytes)?;
        match field {
            1 => name = text(wire_type, &mut bytes)?,
            2 => value = text(wire_type, &mut bytes)?,
            _ => skip_field(wire_type, field, &mut bytes, DecodeContext::default())?,
        }
    }
    Ok((name, value))
}

fn number(wire_type: WireType, bytes: &mut &[u8]) -> Result<u64, Malformed> {
    check_wire_type(WireType::Varint, wire_type)?;
    Ok(decode_varint(bytes)?)
}

fn fixed64(wire_type: WireType, bytes: &mut &[u8]) -> Result<u64, Malformed> {
    check_wire_type(WireType::SixtyFourBit, wire_type)?;
    let (number, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*number))
}

fn content<'a>(wire_type: WireType, bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let len = usize::try_from(decode_varint(bytes)?).map_err(|_| Malformed)?;
    let (content, rest) = bytes.split_at_checked(len).ok_or(Malformed)?;
    *bytes = rest;
    Ok(content)
}

fn text<'a>(wire_type: WireType, bytes: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    std::str::from_utf8(content(wire_type, bytes)?).map_err(|_| Malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use foliomq_proto::v1::{NewMessage, PublishRequest};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn owned(message: &Message<'_>) -> NewMessage {
        let pairs = message.properties();
        NewMessage {
            body: message.body.to_vec().into(),
            tag: message.tag.map(str::to_owned),
            keys: message.keys().map(str::to_owned).collect(),
            properties: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            born_unix_ms: message.born_unix_ms,
            message_group: message.message_group.map(str::to_owned),
            priority: message.priority,
            lite_topic: message.lite_topic.map(str::to_owned),
            deliver_unix_ms: message.deliver_unix_ms,
        }
    }

    fn decode(bytes: &[u8]) -> Option<PublishRequest> {
        let frame = Frame::decode(bytes).ok()?;
        assert_eq!(frame.count, frame.messages.len());
        Some(PublishRequest {
            producer_id: frame.producer_id,
            sequence: frame.sequence,
            topic: frame.topic.to_owned(),
            queue_id: frame.queue_id,
            messages: frame.messages.iter().map(owned).collect(),
        })
    }

    pub(crate) fn messages() -> impl Strategy<Value = NewMessage> {
        let text = || "\\PC{0,6}";
        let properties = prop::collection::hash_map(text(), text(), 0..4);
        (
            prop::collection::vec(any::<u8>(), 0..200),
            prop::option::of(text()),
            prop::collection::vec(text(), 0..3),
            properties.prop_map(|map| map.into_iter().collect::<HashMap<_, _>>()),
            prop_oneof![Just(0), any::<u64>()],
            prop::collection::vec(prop::option::of(text()), 2),
            any::<Option<i32>>(),
            any::<Option<u64>>(),
        )
            .prop_map(
                |(body, tag, keys, properties, born_unix_ms, names, priority, deliver_unix_ms)| {
                    NewMessage {
                        body: body.into(),
                        tag,
                        keys,
                        properties,
                        born_unix_ms,
                        message_group: names[0].clone(),
                        priority,
                        lite_topic: names[1].clone(),
                        deliver_unix_ms,
                    }
                },
            )
    }

    fn requests() -> impl Strategy<Value = PublishRequest> {
        (
            any::<u64>(),
            any::<u64>(),
            "\\PC{0,6}",
            any::<Option<u32>>(),
            prop::collection::vec(messages(), 0..5),
        )
            .prop_map(|(producer_id, sequence, topic, queue_id, messages)| {
                PublishRequest {
                    producer_id,
                    sequence,
                    topic,
                    queue_id,
                    messages,
                }
            })
    }

    proptest! {
        #[test]
        fn frames_are_what_prost_says(request in requests()) {
            prop_assert_eq!(decode(&request.encode_to_vec()), Some(request));
        }

        /// Also where they are damaged: the same is refused, and the rest is understood as the same.
        #[test]
        fn damaged_frames_are_what_prost_says(
            request in requests(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            tail in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut bytes = request.encode_to_vec();
            for (at, byte) in damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes.extend(tail);
            prop_assert_eq!(decode(&bytes), PublishRequest::decode(&*bytes).ok());
        }

        #[test]
        fn bytes_are_what_prost_says(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(decode(&bytes), PublishRequest::decode(&*bytes).ok());
        }
    }

    #[test]
    fn no_more_messages_are_kept_than_a_frame_may_hold() {
        let request = PublishRequest {
            messages: vec![NewMessage::default(); MAX_MESSAGES + 5],
            ..PublishRequest::default()
        };
        let bytes = request.encode_to_vec();
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(
            (frame.count, frame.messages.len()),
            (MAX_MESSAGES + 5, MAX_MESSAGES)
        );
    }
}
