//! What a message must satisfy before it is stored. Limits and their order are those of the RocketMQ 5 proxy.

use std::time::Duration;

use foliomq_proto::v2::{Code, Message, MessageType, SystemProperties};

use crate::frame;
use crate::properties::duration;
use crate::status::Refusal;

/// Most properties of the application's.
const MAX_PROPERTIES: usize = 128;
/// Bytes of all properties, tag and keys together.
const MAX_PROPERTY_BYTES: usize = 16 << 10;
/// A message group is shorter than this, bytes.
const MAX_MESSAGE_GROUP: usize = 64;
/// After how long at most a transaction without an end is asked about.
const MAX_RECOVERY: Duration = Duration::from_secs(3600);

/// Property names that RocketMQ keeps for itself.
const RESERVED: [&str; 42] = [
    "TRACE_ON",
    "MSG_REGION",
    "KEYS",
    "TAGS",
    "WAIT",
    "DELAY",
    "RETRY_TOPIC",
    "REAL_TOPIC",
    "REAL_QID",
    "TRAN_MSG",
    "PGROUP",
    "MIN_OFFSET",
    "MAX_OFFSET",
    "BUYER_ID",
    "ORIGIN_MESSAGE_ID",
    "TRANSFER_FLAG",
    "CORRECTION_FLAG",
    "MQ2_FLAG",
    "RECONSUME_TIME",
    "UNIQ_KEY",
    "MAX_RECONSUME_TIMES",
    "CONSUME_START_TIME",
    "POP_CK",
    "POP_CK_OFFSET",
    "1ST_POP_TIME",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "DUP_INFO",
    "EXTEND_UNIQ_INFO",
    "INSTANCE_ID",
    "CORRELATION_ID",
    "REPLY_TO_CLIENT",
    "TTL",
    "ARRIVE_TIME",
    "PUSH_REPLY_TIME",
    "CLUSTER",
    "MSG_TYPE",
    "INNER_MULTI_QUEUE_OFFSET",
    "__BORNHOST",
    "BORN_TIMESTAMP",
    "DLQ_ORIGIN_TOPIC",
    "DLQ_ORIGIN_MESSAGE_ID",
    "__CRC32#",
];
/// And all that begin so.
const RESERVED_PREFIX: &str = "TIMER_";

/// Checks everything but topic and digest.
pub(crate) fn message(message: &Message, max_body: usize) -> Result<(), Refusal> {
    let default = SystemProperties::default();
    let system = message.system_properties.as_ref().unwrap_or(&default);
    body(message.body.len(), max_body)?;
    let pairs = message.user_properties.iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
    let (own_tag, own_keys) = (
        system.tag.as_deref(),
        system.keys.iter().map(String::as_str),
    );
    properties(pairs, own_tag, own_keys.clone())?;
    tag(own_tag)?;
    keys(own_keys)?;
    if system.message_id.trim().is_empty() {
        return Err(Refusal::new(
            Code::IllegalMessageId,
            "the message id is blank",
        ));
    }
    message_group(system.message_group.as_deref())?;
    let kind = message_type(system);
    priority(system.priority, kind)?;
    lite_topic(system.lite_topic.as_deref(), kind)?;
    times(system)
}

/// The same for a message of a Publish stream, which has less. (When it is to be delivered is looked at beside.)
pub(crate) fn framed(message: &frame::Message<'_>, max_body: usize) -> Result<(), Refusal> {
    body(message.body.len(), max_body)?;
    properties(message.properties(), message.tag, message.keys())?;
    tag(message.tag)?;
    keys(message.keys())?;
    message_group(message.message_group)?;
    priority(message.priority, message.kind())?;
    lite_topic(message.lite_topic, message.kind())
}

fn body(size: usize, max_body: usize) -> Result<(), Refusal> {
    match size {
        0 => Err(Refusal::new(Code::MessageBodyEmpty, "the body is empty")),
        size if size > max_body => Err(Refusal::new(
            Code::MessageBodyTooLarge,
            format!("a body of {size} bytes is larger than the limit of {max_body}"),
        )),
        _ => Ok(()),
    }
}

