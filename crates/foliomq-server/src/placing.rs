//! Storing a frame of a Publish stream once, however often it comes.

use std::sync::Arc;

use bytes::Bytes;
use foliomq_proto::v1::{DelayedMessage, RefusedMessage, Run};
use foliomq_store::{Appender, StoredMessage};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::broker::{Broker, Handles};
use crate::frame::Frame;
use crate::parts::{Part, Parts};
use crate::producers::{self, Found, Progress};
use crate::properties::unix_ms;
use crate::send::{LARGE, check_kind};
use crate::status::Refusal;
use crate::topic_settings;

/// Bytes of room for properties that a stream keeps between two frames: enough for 2,000 small messages.
const KEPT: usize = 256 << 10;

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
    pub(crate) delayed: Vec<DelayedMessage>,
    /// Those whose lite topics cannot be made.
    pub(crate) refused: Vec<RefusedMessage>,
    /// How many were not stored before, and the bytes of their bodies.
    pub(crate) fresh: usize,
    pub(crate) fresh_bytes: usize,
    /// They may be acknowledged once so much of the log is committed.
    pub(crate) end: u64,
}

impl Placed {
    /// Adds one that was there before.
    fn add_found(&mut self, part: &Part, found: Found) {
        match found {
            Found::InQueue(message) => extend(&mut self.runs, &message),
            Found::Delayed(recall_handle) => self.delayed.push(DelayedMessage {
                index: part.index,
                recall_handle,
                duplicate: true,
            }),
        }
    }
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
    let mut parts = Parts::new(frame, bytes, &appender, std::mem::take(room));
    let (placed, written) = if parts.are_next(&progress) && size < LARGE && parts.are_plain() {
        let placed = parts.append(&broker.handles(), &appender, &mut progress, Vec::new());
        (placed, parts.written)
    } else {
        // Looking into the log may wait for the disk, and so may making a lite topic.
        let work = move |handles: &Handles| {
            let placed = find_and_append(handles, &appender, &mut parts, progress);
            Ok((placed, parts.written))
        };
        broker.blocking(work).await?
    };
    *room = written;
    room.clear();
    // Now, and not when the next frame comes: a stream may be idle for long.
    room.shrink_to(KEPT);
    placed
}

fn find_and_append(
    handles: &Handles,
    appender: &Appender,
    parts: &mut Parts,
    mut progress: OwnedMutexGuard<Progress>,
) -> Result<Placed, Refusal> {
    // First of all: what is refused for its lite topic is no more stored already than what was sifted out.
    let refused = parts.make_lite_topics(handles, appender);
    let found = match parts.are_next(&progress) {
        // None of it: nothing has to be committed before it is appended.
        true => Vec::new(),
        false => producers::stored(handles, appender.topic(), parts, &progress)?,
    };
    let placed = parts.append(handles, appender, &mut progress, found)?;
    Ok(Placed { refused, ..placed })
}

impl Parts {
    /// Whether none of them can be stored already.
    fn are_next(&self, progress: &Progress) -> bool {
        let first = self.all.first().map_or(0, |part| part.number);
        progress.last > 0 && first > progress.last
    }

    /// Appends those behind the stored ones.
    fn append(
        &self,
        handles: &Handles,
        appender: &Appender,
        progress: &mut Progress,
        stored: Vec<Found>,
    ) -> Result<Placed, Refusal> {
        let (known, fresh) = self.all.split_at(stored.len());
        let mut placed = Placed::default();
        for (part, found) in known.iter().zip(stored) {
            placed.add_found(part, found);
        }
        if fresh.is_empty() {
            // Found by the index: committed. Which one is the last is not learned from it: the log may hold more after these.
            return Ok(placed);
        }
        // Now, and not when the stream opened the topic: both may change meanwhile.
        topic_settings::may_write(appender.topic(), appender.permission())?;
        let kind = appender.kind();
        for part in fresh {
            check_kind(part.kind, kind)?;
        }
        let encoded = self.encoded(fresh)?;
        let mut rest = &encoded[..];
        // One after the other, so that what a crash leaves are the first ones.
        for chunk in fresh.chunk_by(|before, part| part.goes_with(before)) {
            let (messages, later) = rest.split_at(chunk.len());
            rest = later;
            progress.end = submit(handles, appender, chunk, messages, &mut placed)?;
            progress.last = chunk.last().map_or(0, |part| part.number);
            placed.fresh += chunk.len();
            placed.fresh_bytes += chunk.iter().map(Part::body_len).sum::<usize>();
        }
        placed.end = progress.end;
        Ok(placed)
    }
}

/// Appends messages that go together; returns the position to wait for.
fn submit(
    handles: &Handles,
    appender: &Appender,
    parts: &[Part],
    messages: &[foliomq_store::Message<'_>],
    placed: &mut Placed,
) -> Result<u64, Refusal> {
    let first = &parts[0];
    if first.due.is_some() {
        return submit_delayed(handles, appender.topic(), parts, messages, placed);
    }
    let submitted = match first.held_by(appender.topic()) {
        Some(lite) => handles.store.submit(&lite, first.queue, messages)?,
        None => appender.submit(first.queue, messages)?,
    };
    placed.runs.push(Run {
        queue_id: submitted.queue,
        queue_offset: submitted.appended[0].queue_offset,
        count: parts.len() as u32,
        duplicate: false,
    });
    Ok(submitted.end())
}

fn submit_delayed(
    handles: &Handles,
    topic: &str,
    parts: &[Part],
    messages: &[foliomq_store::Message<'_>],
    placed: &mut Placed,
) -> Result<u64, Refusal> {
    let timed = parts.iter().zip(messages);
    let timed = timed.map(|(part, message)| (part.due.unwrap_or(0), message.clone()));
    let timed: Vec<_> = timed.collect();
    let groups = &handles.groups;
    let delayed = groups.submit_delayed(topic, parts[0].queue, &timed, unix_ms())?;
    let end = delayed.last().map_or(0, |one| one.appended.end());
    let answers = parts.iter().zip(delayed).map(|(part, one)| DelayedMessage {
        index: part.index,
        recall_handle: one.recall_handle,
        duplicate: false,
    });
    placed.delayed.extend(answers);
    Ok(end)
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
