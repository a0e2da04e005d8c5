//! Messages between the vocabulary of the tests and the protocol's types.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use foliomq_proto::v2::{
    Address, AddressScheme, DigestType, Encoding, Endpoints, Message, MessageType, Resource,
    SystemProperties,
};

use crate::driver::{Failure, Outgoing, Received};

/// A topic or a group as a client of this namespace names it.
pub(super) fn resource(namespace: &str, name: &str) -> Option<Resource> {
    Some(Resource {
        resource_namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

pub(super) fn endpoints(address: SocketAddr) -> Endpoints {
    let host = address.ip().to_string();
    let address = Address {
        host,
        port: address.port().into(),
    };
    Endpoints {
        scheme: AddressScheme::IPv4.into(),
        addresses: vec![address],
    }
}

pub(super) fn outgoing(namespace: &str, message: Outgoing) -> Message {
    let kind = match (&message.group, message.priority, &message.lite) {
        _ if message.deliver_ms.is_some() => MessageType::Delay,
        (Some(_), ..) => MessageType::Fifo,
        (_, Some(_), _) => MessageType::Priority,
        (.., Some(_)) => MessageType::Lite,
        _ => MessageType::Normal,
    };
    Message {
        topic: resource(namespace, &message.topic),
        user_properties: message.properties.into_iter().collect(),
        system_properties: Some(SystemProperties {
            tag: message.tag,
            keys: message.keys,
            message_id: message_id(),
            body_encoding: Encoding::Identity.into(),
            message_type: kind.into(),
            born_timestamp: Some(SystemTime::now().into()),
            born_host: "raw".into(),
            message_group: message.group,
            priority: message.priority,
            lite_topic: message.lite,
            delivery_timestamp: message.deliver_ms.map(|time| prost_types::Timestamp {
                seconds: time / 1000,
                nanos: (time % 1000) as i32 * 1_000_000,
            }),
            ..Default::default()
        }),
        body: message.body.into(),
    }
}

/// Takes a received message apart and checks what the official clients rely on.
pub(super) fn incoming(message: Message) -> Result<Received, Failure> {
    let system = message
        .system_properties
        .ok_or_else(|| lacking("system properties"))?;
    let digest = system.body_digest.ok_or_else(|| lacking("a body digest"))?;
    if digest.r#type() == DigestType::Crc32 || digest.checksum.to_uppercase() != digest.checksum {
        return Err(Failure::local(
            "protocol",
            "clients read only upper-case MD5 and SHA-1 digests",
        ));
    }
    if system.body_encoding != i32::from(Encoding::Identity) {
        return Err(Failure::local(
            "protocol",
            "the body's encoding is not the one it was sent in",
        ));
    }
    let born = system
        .born_timestamp
        .ok_or_else(|| lacking("a birth time"))?;
    let place = system.queue_offset.map(|offset| (system.queue_id, offset));
    Ok(Received {
        id: system.message_id,
        topic: message.topic.ok_or_else(|| lacking("a topic"))?.name,
        tag: system.tag,
        keys: system.keys,
        properties: message.user_properties.into_iter().collect(),
        body: message.body.into(),
        sha256: None,
        attempt: system
            .delivery_attempt
            .ok_or_else(|| lacking("a delivery attempt"))?
            .into(),
        priority: system.priority,
        lite: system.lite_topic,
        born_ms: milliseconds(&born),
        deliver_ms: system.delivery_timestamp.as_ref().map(milliseconds),
        handle: system
            .receipt_handle
            .ok_or_else(|| lacking("a receipt handle"))?,
        corrupted: false,
        dead_letter: system
            .dead_letter_queue
            .map(|origin| (origin.topic, origin.message_id)),
        place,
    })
}

/// Takes a message apart that the broker asks about: complete but for a receipt handle and an attempt.
pub(super) fn questioned(mut message: Message) -> Result<Received, Failure> {
    if let Some(system) = message.system_properties.as_mut() {
        system.receipt_handle.get_or_insert_default();
        system.delivery_attempt.get_or_insert_default();
    }
    incoming(message)
}

fn milliseconds(time: &prost_types::Timestamp) -> i64 {
    time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
}

fn lacking(what: &str) -> Failure {
    Failure::local("protocol", format!("a received message lacks {what}"))
}

/// A message id of version 1: a sender's address and process, seconds, a sequence number.
fn message_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const EPOCH_2021: u64 = 1_609_459_200;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let seconds = now.saturating_sub(EPOCH_2021) & u64::from(u32::MAX);
    let sequence = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "01020000000001{:04X}{seconds:08X}{sequence:08X}",
        std::process::id() & 0xFFFF
    )
}
