//! Storing a frame of a Publish stream once, however often it comes.

use std::sync::Arc;

use bytes::Bytes;
use foliomq_delivery::queue_of;
use foliomq_proto::v1::Run;
use foliomq_store::{Appender, StoredMessage};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::broker::{Broker, Handles};
use crate::frame::{Frame, Message};
use crate::producers::{self, Progress};
use crate::properties::unix_ms;
use crate::send::{LARGE, check_kind};
use crate::sifted::sift;
use crate::status::Refusal;
use crate::stored_properties::{Stored, write_properties};
use crate::topic_settings;

/// Bytes of room for properties that a stream keeps between two frames.
const KEPT: usize = 1 << 20;

/// Where the messages of a frame go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) appender: Appender,
    pub(crate) progress: Arc<Mutex<Progress>>,
}

/// Where the messages of a frame are.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub(crate) runs: Vec<Run>,
    /// They may be acknowledged once so much of the log is committed.
    pub(crate) end: u64,
}

/// Stores those messages of the frame that are not stored yet. It is what is left of `bytes` once the bad ones are sifted out,
/// one message at least; `room` is used again for each.
pub(crate) async fn place(
    broker: &Broker,
    target: Target,
    frame: &Frame<'_>,
    bytes: &Bytes,
    room: &mut Vec<u8>,
) -> Result<Placed, Refusal> {
    let mut progress = target.progress.lock_owned().await;
    let appender = target.appender;
    let size: usize = frame.messages.iter().map(|one| one.body.len()).sum();
    let is_next = progress.last > 0 && frame.number(&frame.messages[0]) > progress.last;
    if is_next && size < LARGE {
        return append(&appender, frame, &mut progress, Vec::new(), room);
    }
    // Looking into the log may wait for the disk.
    let (bytes, max_body) = (bytes.clone(), broker.store.options().max_body);
    let work =
        move |handles: &Handles| find_and_append(handles, &appender, &bytes, max_body, progress);
    broker.blocking(work).await
}

fn find_and_append(
    handles: &Handles,
    appender: &Appender,
    bytes: &[u8],
    max_body: usize,
    mut progress: OwnedMutexGuard<Progress>,
) -> Result<Placed, Refusal> {
    // As it was before: the same bytes.
    let mut frame = Frame::decode(bytes).unwrap_or_default();
    sift(&mut frame, max_body);
    let numbers = frame.messages.iter().map(|message| frame.number(message));
    let (store, topic, producer) = (&handles.store, appender.topic(), frame.producer_id);
    let stored = producers::stored(store, topic, producer, numbers, &progress)?;
    append(appender, &frame, &mut progress, stored, &mut Vec::new())
}

fn append(
    appender: &Appender,
    frame: &Frame<'_>,
    progress: &mut Progress,
    stored: Vec<StoredMessage>,
    room: &mut Vec<u8>,
) -> Result<Placed, Refusal> {
    let fresh = &frame.messages[stored.len()..];
    let mut runs = Vec::with_capacity(1);
    stored.iter().for_each(|message| extend(&mut runs, message));
    if fresh.is_empty() {
        // Found by the index: committed. Which one is the last is not learned from it: the log may hold more after these.
        return Ok(Placed { runs, end: 0 });
    }
    // Now, and not when the stream opened the topic: both may change meanwhile.
    topic_settings::may_write(appender.topic(), appender.permission())?;
    let kind = appender.kind();
    for message in fresh {
        check_kind(message.kind(), kind)?;
    }
    let written = write_all(frame, fresh, room);
    let encoded = fresh.iter().zip(&written);
    let encoded = encoded.map(|(message, at)| Ok(at.message(room, message.body)?));
    let encoded = encoded.collect::<Result<Vec<_>, Refusal>>()?;
    let mut first = 0;
    let queue = |message: &Message<'_>| queue(frame, message, appender.queues());
    // One after the other, so that what a crash leaves are the first ones.
    for part in fresh.chunk_by(|one, other| queue(one) == queue(other)) {
        let end = first + part.len();
        let submitted = appender.submit(queue(&part[0]), &encoded[first..end])?;
        first = end;
        progress.last = part.last().map_or(0, |message| frame.number(message));
        progress.end = submitted.end();
        runs.push(Run {
            queue_id: submitted.queue,
            queue_offset: submitted.appended[0].queue_offset,
            count: part.len() as u32,
            duplicate: false,
        });
    }
    let end = progress.end;
    Ok(Placed { runs, end })
}

/// Writes the properties of all messages into `room`; returns where those of each are.
fn write_all(frame: &Frame<'_>, messages: &[Message<'_>], room: &mut Vec<u8>) -> Vec<Stored> {
    room.clear();
    room.shrink_to(KEPT);
    let now = unix_ms();
    let write = |message: &Message<'_>| {
        let id = (frame.producer_id, frame.number(message));
        write_properties(message, id, now, room)
    };
    messages.iter().map(write).collect()
}

/// Where a message goes; `None`: to the next queue in turn.
fn queue(frame: &Frame<'_>, message: &Message<'_>, queues: u32) -> Option<u32> {
    let of_group = || message.message_group.map(|group| queue_of(group, queues));
    frame.queue_id.or_else(of_group)
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
