//! SendMessage: checks, stores, and answers when it is committed.

use foliomq_delivery::{queue_of, queue_of_priority};
use foliomq_proto::v2::{
    Code, Message, MessageType, Resource, SendMessageRequest, SendMessageResponse, SendResultEntry,
    SystemProperties,
};
use foliomq_store::{Appender, TopicType, lite_name};

use crate::broker::{Broker, Handles};
use crate::caller::Caller;
use crate::hidden;
use crate::name;
use crate::prepared::Completed;
use crate::properties::unix_ms;
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
    let named = name::stored_topic(one_topic(&messages)?, caller)?;
    for message in &messages {
        validate::message(message, broker.store.options().max_body)?;
    }
    // After the checks: a message that is refused creates no topic.
    let topic = broker.appender(&named).await?;
    topic_settings::may_write(topic.topic(), topic.permission())?;
    let (kind, queue) = (topic.kind(), queue(&messages, &topic)?);
    let topic = match lite_topic(broker, &topic, &messages).await? {
        Some(lite) => broker.store.appender(&lite)?,
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
    broker.stored(entries.len(), bytes);
    Ok(SendMessageResponse {
        status: Some(ok()),
        entries,
    })
}

/// The store's name of the lite topic that the messages name, made if it is not there; `None`: they name none.
async fn lite_topic(
    broker: &Broker,
    topic: &Appender,
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
    check_type(system, topic.kind())?;
    let name = lite_name(topic.topic(), lite);
    if broker.store.topic(&name).is_some() {
        return Ok(Some(name));
    }
    let (parent, lite) = (topic.topic().to_owned(), lite.clone());
    let make = move |handles: &Handles| Ok(handles.groups.lite_topic(&parent, &lite, unix_ms())?);
    broker.blocking(make).await.map(Some)
}

/// Appends the messages; returns what to answer once the position is committed.
fn submit(
    handles: &Handles,
    topic: &Appender,
    kind: TopicType,
    queue: Option<u32>,
    messages: Vec<Message>,
) -> Result<(Vec<SendResultEntry>, u64), Refusal> {
    let message_type = one_type(&messages)?;
    let mut completed = Completed::new(messages, kind)?;
    let groups = &handles.groups;
    let (mut entries, end) = match message_type {
        MessageType::Delay => hidden::submit_delayed(groups, topic.topic(), queue, &mut completed)?,
        MessageType::Transaction => {
            hidden::submit_half(groups, topic.topic(), queue, &mut completed)?
        }
        _ => submit_visible(topic, queue, &mut completed)?,
    };
    for (entry, id) in entries.iter_mut().zip(completed.into_ids()) {
        entry.status = Some(ok());
        entry.message_id = id;
    }
    Ok((entries, end))
}

fn submit_visible(
    topic: &Appender,
    queue: Option<u32>,
    completed: &mut Completed,
) -> Result<(Vec<SendResultEntry>, u64), Refusal> {
    let stored = completed.prepared(|one| one.stored)?;
    let submitted = topic.submit(queue, &stored)?;
    let end = submitted.end();
    let entry = |appended: foliomq_store::Appended| SendResultEntry {
        offset: appended.queue_offset as i64,
        ..SendResultEntry::default()
    };
    Ok((submitted.appended.into_iter().map(entry).collect(), end))
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
fn queue(messages: &[Message], topic: &Appender) -> Result<Option<u32>, Refusal> {
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
    let priority = first.1.filter(|_| topic.kind() == TopicType::Priority);
    let level = |priority: i32| queue_of_priority(priority.unsigned_abs(), topic.queues());
    let by_group = first.0.map(|group| queue_of(group, topic.queues()));
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

#[cfg(test)]
mod tests {
    use super::*;

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
