//! Storing a frame of a Publish stream once, however often it comes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foliomq_delivery::queue_of;
use foliomq_proto::v1::Run;
use foliomq_proto::v2::MessageType;
use foliomq_store::{Appender, StoredMessage};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::broker::{Broker, Handles};
use crate::frame::{Frame, Message};
use crate::producers::{self, Progress};
use crate::properties::unix_ms;
use crate::send::{LARGE, check_kind};
use crate::status::Refusal;
use crate::stored_properties::{Stored, write_properties};
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
    /// They may be acknowledged once so much of the log is committed.
    pub(crate) end: u64,
}

/// A message that is ready to be stored.
struct Part {
    number: u64,
    kind: MessageType,
    /// Where it goes; `None`: to the next queue in turn.
    queue: Option<u32>,
    /// Its place in the frame's bytes.
    body: Range<usize>,
    /// Their place in what was written.
    properties: Stored,
}

/// The messages of a frame, apart from what they were decoded to: they may go to another thread, and nothing is decoded twice.
struct Ready {
    producer: u64,
    bytes: Bytes,
    /// The properties of all.
    written: Vec<u8>,
    parts: Vec<Part>,
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
    let ready = Ready::new(frame, bytes, appender.queues(), std::mem::take(room));
    let (placed, written) = if ready.is_next(&progress) && size < LARGE {
        let placed = ready.append(&appender, &mut progress, Vec::new());
        (placed, ready.written)
    } else {
        // Looking into the log may wait for the disk.
        let work = move |handles: &Handles| {
            let placed = find_and_append(handles, &appender, &ready, progress);
            Ok((placed, ready.written))
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
    ready: &Ready,
    mut progress: OwnedMutexGuard<Progress>,
) -> Result<Placed, Refusal> {
    let stored = match ready.is_next(&progress) {
        // None of it: nothing has to be committed before it is appended.
        true => Vec::new(),
        false => {
            let numbers = ready.parts.iter().map(|part| part.number);
            let topic = appender.topic();
            producers::stored(&handles.store, topic, ready.producer, numbers, &progress)?
        }
    };
    ready.append(appender, &mut progress, stored)
}

impl Ready {
    fn new(frame: &Frame<'_>, bytes: &Bytes, queues: u32, mut written: Vec<u8>) -> Self {
        let now = unix_ms();
        let part = |message: &Message<'_>| {
            let number = frame.number(message);
            let of_group = || message.message_group.map(|group| queue_of(group, queues));
            Part {
                number,
                kind: message.kind(),
                queue: frame.queue_id.or_else(of_group),
                body: place_in(bytes, message.body),
                properties: write_properties(
                    message,
                    (frame.producer_id, number),
                    now,
                    &mut written,
                ),
            }
        };
        let parts = frame.messages.iter().map(part).collect();
        Self {
            producer: frame.producer_id,
            bytes: bytes.clone(),
            written,
            parts,
        }
    }

    /// Whether none of them can be stored already.
    fn is_next(&self, progress: &Progress) -> bool {
        let first = self.parts.first().map_or(0, |part| part.number);
        progress.last > 0 && first > progress.last
    }

    /// Appends those behind the stored ones.
    fn append(
        &self,
        appender: &Appender,
        progress: &mut Progress,
        stored: Vec<StoredMessage>,
    ) -> Result<Placed, Refusal> {
        let fresh = &self.parts[stored.len()..];
        let mut runs = Vec::with_capacity(1);
        stored.iter().for_each(|message| extend(&mut runs, message));
        if fresh.is_empty() {
            // Found by the index: committed. Which one is the last is not learned from it: the log may hold more after these.
            return Ok(Placed { runs, end: 0 });
        }
        // Now, and not when the stream opened the topic: both may change meanwhile.
        topic_settings::may_write(appender.topic(), appender.permission())?;
        let kind = appender.kind();
        for part in fresh {
            check_kind(part.kind, kind)?;
        }
        let encoded = self.encoded(fresh)?;
        let mut first = 0;
        // One after the other, so that what a crash leaves are the first ones.
        for part in fresh.chunk_by(|one, other| one.queue == other.queue) {
            let end = first + part.len();
            let submitted = appender.submit(part[0].queue, &encoded[first..end])?;
            first = end;
            progress.last = part.last().map_or(0, |part| part.number);
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

    /// As the store takes them.
    fn encoded(&self, parts: &[Part]) -> Result<Vec<foliomq_store::Message<'_>>, Refusal> {
        let one = |part: &Part| {
            let body = self.bytes.get(part.body.clone()).unwrap_or_default();
            Ok(part.properties.message(&self.written, body)?)
        };
        parts.iter().map(one).collect()
    }
}

/// Where a part of the bytes lies in them.
fn place_in(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    let place = start..start.wrapping_add(part.len());
    debug_assert!(part.is_empty() || bytes.get(place.clone()) == Some(part));
    place
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
