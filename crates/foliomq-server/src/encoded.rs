//! Responses by tonic's own encoder, with `encoding = tonic`: what our own encoding is compared with.

use std::sync::atomic::Ordering;

use foliomq_proto::v1::{Delivered, SubscribeResponse};
use foliomq_proto::v2::{Message as Sent, SystemProperties};
use foliomq_store::StoredMessage;
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;
use tonic::codec::{Codec, EncodeBody, SingleMessageCompressionOverride};
use tonic_prost::ProstCodec;

use crate::body::Body;
use crate::broker::Broker;
use crate::delivered::Item;

/// The body that tonic makes of a stream of responses.
pub(crate) fn body<T: Message + Default + 'static>(
    responses: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Body {
    let encoder = ProstCodec::<T, ()>::default().encoder();
    let compression = SingleMessageCompressionOverride::default();
    let body = EncodeBody::new_server(encoder, responses, None, compression, None);
    Body::Tonic(tonic::body::Body::new(body))
}

/// One response of a subscription, as the message that prost encodes.
pub(crate) fn subscribed(broker: &Broker, items: Vec<Item>) -> SubscribeResponse {
    let delivered = |(head, message): Item| Delivered {
        message: Some(stored(broker, &message, &[])),
        ..head
    };
    SubscribeResponse {
        deliveries: items.into_iter().map(delivered).collect(),
        ..SubscribeResponse::default()
    }
}

/// A stored message with what a delivery adds to its system properties, which is encoded already.
pub(crate) fn stored(broker: &Broker, message: &StoredMessage, added: &[u8]) -> Sent {
    let len = message.body().len() as u64;
    broker.body_bytes_copied.fetch_add(len, Ordering::Relaxed);
    let system = [message.encoded_system_properties(), added].concat();
    Sent {
        system_properties: SystemProperties::decode(&*system).ok(),
        body: message.body_bytes(),
        ..Sent::decode(message.encoded_user_properties()).unwrap_or_default()
    }
}
