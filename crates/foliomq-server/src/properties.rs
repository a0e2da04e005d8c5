//! System properties: what is stored of a sent message, and what a delivery adds.

use std::time::{Duration, SystemTime};

use bytes::Buf;
use foliomq_delivery::Delivery;
use foliomq_proto::v2::{
    Digest, DigestType, Encoding, Message, MessageType, Resource, SystemProperties,
};
use foliomq_store::StoredMessage;
use md5::{Digest as _, Md5};
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost_types::Timestamp;

/// Fields of `SystemProperties` that a delivery adds where the stored message lacks them.
const MESSAGE_ID: u32 = 3;
const BODY_DIGEST: u32 = 4;
const BODY_ENCODING: u32 = 5;
const MESSAGE_TYPE: u32 = 6;
const BORN_TIMESTAMP: u32 = 7;

/// What only the server may set.
pub(crate) fn clear_server_fields(system: &mut SystemProperties) {
    system.store_timestamp = None;
    system.store_host.clear();
    system.receipt_handle = None;
    system.queue_id = 0;
    system.queue_offset = None;
    system.invisible_duration = None;
    system.delivery_attempt = None;
    system.dead_letter_queue = None;
}

/// MD5 in upper-case hex: the digest that every client can check. (With CRC32 each formats the number in its own way.)
pub(crate) fn md5_digest(body: &[u8]) -> Digest {
    Digest {
        r#type: DigestType::Md5.into(),
        checksum: upper_hex(&Md5::digest(body)),
    }
}

pub(crate) fn upper_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Whether a text is these bytes in hex, in either case.
pub(crate) fn is_hex(text: &str, bytes: &[u8]) -> bool {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = |digits: &[u8], byte: &u8| {
        let value = digits
            .iter()
            .map(digit)
            .try_fold(0, |sum, digit| Some(sum * 16 + digit?));
        value == Some(u32::from(*byte))
    };
    let mut pairs = text.as_bytes().chunks(2).zip(bytes);
    text.len() == 2 * bytes.len() && pairs.all(|(digits, of)| byte(digits, of))
}

/// What a delivery adds to the stored properties.
pub(crate) fn of_delivery(
    delivery: Delivery,
    invisible: Duration,
    store_host: &str,
) -> SystemProperties {
    let message = &delivery.message;
    SystemProperties {
        invisible_duration: prost_types::Duration::try_from(invisible).ok(),
        delivery_attempt: Some(delivery.attempt.try_into().unwrap_or(i32::MAX)),
        receipt_handle: Some(delivery.handle.clone()),
        ..of_stored(message, store_host)
    }
}

/// What every reader gets beside the stored properties.
pub(crate) fn of_stored(message: &StoredMessage, store_host: &str) -> SystemProperties {
    let has = present(message.encoded_system_properties());
    let has = |field: u32| has & (1 << field) != 0;
    let mut added = SystemProperties {
        store_timestamp: Some(timestamp(message.store_time())),
        store_host: store_host.to_owned(),
        queue_id: message.queue_id() as i32,
        queue_offset: Some(message.queue_offset() as i64),
        ..SystemProperties::default()
    };
    if !has(MESSAGE_ID) {
        added.message_id = message.id().into_owned();
    }
    if !has(BODY_DIGEST) {
        added.body_digest = Some(md5_digest(message.body()));
    }
    if !has(BODY_ENCODING) {
        added.body_encoding = Encoding::Identity.into();
    }
    if !has(MESSAGE_TYPE) {
        added.message_type = MessageType::Normal.into();
    }
    if !has(BORN_TIMESTAMP) {
        added.born_timestamp = added.store_timestamp;
    }
    added
}

/// A stored message as it is read without a delivery: complete but for a receipt handle and an attempt. Its body is the
/// mapped page.
pub(crate) fn read_message(message: &StoredMessage, topic: Resource, store_host: &str) -> Message {
    let properties = Message::decode(message.encoded_user_properties()).unwrap_or_default();
    let mut system = message.encoded_system_properties().to_vec();
    system.extend(of_stored(message, store_host).encode_to_vec());
    Message {
        topic: Some(topic),
        user_properties: properties.user_properties,
        system_properties: SystemProperties::decode(&*system).ok(),
        body: message.body_bytes(),
    }
}

/// Which fields below 32 an encoded message has, a bit each.
fn present(mut bytes: &[u8]) -> u32 {
    let mut fields = 0;
    while bytes.has_remaining() {
        let Ok((field, wire_type)) = decode_key(&mut bytes) else {
            break;
        };
        fields |= 1u32.checked_shl(field).unwrap_or(0);
        if skip_field(wire_type, field, &mut bytes, DecodeContext::default()).is_err() {
            break;
        }
    }
    fields
}

/// From Unix milliseconds.
pub(crate) fn timestamp(unix_ms: u64) -> Timestamp {
    Timestamp {
        seconds: (unix_ms / 1000) as i64,
        nanos: (unix_ms % 1000) as i32 * 1_000_000,
    }
}

/// To Unix milliseconds; times before 1970 count as 0.
pub(crate) fn unix_ms_of(time: &Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let nanos = u64::try_from(time.nanos).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000)
}

/// Now, in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

/// A protobuf duration that is not negative.
pub(crate) fn duration(duration: &prost_types::Duration) -> Option<Duration> {
    // The conversion negates what is below zero, and the least number cannot be.
    if duration.seconds < 0 {
        return None;
    }
    Duration::try_from(*duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_upper_case_hex() {
        assert_eq!(md5_digest(b"").checksum, "D41D8CD98F00B204E9800998ECF8427E");
        for (text, same) in [
            ("0AfF", true),
            ("0aff", true),
            ("0aFE", false),
            ("0af", false),
            ("0aff0", false),
            ("0agf", false),
            ("+aff", false),
            ("", false),
        ] {
            assert_eq!(is_hex(text, &[0x0a, 0xff]), same, "{text}");
        }
    }

    #[test]
    fn durations_below_zero_are_none() {
        let of = |seconds, nanos| duration(&prost_types::Duration { seconds, nanos });
        assert_eq!(of(1, 5), Some(Duration::new(1, 5)));
        assert_eq!(
            of(i64::MAX, i32::MAX).map(|time| time.as_secs()),
            Some(i64::MAX as u64)
        );
        for (seconds, nanos) in [
            (i64::MIN, 0),
            (i64::MIN, i32::MIN),
            (-1, 0),
            (0, -1),
            (0, i32::MIN),
        ] {
            assert_eq!(of(seconds, nanos), None, "{seconds} s {nanos} ns");
        }
    }

    #[test]
    fn fields_that_are_present() {
        let system = SystemProperties {
            message_id: "id".into(),
            body_encoding: 1,
            ..Default::default()
        };
        assert_eq!(
            present(&system.encode_to_vec()),
            1 << MESSAGE_ID | 1 << BODY_ENCODING
        );
        assert_eq!(present(&[0xff; 7]), 0);
    }
}
