//! Responses of a subscription without what a load does not look at: properties are passed over where they lie.

use bytes::Bytes;
use foliomq_proto::v1::Settled;
use foliomq_proto::v2::Status;

/// `SubscribeResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    #[prost(message, repeated, tag = "1")]
    pub(crate) deliveries: Vec<Delivery>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) settled: Vec<Settled>,
    #[prost(message, optional, tag = "3")]
    pub(crate) status: Option<Status>,
}

/// `Delivered`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Delivery {
    #[prost(string, tag = "7")]
    pub(crate) handle: String,
    #[prost(message, optional, tag = "8")]
    message: Option<Carried>,
}

/// `Message`.
#[derive(Clone, PartialEq, prost::Message)]
struct Carried {
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
}

impl Delivery {
    /// Of the message; empty where it has none.
    pub(crate) fn body(&self) -> &[u8] {
        self.message.as_ref().map_or(&[], |message| &message.body)
    }
}

#[cfg(test)]
mod tests {
    use foliomq_proto::{v1, v2};
    use prost::Message as _;

    use super::*;

    #[test]
    fn it_reads_what_the_whole_response_has() {
        let status = |code| Status {
            code,
            ..Status::default()
        };
        let message = v2::Message {
            user_properties: [("k".to_owned(), "v".to_owned())].into(),
            system_properties: Some(v2::SystemProperties::default()),
            body: b"a body".as_slice().into(),
            ..v2::Message::default()
        };
        let settled = Settled {
            id: 3,
            statuses: vec![status(7)],
            ..Settled::default()
        };
        let whole = v1::SubscribeResponse {
            deliveries: vec![v1::Delivered {
                topic: "t".into(),
                position: 9,
                handle: "handle".into(),
                message: Some(message),
                ..v1::Delivered::default()
            }],
            settled: vec![settled.clone()],
            status: Some(status(5)),
            ..v1::SubscribeResponse::default()
        };
        let light = Response::decode(whole.encode_to_vec().as_slice()).unwrap();
        let [delivery] = &light.deliveries[..] else {
            panic!("{light:?}");
        };
        assert_eq!(
            (&delivery.handle[..], delivery.body()),
            ("handle", &b"a body"[..])
        );
        assert_eq!(
            (light.settled, light.status),
            (vec![settled], Some(status(5)))
        );
    }
}
