//! Storing a frame of a Publish stream once, however often it comes.

use foliomq_delivery::queue_of;
use foliomq_proto::v1::{NewMessage, Run};
use foliomq_proto::v2::{Encoding, Message, MessageType, SystemProperties};
use foliomq_store::{Store, StoredMessage, TopicType};
use prost::Message as _;

use crate::broker::{Broker, Handles};
use crate::producers::{self, Progress, message_id};
use crate::properties::{timestamp, unix_ms};
use crate::send::{LARGE, check_type};
use crate::status::Refusal;
use crate::validate;

/// A frame that was found good.
pub(crate) struct Draft {
    pub(crate) producer: u64,
    pub(crate) topic: String,
    pub(crate) kind: TopicType,
    /// Queues of the topic.
    pub(crate) queues: u32,
    pub(crate) queue: Option<u32>,
    /// With their numbers, which grow; at least one.
    pub(crate) messages: Vec<(u64, Message)>,
}

/// Where the messages of a frame are.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub(crate) runs: Vec<Run>,
    /// They may be acknowledged once so much of the log is committed.
    pub(crate) end: u64,
}

/// A message with the properties that it is stored with.
pub(crate) fn message(new: NewMessage, producer: u64, sequence: u64) -> Message {
    let born = match new.born_unix_ms {
        0 => unix_ms(),
        born => born,
    };
    let kind = match new.message_group {
        Some(_) => MessageType::Fifo,
        None => MessageType::Normal,
    };
    let system = SystemProperties {
        tag: new.tag,
        keys: new.keys,
        message_id: message_id(producer, sequence),
        body_encoding: Encoding::Identity.into(),
        message_type: kind.into(),
        message_group: new.message_group,
        born_timestamp: Some(timestamp(born)),
        ..SystemProperties::default()
    };
    Message {
        topic: None,
        user_properties: new.properties,
        system_properties: Some(system),
        body: new.body,
    }
}

/// Stores those messages of the frame that are not stored yet.
pub(crate) async fn place(broker: &Broker, draft: Draft) -> Result<Placed, Refusal> {
    let dispatched = broker.store.watermarks().dispatched;
    let progress = broker.producers.progress(draft.producer, dispatched)?;
    let mut progress = progress.lock_owned().await;
    let bytes: usize = draft
        .messages
        .iter()
        .map(|(_, message)| message.body.len())
        .sum();
    let is_next = progress.last > 0 && draft.messages[0].0 > progress.last;
    if is_next && bytes < LARGE {
        return append(&broker.store, &draft, &mut progress, Vec::new());
    }
    // Looking into the log may wait for the disk.
    let work = move |handles: &Handles| {
        let stored = producers::stored(
            &handles.store,
            &draft.topic,
            draft.producer,
            draft.messages.iter().map(|(number, _)| *number),
            &progress,
        )?;
        append(&handles.store, &draft, &mut progress, stored)
    };
    broker.blocking(work).await
}

fn append(
    store: &Store,
    draft: &Draft,
    progress: &mut Progress,
    stored: Vec<StoredMessage>,
) -> Result<Placed, Refusal> {
    let fresh = &draft.messages[stored.len()..];
    let mut runs = Vec::new();
    stored.iter().for_each(|message| extend(&mut runs, message));
    if fresh.is_empty() {
        // Found by the index: committed. Which one is the last is not learned from it: the log may hold more after these.
        return Ok(Placed { runs, end: 0 });
    }
    let encoded = fresh.iter().map(|(_, message)| encode(message, draft.kind));
    let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
    let mut first = 0;
    // One after the other, so that what a crash leaves are the first ones.
    for part in fresh.chunk_by(|(_, one), (_, other)| draft.queue(one) == draft.queue(other)) {
        let (queue, end) = (draft.queue(&part[0].1), first + part.len());
        let submitted = store.submit(&draft.topic, queue, &encoded[first..end])?;
        first = end;
        progress.last = part.last().map_or(0, |(number, _)| *number);
        progress.end = submitted.end();
        runs.push(Run {
            queue_id: submitted.queue,
            queue_offset: submitted.appended[0].queue_offset,
            count: part.len() as u32,
            duplicate: false,
        });
    }
    Ok(Placed {
        runs,
        end: progress.end,
    })
}

impl Draft {
    /// Where a message goes; `None`: to the next queue in turn.
    fn queue(&self, message: &Message) -> Option<u32> {
        let system = message.system_properties.as_ref();
        let group = system.and_then(|system| system.message_group.as_deref());
        self.queue
            .or_else(|| group.map(|group| queue_of(group, self.queues)))
    }
}

fn encode(message: &Message, kind: TopicType) -> Result<foliomq_store::Message<'_>, Refusal> {
    let default = SystemProperties::default();
    let system = message.system_properties.as_ref().unwrap_or(&default);
    check_type(system, kind)?;
    if matches!(
        validate::message_type(system),
        MessageType::Delay | MessageType::Transaction
    ) {
        return Err(Refusal::unsupported(
            "delayed and half messages in a stream are",
        ));
    }
    let user = Message {
        user_properties: message.user_properties.clone(),
        ..Message::default()
    };
    let (user, system) = (user.encode_to_vec(), system.encode_to_vec());
    Ok(foliomq_store::Message::encoded(
        user,
        system,
        &message.body,
    )?)
}

/// Adds a message that was there before.
fn extend(runs: &mut Vec<Run>, message: &StoredMessage) {
    let (queue_id, queue_offset) = (message.queue_id(), message.queue_offset());
    match runs.last_mut() {
        Some(run)
            if run.queue_id == queue_id
                && run.queue_offset + u64::from(run.count) == queue_offset =>
        {
            run.count += 1;
        }
        _ => runs.push(Run {
            queue_id,
            queue_offset,
            count: 1,
            duplicate: true,
        }),
    }
}
