//! Requests that are encoded once and patched.

use bytes::{BufMut, Bytes, BytesMut};
use foliomq_proto::v1::{NewMessage, PublishRequest};
use foliomq_proto::v2::{self, Resource, SendMessageRequest};
use prost::Message;
use rand::RngExt;

use crate::call::PREFIX;
use crate::plan::{Plan, STAMP};

/// A message as it goes into a gRPC stream.
pub fn frame(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + message.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// A topic, or a group.
pub(crate) fn resource(name: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        ..Resource::default()
    }
}

/// Bytes with places for the moment of departure.
#[derive(Debug, Clone)]
struct Stamped {
    bytes: Bytes,
    places: Vec<usize>,
}

impl Stamped {
    /// Finds the places by what stands there.
    fn new(bytes: Bytes, body: &[u8], stamped: bool) -> Self {
        let mut places = Vec::new();
        let mut from = 0;
        while stamped && let Some(at) = find(&bytes[from..], body) {
            places.push(from + at);
            from += at + body.len();
        }
        Self { bytes, places }
    }

    fn put(&self, out: &mut BytesMut, stamp: u64) {
        let begin = out.len();
        out.put_slice(&self.bytes);
        for place in &self.places {
            out[begin + place..][..STAMP].copy_from_slice(&stamp.to_le_bytes());
        }
    }
}

/// SendMessage of one batch.
#[derive(Debug, Clone)]
pub(crate) struct Send(Stamped);

impl Send {
    pub(crate) fn new(plan: &Plan, stamped: bool) -> Self {
        let body = body(plan.body);
        let message = |n: usize| v2::Message {
            topic: Some(resource(&plan.topic)),
            system_properties: Some(v2::SystemProperties {
                message_id: format!("01{n:032X}"),
                body_encoding: v2::Encoding::Identity.into(),
                message_type: v2::MessageType::Normal.into(),
                born_host: "bench".to_owned(),
                ..v2::SystemProperties::default()
            }),
            body: body.clone(),
            ..v2::Message::default()
        };
        let request = SendMessageRequest {
            messages: (0..plan.batch).map(message).collect(),
        };
        Self(Stamped::new(frame(&request), &body, stamped))
    }

    /// The request, made anew only where a stamp is asked for.
    pub(crate) fn request(&self, stamp: u64) -> Bytes {
        if self.0.places.is_empty() {
            return self.0.bytes.clone();
        }
        let mut out = BytesMut::with_capacity(self.0.bytes.len());
        self.0.put(&mut out, stamp);
        out.freeze()
    }
}

/// Frames of a Publish stream.
#[derive(Debug)]
pub(crate) struct Publish {
    producer: u64,
    next: u64,
    batch: u64,
    rest: Stamped,
}

impl Publish {
    pub(crate) fn new(plan: &Plan, stamped: bool) -> Self {
        let body = body(plan.body);
        let message = NewMessage {
            body: body.clone(),
            ..NewMessage::default()
        };
        let request = PublishRequest {
            topic: plan.topic.clone(),
            messages: vec![message; plan.batch],
            ..PublishRequest::default()
        };
        Self {
            producer: rand::rng().random_range(1..=u64::MAX),
            next: 1,
            batch: plan.batch as u64,
            rest: Stamped::new(request.encode_to_vec().into(), &body, stamped),
        }
    }

    /// Adds the next frame.
    pub(crate) fn put(&mut self, out: &mut BytesMut, stamp: u64) {
        let head = PublishRequest {
            producer_id: self.producer,
            sequence: self.next,
            ..PublishRequest::default()
        };
        // A message's fields may come in any order, and in two pieces.
        let len = head.encoded_len() + self.rest.bytes.len();
        out.reserve(PREFIX + len);
        out.put_u8(0);
        out.put_u32(len as u32);
        head.encode_raw(out);
        self.rest.put(out, stamp);
        self.next += self.batch;
    }
}

/// A body that no compression makes smaller.
fn body(len: usize) -> Bytes {
    let mut body = vec![0; len];
    rand::rng().fill(&mut body[..]);
    body.into()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            body: 100,
            batch: 3,
            topic: "t".to_owned(),
            ..Plan::default()
        }
    }

    #[test]
    fn a_send_is_a_request_whose_bodies_carry_the_stamp() {
        let bytes = Send::new(&plan(), true).request(77);
        let request = SendMessageRequest::decode(&bytes[PREFIX..]).unwrap();
        assert_eq!(request.messages.len(), 3);
        for message in request.messages {
            assert_eq!(message.body.len(), 100);
            assert_eq!(message.body[..STAMP], 77u64.to_le_bytes());
        }
    }

    #[test]
    fn frames_are_numbered_without_gaps() {
        let (mut publish, mut out) = (Publish::new(&plan(), true), BytesMut::new());
        publish.put(&mut out, 1);
        let first = out.len();
        publish.put(&mut out, 2);
        for (bytes, sequence, stamp) in [(&out[..first], 1, 1u64), (&out[first..], 4, 2)] {
            assert_eq!(
                u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize,
                bytes.len() - 5
            );
            let request = PublishRequest::decode(&bytes[PREFIX..]).unwrap();
            assert_eq!((request.sequence, request.messages.len()), (sequence, 3));
            assert!(request.producer_id > 0 && request.topic == "t");
            assert!(
                request
                    .messages
                    .iter()
                    .all(|message| message.body[..STAMP] == stamp.to_le_bytes())
            );
        }
    }
}
