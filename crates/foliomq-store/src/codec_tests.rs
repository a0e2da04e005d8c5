//! The encoding of messages against the one that `prost` derives from the same definition.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;

use crate::message::Message;
use crate::stored::Parts;
use crate::wire::Fields;

/// `apache.rocketmq.v2.Message` as far as the store knows it.
#[derive(Clone, PartialEq, prost::Message)]
struct Reference {
    #[prost(btree_map = "string, string", tag = "2")]
    user: BTreeMap<String, String>,
    #[prost(message, optional, tag = "3")]
    system: Option<System>,
    #[prost(bytes = "vec", tag = "4")]
    body: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct System {
    #[prost(string, optional, tag = "1")]
    tag: Option<String>,
    #[prost(string, repeated, tag = "2")]
    keys: Vec<String>,
    #[prost(string, tag = "3")]
    id: String,
}

fn reference() -> impl Strategy<Value = Reference> {
    let system = (
        proptest::option::of(".{0,200}"),
        proptest::collection::vec(".{0,20}", 0..4),
        ".{0,40}",
    );
    let user = proptest::collection::btree_map(".{0,20}", ".{0,200}", 0..5);
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    (user, system, body).prop_map(|(user, (tag, keys, id), body)| Reference {
        user,
        system: Some(System { tag, keys, id }),
        body,
    })
}

/// The same message by the store's own encoder.
fn encode(reference: &Reference) -> Vec<u8> {
    let mut message = Message::new(&reference.body);
    if let Some(system) = &reference.system {
        message = system
            .keys
            .iter()
            .fold(message, |message, key| message.key(key));
        message = message.id(&system.id);
        if let Some(tag) = &system.tag {
            message = message.tag(tag);
        }
    }
    for (name, value) in &reference.user {
        message = message.property(name, value);
    }
    message.parts(&message.heads()).concat()
}

proptest! {
    #[test]
    fn prost_reads_what_the_store_writes(reference in reference()) {
        prop_assert_eq!(Reference::decode(encode(&reference).as_slice()).unwrap(), reference);
    }

    #[test]
    fn the_store_reads_what_prost_writes(reference in reference()) {
        let bytes = reference.encode_to_vec();
        let parts = Parts::of(&bytes).expect("well-formed and in order");
        prop_assert_eq!(&bytes[parts.body], reference.body.as_slice());
        let system = reference.system.unwrap_or_default();
        let encoded = system.encode_to_vec();
        prop_assert_eq!(&bytes[parts.system], encoded.as_slice());
        let user = bytes[parts.user.clone()].to_vec();
        let message = Message::encoded(user, encoded, &reference.body).unwrap();
        let heads = message.heads();
        prop_assert_eq!(message.parts(&heads)[0], &bytes[parts.user]);
    }

    #[test]
    fn arbitrary_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut fields = Fields::new(&bytes);
        let end = fields.by_ref().last().map_or(0, |field| field.end);
        prop_assert!(end <= bytes.len());
        prop_assert!(!fields.sound() || end == bytes.len());
        if let Some(parts) = Parts::of(&bytes) {
            for part in [parts.user, parts.system, parts.body] {
                prop_assert!(bytes.get(part).is_some());
            }
        }
        _ = Message::encoded(bytes.clone(), bytes.clone(), &bytes);
    }

    #[test]
    fn what_prost_refuses_is_not_taken_for_properties(bytes in proptest::collection::vec(0u8..40, 0..60)) {
        if Message::encoded(bytes.clone(), Vec::new(), b"").is_ok() {
            prop_assert!(Reference::decode(bytes.as_slice()).is_ok());
        }
    }
}
