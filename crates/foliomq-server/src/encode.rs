//! The response of a receive, encoded from the stored bytes without decoding them.
//!
//! A stored message is already protobuf: its user properties go out verbatim, its system properties verbatim with what
//! the delivery adds in the same field (never as a second one: a client replaces instead of merging), and its body is
//! the mapped page itself, unless it is small enough for packing to be cheaper.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use foliomq_delivery::Delivery;
use foliomq_proto::v2::{
    ReceiveMessageResponse, Resource, Status, SystemProperties, receive_message_response::Content,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::broker::Broker;
use crate::properties::{of_delivery, timestamp, unix_ms};
use crate::rope::{Rope, RopeBuilder};
use crate::status::ok;
use crate::unsent::Unsent;

/// Fields of `ReceiveMessageResponse` and `Message`.
const RESPONSE_MESSAGE: u32 = 2;
const MESSAGE_TOPIC: u32 = 1;
const MESSAGE_SYSTEM_PROPERTIES: u32 = 3;
const MESSAGE_BODY: u32 = 4;
/// Bytes before each gRPC message: compressed or not 1, length 4.
const PREFIX: usize = 5;
/// Messages are gathered in one frame up to this many bytes.
const FRAME: usize = 64 << 10;

/// The frames of one response: status, messages, delivery timestamp, in this order.
///
/// Deliveries that have not left when the client goes away are given back: those of a frame under way by the frame's
/// rope, the others when this is dropped.
#[derive(Debug)]
pub(crate) struct Frames {
    broker: Arc<Broker>,
    /// As the request named it.
    topic: Resource,
    invisible: Duration,
    status: Option<Status>,
    deliveries: VecDeque<Delivery>,
    /// The handles of `deliveries`.
    unsent: Option<Unsent>,
    ended: bool,
}

impl Frames {
    pub(crate) fn new(
        broker: Arc<Broker>,
        topic: Resource,
        invisible: Duration,
        deliveries: Vec<Delivery>,
        unsent: Unsent,
    ) -> Self {
        Self {
            invisible,
            deliveries: deliveries.into(),
            unsent: Some(unsent),
            ..Self::empty(broker, topic, ok())
        }
    }

    /// A response without messages.
    pub(crate) fn empty(broker: Arc<Broker>, topic: Resource, status: Status) -> Self {
        Self {
            broker,
            topic,
            invisible: Duration::ZERO,
            status: Some(status),
            deliveries: VecDeque::new(),
            unsent: None,
            ended: false,
        }
    }

    /// The next frame; `None` once all is out.
    pub(crate) fn next(&mut self) -> Option<Rope> {
        if self.ended {
            return None;
        }
        let mut out = RopeBuilder::default();
        if let Some(status) = self.status.take() {
            put_response(out.scratch(), Content::Status(status));
        }
        let mut count = 0;
        while out.len() < FRAME
            && let Some(delivery) = self.deliveries.pop_front()
        {
            self.put_message(&mut out, delivery);
            count += 1;
        }
        if self.deliveries.is_empty() {
            put_response(
                out.scratch(),
                Content::DeliveryTimestamp(timestamp(unix_ms())),
            );
            self.ended = true;
        }
        let unsent = self.unsent.as_mut().map(|unsent| unsent.split_to(count));
        Some(out.finish(unsent))
    }

    fn put_message(&self, out: &mut RopeBuilder, delivery: Delivery) {
        let message = delivery.message.clone();
        let stored = message.encoded_system_properties();
        let added = of_delivery(delivery, self.invisible, &self.broker.store_host);
        let size = Size::new(
            &self.topic,
            message.encoded_user_properties().len(),
            stored.len(),
            &added,
            message.body().len(),
        );
        let scratch = out.scratch();
        scratch.reserve(PREFIX + size.response - message.body().len());
        scratch.put_u8(0);
        scratch.put_u32(size.response as u32);
        put_head(scratch, RESPONSE_MESSAGE, size.message);
        put_head(scratch, MESSAGE_TOPIC, self.topic.encoded_len());
        self.topic.encode_raw(scratch);
        scratch.put_slice(message.encoded_user_properties());
        put_head(scratch, MESSAGE_SYSTEM_PROPERTIES, size.system);
        scratch.put_slice(stored);
        added.encode_raw(scratch);
        put_head(scratch, MESSAGE_BODY, message.body().len());
        let by_reference = message.body().len() >= self.broker.config.by_reference_from;
        let counter = if by_reference {
            out.push(message.body_bytes());
            &self.broker.body_bytes_by_reference
        } else {
            scratch.put_slice(message.body());
            &self.broker.body_bytes_copied
        };
        counter.fetch_add(message.body().len() as u64, Ordering::Relaxed);
    }
}

/// Lengths that come before what they measure.
struct Size {
    /// Of the content of `system_properties`.
    system: usize,
    /// Of the `Message`.
    message: usize,
    /// Of the `ReceiveMessageResponse`.
    response: usize,
}

impl Size {
    fn new(
        topic: &Resource,
        user: usize,
        stored: usize,
        added: &SystemProperties,
        body: usize,
    ) -> Self {
        let system = stored + added.encoded_len();
        let message = field_len(MESSAGE_TOPIC, topic.encoded_len())
            + user
            + field_len(MESSAGE_SYSTEM_PROPERTIES, system)
            + field_len(MESSAGE_BODY, body);
        Self {
            system,
            message,
            response: field_len(RESPONSE_MESSAGE, message),
        }
    }
}

fn field_len(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

fn put_head(out: &mut BytesMut, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

fn put_response(out: &mut BytesMut, content: Content) {
    let response = ReceiveMessageResponse {
        content: Some(content),
    };
    let len = response.encoded_len();
    out.reserve(PREFIX + len);
    out.put_u8(0);
    out.put_u32(len as u32);
    response.encode_raw(out);
}