fn properties<'a>(
    properties: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    tag: Option<&str>,
    keys: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    let (mut count, mut bytes) = (
        0,
        tag.map_or(0, str::len) + keys.map(str::len).sum::<usize>(),
    );
    for (name, value) in properties.clone() {
        count += 1;
        bytes += name.len() + value.len();
    }
    if count > MAX_PROPERTIES || bytes > MAX_PROPERTY_BYTES {
        return Err(Refusal::new(
            Code::MessagePropertiesTooLarge,
            format!(
                "{count} properties with {bytes} bytes; the limits are {MAX_PROPERTIES} and {MAX_PROPERTY_BYTES}"
            ),
        ));
    }
    for (name, value) in properties {
        let wrong = match name {
            "" => "is empty",
            name if RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX) => "is reserved",
            name if has_control(name) => "has a control character",
            _ if has_control(value) => "has a value with a control character",
            _ => continue,
        };
        return Err(Refusal::new(
            Code::IllegalMessagePropertyKey,
            format!("property {name:?} {wrong}"),
        ));
    }
    Ok(())
}

fn tag(tag: Option<&str>) -> Result<(), Refusal> {
    let Some(tag) = tag else {
        return Ok(());
    };
    let wrong = match tag {
        tag if tag.trim().is_empty() => "is blank",
        tag if tag.contains('|') => "contains |, which separates tags in a filter",
        tag if has_control(tag) => "has a control character",
        _ => return Ok(()),
    };
    Err(Refusal::new(
        Code::IllegalMessageTag,
        format!("tag {tag:?} {wrong}"),
    ))
}

fn keys<'a>(mut keys: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    match keys.find(|key| key.trim().is_empty() || has_control(key)) {
        Some(key) => Err(Refusal::new(
            Code::IllegalMessageKey,
            format!("key {key:?} is blank or has a control character"),
        )),
        None => Ok(()),
    }
}

fn message_group(group: Option<&str>) -> Result<(), Refusal> {
    let Some(group) = group else {
        return Ok(());
    };
    if group.trim().is_empty() || group.len() >= MAX_MESSAGE_GROUP || has_control(group) {
        let what = format!(
            "message group {group:?} is blank, has {MAX_MESSAGE_GROUP} bytes or more, or a control character"
        );
        return Err(Refusal::new(Code::IllegalMessageGroup, what));
    }
    Ok(())
}

/// A priority is no less than 0, and stands alone: a message with one is of no other kind.
fn priority(priority: Option<i32>, kind: MessageType) -> Result<(), Refusal> {
    let Some(priority) = priority else {
        return Ok(());
    };
    if priority < 0 {
        let what = format!("the priority {priority} is below 0");
        return Err(Refusal::new(Code::BadRequest, what));
    }
    match kind {
        MessageType::Priority => Ok(()),
        other => {
            let what = format!("a message is {other:?} or has a priority, not both");
            Err(Refusal::new(Code::MessagePropertyConflictWithType, what))
        }
    }
}

/// A message of a lite topic is of no other kind.
fn lite_topic(lite: Option<&str>, kind: MessageType) -> Result<(), Refusal> {
    let Some(lite) = lite else {
        return Ok(());
    };
    foliomq_store::check_lite(lite)
        .map_err(|error| Refusal::new(Code::IllegalLiteTopic, error.to_string()))?;
    match kind {
        MessageType::Lite => Ok(()),
        other => {
            let what = format!("a message is {other:?} or has a lite topic, not both");
            Err(Refusal::new(Code::MessagePropertyConflictWithType, what))
        }
    }
}

/// When its transaction is asked about. (When it is to be delivered, the groups look at: they have the horizon.)
fn times(system: &SystemProperties) -> Result<(), Refusal> {
    let recovery = system.orphaned_transaction_recovery_duration.as_ref();
    if recovery.is_some_and(|asked| duration(asked).is_none_or(|time| time > MAX_RECOVERY)) {
        let what = format!("a transaction is asked about within {MAX_RECOVERY:?}");
        return Err(Refusal::new(Code::BadRequest, what));
    }
    Ok(())
}

