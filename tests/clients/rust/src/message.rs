//! Messages between the harness's JSON and the client's types.

use std::collections::HashMap;

use rocketmq::model::message::{AckMessageEntry, Message, MessageBuilder, MessageView};
use serde_json::{Value, json};

use crate::wire::{Failure, Outgoing};

/// Builds the client's message, a half one where that is asked for.
pub fn outgoing(fields: Outgoing, half: bool) -> Result<impl Message, Failure> {
    let properties: HashMap<String, String> = fields.properties.into_iter().collect();
    let (topic, body) = (fields.topic, from_hex(&fields.body)?);
    let builder = match fields.deliver_ms {
        _ if half => MessageBuilder::transaction_message_builder(topic, body),
        Some(time) => MessageBuilder::delay_message_builder(topic, body, time / 1000),
        None => MessageBuilder::builder().set_topic(topic).set_body(body),
    };
    let mut builder = builder.set_keys(fields.keys).set_properties(properties);
    if let Some(tag) = fields.tag {
        builder = builder.set_tag(tag);
    }
    if let Some(group) = fields.group {
        builder = builder.set_message_group(group);
    }
    Ok(builder.build()?)
}

/// Describes a received message; this client does not check the body's digest.
pub fn incoming(message: &MessageView) -> Value {
    let mut described = questioned(message);
    described["handle"] = message.receipt_handle().into();
    described
}

/// Describes a message that the broker asks about: it has no receipt handle, and this client panics where it is read.
pub fn questioned(message: &MessageView) -> Value {
    json!({
        "id": message.message_id(),
        "topic": message.topic(),
        "tag": message.tag(),
        "keys": message.keys(),
        "properties": message.properties(),
        "body": to_hex(message.body()),
        "attempt": message.delivery_attempt(),
        "born_ms": message.born_timestamp() * 1000,
    })
}

fn from_hex(text: &str) -> Result<Vec<u8>, Failure> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    text.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::new("Driver", "the body is not in hexadecimal".into()))
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs
        .map(|digit| DIGITS[usize::from(digit)] as char)
        .collect()
}
