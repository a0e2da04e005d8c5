//! Messages as text and as JSON.

use std::fmt::Write;
use std::str;

use foliomq_client::{Delivery, StoredMessage};
use serde_json::{Map, Value, json};

use crate::moment;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// One line: queue/offset, when it was stored, what goes with it, the body. Control characters are escaped, so that
/// a message stays on its line and cannot steer a terminal.
pub fn line(message: &StoredMessage, attempt: Option<u32>) -> String {
    let mut line = format!("{}/{}", message.queue_id, message.queue_offset);
    let mut part = |text: String| {
        line.push_str("  ");
        escape(&text, &mut line);
    };
    if let Some(time) = message.stored_at {
        part(moment::show(time));
    }
    if let Some(attempt) = attempt.filter(|attempt| *attempt > 1) {
        part(format!("attempt={attempt}"));
    }
    if let Some(tag) = &message.tag {
        part(format!("tag={tag}"));
    }
    message
        .keys
        .iter()
        .for_each(|key| part(format!("key={key}")));
    if let Some(priority) = message.priority {
        part(format!("priority={priority}"));
    }
    if let Some(lite) = &message.lite_topic {
        part(format!("lite={lite}"));
    }
    sorted(message).for_each(|(name, value)| part(format!("{name}={value}")));
    part(String::from_utf8_lossy(&message.body).into_owned());
    line
}

/// The same as one JSON object. A body that is no UTF-8 stands in `body_base64` instead of `body`.
pub fn object(message: &StoredMessage) -> Map<String, Value> {
    let mut object = Map::new();
    let mut field = |name: &str, value: Value| object.insert(name.to_owned(), value);
    field("topic", json!(message.topic));
    field("queue_id", json!(message.queue_id));
    field("queue_offset", json!(message.queue_offset));
    field("message_id", json!(message.id));
    field("tag", json!(message.tag));
    field("keys", json!(message.keys));
    if let Some(priority) = message.priority {
        field("priority", json!(priority));
    }
    if let Some(lite) = &message.lite_topic {
        field("lite_topic", json!(lite));
    }
    field(
        "properties",
        sorted(message)
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect(),
    );
    field("born_at", json!(message.born_at.map(moment::show)));
    field("stored_at", json!(message.stored_at.map(moment::show)));
    if message.gzip {
        field("gzip", json!(true));
    }
    match str::from_utf8(&message.body) {
        Ok(text) => field("body", json!(text)),
        Err(_) => field("body_base64", json!(base64(&message.body))),
    };
    object
}

/// [`object`] with the attempt of a delivery.
pub fn delivery(delivery: &Delivery) -> Map<String, Value> {
    let mut object = object(&delivery.message);
    object.insert("attempt".to_owned(), json!(delivery.attempt));
    object
}

fn sorted(message: &StoredMessage) -> impl Iterator<Item = (&String, &String)> {
    let mut properties: Vec<_> = message.properties.iter().collect();
    properties.sort();
    properties.into_iter()
}

fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        match c {
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = (0..=chunk.len())
            .map(|index| char::from(BASE64[(bits >> (18 - 6 * index) & 63) as usize]));
        text.extend(digits);
        let _ = write!(text, "{}", "=".repeat(3 - chunk.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn message(body: &'static [u8]) -> StoredMessage {
        StoredMessage {
            topic: "orders".to_owned(),
            id: "01AB".to_owned(),
            body: body.into(),
            gzip: false,
            tag: Some("hot".to_owned()),
            keys: vec!["k1".to_owned()],
            properties: HashMap::from([
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]),
            queue_id: 3,
            queue_offset: 14,
            born_at: None,
            stored_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
            priority: Some(2),
            lite_topic: None,
        }
    }

    #[test]
    fn a_line_has_place_time_attributes_and_body() {
        let expected = "3/14  1970-01-01T00:00:01Z  attempt=2  tag=hot  key=k1  priority=2  a=1  b=2  a\\nb\\u{1b}[31m";
        assert_eq!(line(&message(b"a\nb\x1b[31m"), Some(2)), expected);
    }

    #[test]
    fn json_keeps_every_byte() {
        assert_eq!(object(&message(b"latte"))["body"], "latte");
        let binary = object(&message(b"\xff\x00"));
        assert_eq!(binary["body_base64"], "/wA=");
        assert!(!binary.contains_key("body"));
    }

    #[test]
    fn base64_pads() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
