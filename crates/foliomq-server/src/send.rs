//! SendMessage: checks, stores, and answers when it is committed.

use bytes::Bytes;
use foliomq_delivery::{queue_of, queue_of_priority};
use foliomq_proto::v2::{
    Code, Digest, DigestType, Encoding, Message, MessageType, Resource, SendMessageRequest,
    SendMessageResponse, SendResultEntry, SystemProperties,
};
use foliomq_store::{Topic, TopicType, lite_name};
use md5::{Digest as _, Md5};
use prost::Message as _;
use sha1::Sha1;

use crate::broker::{Broker, Handles};
use crate::caller::Caller;
use crate::hidden;
use crate::name;
use crate::properties::{clear_server_fields, md5_digest, timestamp, unix_ms, upper_hex};
use crate::status::{Refusal, ok};
use crate::topic_settings;
use crate::validate;

/// Most messages of one request.
const MAX_BATCH: usize = 4096;

/// Bodies of so many bytes together are digested and copied where that holds up nobody: it takes milliseconds, and
/// likely a wait for the next segment.
pub(crate) const LARGE: usize = 256 << 10;

/// Stores all messages of the request or none.
pub(crate) async fn send(
    broker: &Broker,
    caller: &Caller,
    request: SendMessageRequest,
) -> Result<SendMessageResponse, Refusal> {
    let messages = request.messages;
    let topic = name::topic(one_topic(&messages)?, caller)?;
    for message in &messages {
        validate::message(message, broker.store.options().max_body)?;
    }
    // After the checks: a message that is refused creates no topic.
    let found = broker.topic(&topic).await?;
    topic_settings::writable(&found)?;
    let (kind, queue) = (found.kind, queue(&messages, &found)?);
    let topic = match lite_topic(broker, &found, &messages).await? {
        Some(lite) => lite,
        None => topic,
    };
    let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
    let (entries, end) = if bytes < LARGE {
        submit(&broker.handles(), &topic, kind, queue, messages)?
    } else {
        let work = move |handles: &Handles| submit(handles, &topic, kind, queue, messages);
        broker.blocking(work).await?
    };
    broker.store.committed(end).await?;
    broker.sent.add(entries.len(), unix_ms());
    Ok(SendMessageResponse {
        status: Some(ok()),
        entries,
    })
}

/// The store's name of the lite topic that the messages name, made if it is not there; `None`: they name none.
async fn lite_topic(
    broker: &Broker,
    topic: &Topic,
    messages: &[Message],
) -> Result<Option<String>, Refusal> {
    let system = messages
        .first()
        .and_then(|message| message.system_properties.as_ref());
    let Some((system, lite)) =
        system.and_then(|system| Some((system, system.lite_topic.as_ref()?)))
    else {
        return Ok(None);
    };
    check_type(system, topic.kind)?;
    let name = lite_name(&topic.name, lite);
    if broker.store.topic(&name).is_some() {
        return Ok(Some(name));
    }
    let (parent, lite) = (topic.name.clone(), lite.clone());
    let make = move |handles: &Handles| Ok(handles.groups.lite_topic(&parent, &lite, unix_ms())?);
    broker.blocking(make).await.map(Some)
}

/// Appends the messages; returns what to answer once the position is committed.
fn submit(
    handles: &Handles,
    topic: &str,
    kind: TopicType,
    queue: Option<u32>,
    messages: Vec<Message>,
) -> Result<(Vec<SendResultEntry>, u64), Refusal> {
    let message_type = one_type(&messages)?;
    // The bodies are parts of the request's buffer: the store copies them from there into its page.
    let bodies: Vec<Bytes> = messages
        .iter()
        .map(|message| message.body.clone())
        .collect();
    let prepared = messages
        .into_iter()
        .zip(&bodies)
        .map(|(message, body)| prepare(message, body, kind));
    let prepared = prepared.collect::<Result<Vec<_>, Refusal>>()?;
    match message_type {
        MessageType::Delay => hidden::submit_delayed(&handles.groups, topic, queue, prepared),
        MessageType::Transaction => hidden::submit_half(&handles.groups, topic, queue, prepared),
        _ => submit_visible(handles, topic, queue, prepared),
    }
}

