//! A stored message as the protocol's `Message`, encoded from the stored bytes without decoding them.
//!
//! It is already protobuf: its user properties go out verbatim, its system properties verbatim with what is added for the
//! reader in the same field (never as a second one: a client replaces instead of merging), and its body is the mapped page
//! itself, unless it is small enough for packing to be cheaper.

use std::sync::atomic::Ordering;

use bytes::{BufMut, BytesMut};
use foliomq_proto::v2::{Resource, SystemProperties};
use foliomq_store::{ReadMode, StoredMessage};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::broker::Broker;
use crate::rope::RopeBuilder;

/// Field of a message in `ReceiveMessageResponse` and in `PullMessageResponse`.
pub(crate) const RESPONSE_MESSAGE: u32 = 2;
/// Fields of `Message`.
pub(crate) const MESSAGE_TOPIC: u32 = 1;
pub(crate) const MESSAGE_SYSTEM_PROPERTIES: u32 = 3;
pub(crate) const MESSAGE_BODY: u32 = 4;
/// Bytes before each gRPC message: compressed or not 1, length 4.
pub(crate) const PREFIX: usize = 5;
/// Responses with messages are gathered in one frame up to this many bytes.
pub(crate) const FRAME: usize = 64 << 10;

/// A whole response, prefix included, with this message of this topic and nothing else.
pub(crate) fn put_response(
    broker: &Broker,
    out: &mut RopeBuilder,
    topic: &Resource,
    message: &StoredMessage,
    added: &SystemProperties,
) {
    let stored = message.encoded_system_properties();
    let size = Size::new(topic, message, added);
    let scratch = out.scratch();
    scratch.reserve(PREFIX + size.response - message.body().len());
    put_prefix(scratch, size.response);
    put_head(scratch, RESPONSE_MESSAGE, size.message);
    put_head(scratch, MESSAGE_TOPIC, topic.encoded_len());
    topic.encode_raw(scratch);
    scratch.put_slice(message.encoded_user_properties());
    put_head(scratch, MESSAGE_SYSTEM_PROPERTIES, size.system);
    scratch.put_slice(stored);
    added.encode_raw(scratch);
    put_head(scratch, MESSAGE_BODY, message.body().len());
    put_body(broker, out, message);
}

/// A body, packed with what is around it or by reference, and counted by the way it takes.
pub(crate) fn put_body(broker: &Broker, out: &mut RopeBuilder, message: &StoredMessage) {
    let len = message.body().len();
    let counter = if len < broker.config.by_reference_from {
        out.scratch().put_slice(message.body());
        &broker.body_bytes_packed
    } else {
        // A store that reads into buffers has copied it already.
        let mapped = broker.store.options().read_mode == ReadMode::Mapped;
        out.push(message.body_bytes(), mapped);
        match mapped {
            true => &broker.body_bytes_by_reference,
            false => &broker.body_bytes_copied,
        }
    };
    counter.fetch_add(len as u64, Ordering::Relaxed);
}

/// A message that prost encodes, with its prefix.
pub(crate) fn put_framed(out: &mut BytesMut, message: &impl Message) {
    let len = message.encoded_len();
    out.reserve(PREFIX + len);
    put_prefix(out, len);
    message.encode_raw(out);
}

/// Not compressed, and so many bytes.
pub(crate) fn put_prefix(out: &mut BytesMut, len: usize) {
    out.put_u8(0);
    out.put_u32(len as u32);
}

/// Bytes of a length-delimited field.
pub(crate) fn field_len(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

/// Key and length of such a field.
pub(crate) fn put_head(out: &mut BytesMut, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// Lengths that come before what they measure.
struct Size {
    /// Of the content of `system_properties`.
    system: usize,
    /// Of the `Message`.
    message: usize,
    /// Of the response.
    response: usize,
}

impl Size {
    fn new(topic: &Resource, stored: &StoredMessage, added: &SystemProperties) -> Self {
        let system = stored.encoded_system_properties().len() + added.encoded_len();
        let message = field_len(MESSAGE_TOPIC, topic.encoded_len())
            + stored.encoded_user_properties().len()
            + field_len(MESSAGE_SYSTEM_PROPERTIES, system)
            + field_len(MESSAGE_BODY, stored.body().len());
        Self {
            system,
            message,
            response: field_len(RESPONSE_MESSAGE, message),
        }
    }
}
