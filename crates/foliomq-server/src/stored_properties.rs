//! The properties that a message of a Publish stream is stored with, written as prost would encode them.

use std::ops::Range;

use foliomq_proto::v2::Encoding;
use foliomq_store::StoreError;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::frame::Message;
use crate::producers::write_id;
use crate::properties::timestamp;

/// Field of `Message`.
const USER_PROPERTIES: u32 = 2;
/// Fields of `SystemProperties`.
const TAG: u32 = 1;
const KEYS: u32 = 2;
const MESSAGE_ID: u32 = 3;
const BODY_ENCODING: u32 = 5;
const MESSAGE_TYPE: u32 = 6;
const BORN_TIMESTAMP: u32 = 7;
const DELIVERY_TIMESTAMP: u32 = 11;
const MESSAGE_GROUP: u32 = 17;
const LITE_TOPIC: u32 = 21;
const PRIORITY: u32 = 22;
/// Fields of a `Timestamp`.
const SECONDS: u32 = 1;
const NANOS: u32 = 2;
/// Fields of an entry of a map.
const NAME: u32 = 1;
const VALUE: u32 = 2;

/// Where the properties of one message are in what was written.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    user: Range<usize>,
    system: Range<usize>,
}

impl Stored {
    /// The message with this body.
    pub(crate) fn message<'a>(
        &self,
        written: &'a [u8],
        body: &'a [u8],
    ) -> Result<foliomq_store::Message<'a>, StoreError> {
        let part = |range: &Range<usize>| &written[range.clone()];
        foliomq_store::Message::encoded(part(&self.user), part(&self.system), body)
    }
}

/// Appends the properties of a message to `out`. Its id is made of those of its producer and its number.
pub(crate) fn write_properties(
    message: &Message<'_>,
    id: (u64, u64),
    now: u64,
    out: &mut Vec<u8>,
) -> Stored {
    let begin = out.len();
    for (name, value) in message.properties() {
        put_property(name, value, out);
    }
    let user = begin..out.len();
    put_system(message, id, now, out);
    let system = user.end..out.len();
    Stored { user, system }
}

fn put_system(message: &Message<'_>, (producer, number): (u64, u64), now: u64, out: &mut Vec<u8>) {
    if let Some(tag) = message.tag {
        put_text(TAG, tag, out);
    }
    message.keys().for_each(|key| put_text(KEYS, key, out));
    write_id(producer, number, |id| put_text(MESSAGE_ID, id, out));
    put_number(BODY_ENCODING, Encoding::Identity as u64, out);
    put_number(MESSAGE_TYPE, message.kind() as u64, out);
    let born = match message.born_unix_ms {
        0 => now,
        born => born,
    };
    put_time(BORN_TIMESTAMP, born, out);
    if let Some(time) = message.deliver_unix_ms {
        put_time(DELIVERY_TIMESTAMP, time, out);
    }
    if let Some(group) = message.message_group {
        put_text(MESSAGE_GROUP, group, out);
    }
    if let Some(lite) = message.lite_topic {
        put_text(LITE_TOPIC, lite, out);
    }
    if let Some(priority) = message.priority {
        // As the protocol has it: a number below 0 in 64 bits.
        put_number(PRIORITY, i64::from(priority) as u64, out);
    }
}

fn put_property(name: &str, value: &str, out: &mut Vec<u8>) {
    let len = |text: &str| match text.len() {
        0 => 0,
        len => 1 + encoded_len_varint(len as u64) + len,
    };
    encode_key(USER_PROPERTIES, WireType::LengthDelimited, out);
    encode_varint((len(name) + len(value)) as u64, out);
    for (field, text) in [(NAME, name), (VALUE, value)] {
        if !text.is_empty() {
            put_text(field, text, out);
        }
    }
}

fn put_time(field: u32, unix_ms: u64, out: &mut Vec<u8>) {
    let time = timestamp(unix_ms);
    encode_key(field, WireType::LengthDelimited, out);
    let at = out.len();
    // A number of a key and ten bytes at most, twice: its length takes one.
    out.push(0);
    for (field, number) in [(SECONDS, time.seconds as u64), (NANOS, time.nanos as u64)] {
        if number != 0 {
            put_number(field, number, out);
        }
    }
    out[at] = (out.len() - at - 1) as u8;
}

fn put_text(field: u32, text: &str, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn put_number(field: u32, number: u64, out: &mut Vec<u8>) {
    encode_key(field, WireType::Varint, out);
    encode_varint(number, out);
}

#[cfg(test)]
mod tests {
    use foliomq_proto::v1::{NewMessage, PublishRequest};
    use foliomq_proto::v2::{self, MessageType, SystemProperties};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::frame::{Frame, tests::messages};
    use crate::producers::message_id;

    /// As prost encodes them.
    fn system(new: &NewMessage, id: (u64, u64), now: u64) -> SystemProperties {
        let kind = match new {
            NewMessage {
                deliver_unix_ms: Some(_),
                ..
            } => MessageType::Delay,
            NewMessage {
                message_group: Some(_),
                ..
            } => MessageType::Fifo,
            NewMessage {
                lite_topic: Some(_),
                ..
            } => MessageType::Lite,
            NewMessage {
                priority: Some(_), ..
            } => MessageType::Priority,
            _ => MessageType::Normal,
        };
        SystemProperties {
            tag: new.tag.clone(),
            keys: new.keys.clone(),
            message_id: message_id(id.0, id.1),
            body_encoding: Encoding::Identity.into(),
            message_type: kind.into(),
            message_group: new.message_group.clone(),
            born_timestamp: Some(timestamp(match new.born_unix_ms {
                0 => now,
                born => born,
            })),
            delivery_timestamp: new.deliver_unix_ms.map(timestamp),
            lite_topic: new.lite_topic.clone(),
            priority: new.priority,
            ..SystemProperties::default()
        }
    }

    proptest! {
        #[test]
        fn properties_are_written_as_prost_writes_them(
            messages in prop::collection::vec(messages(), 1..4),
            producer: u64,
            sequence: u64,
            now: u64,
        ) {
            let request = PublishRequest { messages, ..PublishRequest::default() };
            let bytes = request.encode_to_vec();
            let frame = Frame::decode(&bytes).unwrap();
            let mut out = Vec::new();
            for (new, message) in request.messages.iter().zip(&frame.messages) {
                let at = write_properties(message, (producer, sequence), now, &mut out);
                let expected = system(new, (producer, sequence), now).encode_to_vec();
                prop_assert_eq!(&out[at.system.clone()], &expected);
                let user = v2::Message::decode(&out[at.user.clone()]).unwrap();
                prop_assert_eq!(&user.user_properties, &new.properties);
                prop_assert_eq!(user.encoded_len(), at.user.len());
                prop_assert_eq!(at.message(&out, message.body).unwrap().body(), &new.body);
            }
        }
    }
}