/// The type that a message's properties make it.
pub(crate) fn message_type(system: &SystemProperties) -> MessageType {
    if system.message_type() == MessageType::Transaction {
        MessageType::Transaction
    } else if system.delivery_timestamp.is_some() {
        MessageType::Delay
    } else if system.message_group.is_some() {
        MessageType::Fifo
    } else if system.lite_topic.is_some() {
        MessageType::Lite
    } else if system.priority.is_some() {
        MessageType::Priority
    } else {
        MessageType::Normal
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BODY: usize = 4 << 20;

    fn check(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Result<(), Code> {
        let mut subject = Message {
            body: vec![1].into(),
            ..Message::default()
        };
        let mut system = SystemProperties {
            message_id: "id".into(),
            ..SystemProperties::default()
        };
        change(&mut subject, &mut system);
        subject.system_properties = Some(system);
        message(&subject, MAX_BODY).map_err(|refusal| refusal.code)
    }

    #[test]
    fn limits() {
        assert_eq!(check(|_, _| {}), Ok(()));
        assert_eq!(
            check(|m, _| m.body = vec![].into()),
            Err(Code::MessageBodyEmpty)
        );
        assert_eq!(check(|m, _| m.body = vec![0; MAX_BODY].into()), Ok(()));
        assert_eq!(
            check(|m, _| m.body = vec![0; MAX_BODY + 1].into()),
            Err(Code::MessageBodyTooLarge)
        );
        let add = |count: usize| {
            move |m: &mut Message, _: &mut _| {
                m.user_properties
                    .extend((0..count).map(|n| (format!("p{n}"), String::new())));
            }
        };
        assert_eq!(check(add(128)), Ok(()));
        assert_eq!(check(add(129)), Err(Code::MessagePropertiesTooLarge));
        let fill = |bytes: usize| {
            move |m: &mut Message, _: &mut _| {
                m.user_properties.insert("p".into(), "x".repeat(bytes - 1));
            }
        };
        assert_eq!(check(fill(16 << 10)), Ok(()));
        assert_eq!(
            check(fill((16 << 10) + 1)),
            Err(Code::MessagePropertiesTooLarge)
        );
    }

    #[test]
    fn texts() {
        for tag in ["", " ", "a|b", "a\u{0}"] {
            assert_eq!(
                check(|_, s| s.tag = Some(tag.into())),
                Err(Code::IllegalMessageTag),
                "{tag:?}"
            );
        }
        assert_eq!(check(|_, s| s.tag = Some("标签".into())), Ok(()));
        assert_eq!(
            check(|_, s| s.keys = vec!["ok".into(), " ".into()]),
            Err(Code::IllegalMessageKey)
        );
        assert_eq!(
            check(|_, s| s.message_id = " ".into()),
            Err(Code::IllegalMessageId)
        );
        assert_eq!(
            check(|_, s| s.message_group = Some("g".repeat(64))),
            Err(Code::IllegalMessageGroup)
        );
        assert_eq!(check(|_, s| s.priority = Some(i32::MAX)), Ok(()));
        assert_eq!(check(|_, s| s.priority = Some(-1)), Err(Code::BadRequest));
        for lite in ["", "a\nb", &"x".repeat(65)] {
            let set = |_: &mut Message, s: &mut SystemProperties| s.lite_topic = Some(lite.into());
            assert_eq!(check(set), Err(Code::IllegalLiteTopic), "{lite:?}");
        }
        assert_eq!(check(|_, s| s.lite_topic = Some("room:1".into())), Ok(()));
        let both = |_: &mut Message, s: &mut SystemProperties| {
            (s.priority, s.message_group) = (Some(1), Some("g".into()));
        };
        assert_eq!(check(both), Err(Code::MessagePropertyConflictWithType));
        for name in ["KEYS", "__CRC32#", "a\nb"] {
            let add = |m: &mut Message, _: &mut _| {
                drop(m.user_properties.insert(name.into(), "v".into()))
            };
            assert_eq!(check(add), Err(Code::IllegalMessagePropertyKey), "{name:?}");
        }
    }
}
