//! The responses of a subscription, encoded from the stored bytes: properties verbatim, a large body by reference.

use bytes::{BufMut, BytesMut};
use foliomq_proto::v1::{Delivered, SubscribeResponse};
use foliomq_store::StoredMessage;
use prost::Message;
use tonic::Status;

use crate::broker::Broker;
use crate::config::Encoding;
use crate::encoded;
use crate::message::{FRAME, PREFIX, field_len, put_body, put_framed, put_head, put_prefix};
use crate::positions::Runs;
use crate::rope::{Rope, RopeBuilder};
use crate::unsent::Unsent;

/// Fields of `SubscribeResponse`, `Delivered` and `Message`.
const DELIVERIES: u32 = 1;
const MESSAGE: u32 = 8;
const SYSTEM_PROPERTIES: u32 = 3;
const BODY: u32 = 4;

/// What comes before the message of a delivery, and the message.
pub(crate) type Item = (Delivered, StoredMessage);

/// One response of a subscription on its way to the connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Encoded by us.
    Rope(Rope),
    /// For tonic to encode, and what gives the deliveries back if it does not get that far.
    Message(SubscribeResponse, Option<Unsent>),
}

impl Outgoing {
    /// A response with these deliveries, for the encoder that the broker uses.
    pub(crate) fn deliveries(broker: &Broker, items: Vec<Item>, unsent: Option<Unsent>) -> Self {
        match broker.config.encoding {
            Encoding::Own => Self::Rope(rope(broker, &items, unsent)),
            Encoding::Tonic => Self::Message(encoded::subscribed(broker, items), unsent),
        }
    }

    /// A response with positions, which prost encodes: they are numbers.
    pub(crate) fn positions(broker: &Broker, runs: Runs, unsent: Option<Unsent>) -> Self {
        let response = runs.into();
        match broker.config.encoding {
            Encoding::Own => Self::Rope(plain(&response, unsent).counted(&broker.wire)),
            Encoding::Tonic => Self::Message(response, unsent),
        }
    }

    /// Lets go of the log's pages. A message for tonic keeps them until that copies it.
    pub(crate) fn unpin(&mut self) {
        if let Self::Rope(rope) = self {
            rope.unpin();
        }
    }

    /// The bytes of a response without deliveries are made where it is sent.
    pub(crate) fn into_rope(self) -> Rope {
        match self {
            Self::Rope(rope) => rope,
            Self::Message(response, unsent) => {
                if let Some(unsent) = unsent {
                    unsent.sent();
                }
                plain(&response, None)
            }
        }
    }

    /// What tonic encodes.
    pub(crate) fn into_message(self) -> Result<SubscribeResponse, Status> {
        match self {
            Self::Rope(_) => Err(Status::internal("a response is encoded already")),
            Self::Message(response, unsent) => {
                if let Some(unsent) = unsent {
                    unsent.sent();
                }
                Ok(response)
            }
        }
    }
}

impl From<SubscribeResponse> for Outgoing {
    fn from(response: SubscribeResponse) -> Self {
        Self::Message(response, None)
    }
}

/// One response with these deliveries.
fn rope(broker: &Broker, items: &[Item], unsent: Option<Unsent>) -> Rope {
    let sizes: Vec<_> = items.iter().map(Size::new).collect();
    let total: usize = sizes
        .iter()
        .map(|size| field_len(DELIVERIES, size.delivered))
        .sum();
    let mut out = RopeBuilder::default();
    put_begin(out.scratch(), total);
    for ((head, message), size) in items.iter().zip(&sizes) {
        put_head(out.scratch(), DELIVERIES, size.delivered);
        head.encode_raw(out.scratch());
        put_head(out.scratch(), MESSAGE, size.message);
        put_message(broker, &mut out, message);
    }
    out.finish(unsent).counted(&broker.wire)
}

/// A response without messages.
fn plain(response: &SubscribeResponse, unsent: Option<Unsent>) -> Rope {
    let mut out = RopeBuilder::default();
    put_framed(out.scratch(), response);
    out.finish(unsent)
}

fn put_begin(out: &mut BytesMut, len: usize) {
    out.reserve(PREFIX + len.min(FRAME));
    put_prefix(out, len);
}

fn put_message(broker: &Broker, out: &mut RopeBuilder, message: &StoredMessage) {
    let system = message.encoded_system_properties();
    let scratch = out.scratch();
    scratch.put_slice(message.encoded_user_properties());
    put_head(scratch, SYSTEM_PROPERTIES, system.len());
    scratch.put_slice(system);
    put_head(scratch, BODY, message.body().len());
    put_body(broker, out, message);
}

/// Lengths that come before what they measure.
struct Size {
    message: usize,
    delivered: usize,
}

impl Size {
    fn new((head, message): &Item) -> Self {
        let message = message.encoded_user_properties().len()
            + field_len(SYSTEM_PROPERTIES, message.encoded_system_properties().len())
            + field_len(BODY, message.body().len());
        Self {
            message,
            delivered: head.encoded_len() + field_len(MESSAGE, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use foliomq_proto::v2;
    use proptest::prelude::*;

    use super::*;
    use crate::encode::tests::{broker, publish, sent};

    /// What prost makes of the same response.
    fn reference(items: &[Item]) -> Vec<u8> {
        let stored = |message: &StoredMessage| v2::Message {
            system_properties: Some(
                v2::SystemProperties::decode(message.encoded_system_properties()).unwrap(),
            ),
            body: message.body_bytes(),
            ..v2::Message::decode(message.encoded_user_properties()).unwrap()
        };
        let whole = |(head, message): &Item| Delivered {
            message: Some(stored(message)),
            ..head.clone()
        };
        let response = SubscribeResponse {
            deliveries: items.iter().map(whole).collect(),
            ..SubscribeResponse::default()
        };
        let mut bytes = vec![0];
        bytes.put_u32(response.encoded_len() as u32);
        bytes.extend(response.encode_to_vec());
        bytes
    }

    #[test]
    fn a_response_is_byte_for_byte_what_prost_encodes() {
        let (_dir, broker) = broker();
        let round = std::cell::Cell::new(0);
        let sizes =
            prop::collection::vec((1..9000usize, "[a-z]{0,9}", 0..3u32, any::<bool>()), 1..12);
        proptest!(ProptestConfig::with_cases(32), |(messages in sizes)| {
            round.set(round.get() + 1);
            let name = format!("round-{}", round.get());
            let messages: Vec<_> = messages.into_iter().enumerate().map(|(n, (size, value, attempt, property))| {
                let mut message = sent(&name, &format!("{n}-{attempt}"), vec![n as u8; size]);
                if property { message.user_properties.insert("p".into(), value); }
                message
            }).collect();
            let count = messages.len();
            publish(&broker, messages);
            let queues = 0..broker.store.topic(&name).unwrap().queues;
            let stored = queues.flat_map(|queue| broker.store.read_many(&name, queue, 0, count).unwrap());
            let items: Vec<Item> = stored.map(|message| {
                let head = Delivered { topic: name.clone(), queue_offset: message.queue_offset(), position: message.position(), ..Delivered::default() };
                (head, message)
            }).collect();
            prop_assert_eq!(items.len(), count);
            let mut rope = rope(&broker, &items, None);
            let bytes = rope.copy_to_bytes(rope.remaining());
            prop_assert_eq!(bytes.to_vec(), reference(&items));
        });
    }
}