fn submit_visible(
    handles: &Handles,
    topic: &str,
    queue: Option<u32>,
    prepared: Vec<Prepared<'_>>,
) -> Result<(Vec<SendResultEntry>, u64), Refusal> {
    let split = prepared.into_iter();
    let split = split.map(|one| (one.system.message_id, one.stored));
    let (ids, drafts): (Vec<_>, Vec<_>) = split.unzip();
    let submitted = handles.store.submit(topic, queue, &drafts)?;
    let end = submitted.end();
    let entry = |(id, appended): (String, foliomq_store::Appended)| SendResultEntry {
        offset: appended.queue_offset as i64,
        ..sent(id)
    };
    let entries = ids.into_iter().zip(submitted.appended).map(entry);
    Ok((entries.collect(), end))
}

/// The answer for one message that is stored.
pub(crate) fn sent(message_id: String) -> SendResultEntry {
    SendResultEntry {
        status: Some(ok()),
        message_id,
        ..SendResultEntry::default()
    }
}

/// How all messages are kept: as delayed or half messages, or as normal ones, whatever else they are.
fn one_type(messages: &[Message]) -> Result<MessageType, Refusal> {
    let default = SystemProperties::default();
    let kind = |message: &Message| {
        let system = message.system_properties.as_ref().unwrap_or(&default);
        match validate::message_type(system) {
            kind @ (MessageType::Delay | MessageType::Transaction) => kind,
            _ => MessageType::Normal,
        }
    };
    let first = messages.first().map_or(MessageType::Normal, kind);
    if messages.iter().any(|message| kind(message) != first) {
        let what = "the messages of one request are of different types";
        return Err(Refusal::new(Code::BadRequest, what));
    }
    Ok(first)
}

/// The topic that all messages name.
fn one_topic(messages: &[Message]) -> Result<Option<&Resource>, Refusal> {
    let corrupted = |what: &str| Err(Refusal::new(Code::MessageCorrupted, what));
    let Some(first) = messages.first() else {
        return corrupted("the request holds no message");
    };
    if messages.len() > MAX_BATCH {
        return Err(Refusal::new(
            Code::TooManyRequests,
            format!("a batch holds at most {MAX_BATCH} messages"),
        ));
    }
    if messages.iter().any(|message| message.topic != first.topic) {
        return corrupted("the messages of one request name different topics");
    }
    Ok(first.topic.as_ref())
}

/// The queue of the message group, or of the priority, that all messages share; `None`: any. Where a client would send them
/// does not count, for each library hashes in its own way.
fn queue(messages: &[Message], topic: &Topic) -> Result<Option<u32>, Refusal> {
    let first = messages.first().map(place).unwrap_or_default();
    if messages
        .iter()
        .skip(1)
        .any(|message| place(message) != first)
    {
        return Err(Refusal::new(
            Code::BadRequest,
            "the messages of one request have different message groups, priorities or lite topics",
        ));
    }
    let priority = first.1.filter(|_| topic.kind == TopicType::Priority);
    let level = |priority: i32| queue_of_priority(priority.unsigned_abs(), topic.queues);
    let by_group = first.0.map(|group| queue_of(group, topic.queues));
    Ok(by_group.or(priority.map(level)))
}

/// Message group, priority and lite topic.
fn place(message: &Message) -> (Option<&str>, Option<i32>, Option<&str>) {
    let Some(system) = &message.system_properties else {
        return (None, None, None);
    };
    let (group, lite) = (&system.message_group, &system.lite_topic);
    (group.as_deref(), system.priority, lite.as_deref())
}

/// A message that is found good: its completed properties, and what is stored.
pub(crate) struct Prepared<'a> {
    pub(crate) system: SystemProperties,
    pub(crate) stored: foliomq_store::Message<'a>,
}

/// Completes a message.
fn prepare(mut message: Message, body: &Bytes, kind: TopicType) -> Result<Prepared<'_>, Refusal> {
    let mut system = message.system_properties.take().unwrap_or_default();
    check_type(&system, kind)?;
    complete(&mut system, body)?;
    let properties = Message {
        user_properties: message.user_properties,
        ..Message::default()
    };
    let stored =
        foliomq_store::Message::encoded(properties.encode_to_vec(), system.encode_to_vec(), body)?;
    Ok(Prepared { system, stored })
}

/// Whether the topic takes messages of this type, and this version does.
pub(crate) fn check_type(system: &SystemProperties, kind: TopicType) -> Result<(), Refusal> {
    check_kind(validate::message_type(system), kind)
}

/// The same, of a type that is known.
pub(crate) fn check_kind(message_type: MessageType, kind: TopicType) -> Result<(), Refusal> {
    let accepted = accepted_types(kind);
    if !accepted.contains(&message_type) {
        let what = format!("the topic takes {accepted:?} messages, not {message_type:?}");
        return Err(Refusal::new(Code::MessagePropertyConflictWithType, what));
    }
    match message_type {
        MessageType::Normal
        | MessageType::Fifo
        | MessageType::Priority
        | MessageType::Lite
        | MessageType::Delay
        | MessageType::Transaction => Ok(()),
        other => Err(Refusal::unsupported(&format!(
            "{} messages are",
            other.as_str_name()
        ))),
    }
}

/// The types of message that a topic takes.
pub(crate) fn accepted_types(kind: TopicType) -> &'static [MessageType] {
    match kind {
        TopicType::Any => &[
            MessageType::Normal,
            MessageType::Fifo,
            MessageType::Delay,
            MessageType::Transaction,
            MessageType::Lite,
            MessageType::Priority,
        ],
        TopicType::Normal => &[MessageType::Normal],
        TopicType::Fifo => &[MessageType::Fifo],
        TopicType::Delay => &[MessageType::Delay],
        TopicType::Transaction => &[MessageType::Transaction],
        TopicType::Lite => &[MessageType::Lite],
        TopicType::Priority => &[MessageType::Priority],
    }
}

/// Sets what the server answers for, and what every consumer relies on.
fn complete(system: &mut SystemProperties, body: &[u8]) -> Result<(), Refusal> {
    clear_server_fields(system);
    system.body_digest = Some(digest(system.body_digest.take(), body)?);
    system.message_type = validate::message_type(system).into();
    if system.body_encoding == Encoding::Unspecified as i32 {
        system.body_encoding = Encoding::Identity.into();
    }
    system
        .born_timestamp
        .get_or_insert_with(|| timestamp(unix_ms()));
    Ok(())
}

/// The sender's digest where it fits and every client can check it; else one that they can, made once here and not with
/// each delivery.
fn digest(sent: Option<Digest>, body: &[u8]) -> Result<Digest, Refusal> {
    let Some(sent) = sent else {
        return Ok(md5_digest(body));
    };
    let found = match sent.r#type() {
        DigestType::Md5 => upper_hex(&Md5::digest(body)),
        DigestType::Sha1 => upper_hex(&Sha1::digest(body)),
        DigestType::Crc32 | DigestType::Unspecified => return Ok(md5_digest(body)),
    };
    if !found.eq_ignore_ascii_case(&sent.checksum) {
        let what = format!(
            "the body's digest is {found}, the message says {}",
            sent.checksum
        );
        return Err(Refusal::new(Code::MessageCorrupted, what));
    }
    Ok(Digest {
        checksum: found,
        ..sent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        let sent = |kind: DigestType, checksum: &str| {
            Some(Digest {
                r#type: kind.into(),
                checksum: checksum.into(),
            })
        };
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(digest(None, b"abc").unwrap().checksum, md5.to_uppercase());
        let checksum = |kind, sent_as| digest(sent(kind, sent_as), b"abc").unwrap().checksum;
        assert_eq!(checksum(DigestType::Md5, md5), md5.to_uppercase());
        assert_eq!(checksum(DigestType::Sha1, sha1), sha1.to_uppercase());
        assert_eq!(checksum(DigestType::Crc32, "352441C2"), md5.to_uppercase());
        assert_eq!(
            digest(sent(DigestType::Md5, md5), b"abd").unwrap_err().code,
            Code::MessageCorrupted
        );
    }

    #[test]
    fn types() {
        let fifo = SystemProperties {
            message_group: Some("g".into()),
            ..Default::default()
        };
        let code = |kind| check_type(&fifo, kind).unwrap_err().code;
        assert_eq!(
            code(TopicType::Normal),
            Code::MessagePropertyConflictWithType
        );
        check_type(&fifo, TopicType::Fifo).unwrap();
        check_type(&fifo, TopicType::Any).unwrap();
        let lite = SystemProperties {
            lite_topic: Some("l".into()),
            ..Default::default()
        };
        check_type(&lite, TopicType::Lite).unwrap();
        check_type(&lite, TopicType::Any).unwrap();
        let refused = check_type(&lite, TopicType::Normal).unwrap_err();
        assert_eq!(refused.code, Code::MessagePropertyConflictWithType);
        check_type(&SystemProperties::default(), TopicType::Any).unwrap();
    }
}
