//! What times a group's queues span: its oldest and newest message, and how far the group is.

use foliomq_delivery::{DeliveryError, GroupQueue};
use foliomq_proto::v2::MessageQueue;
use foliomq_proto::v2::query_time_span_response::QueueTimeSpan;
use foliomq_store::Store;

use crate::broker::Handles;
use crate::name;
use crate::properties::unix_ms;
use crate::status::Refusal;

/// Of the queues that the group reads in these topics; without topics, of all. Times are Unix milliseconds, 0 where there
/// is no message.
pub(crate) fn time_spans(
    handles: &Handles,
    group: String,
    topics: &[String],
) -> Result<Vec<QueueTimeSpan>, Refusal> {
    let unknown = || DeliveryError::UnknownGroup {
        group: group.clone(),
    };
    let found = handles.groups.group(&group).ok_or_else(unknown)?;
    let wanted = |queue: &&GroupQueue| topics.is_empty() || topics.contains(&queue.topic);
    let queues = found.queues.iter().filter(wanted);
    queues.map(|queue| span(&handles.store, queue)).collect()
}

/// How far a group is in a queue, in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// When the newest message was stored of those below which all are done.
    pub(crate) done: i64,
    /// Milliseconds since the oldest was stored that is not done.
    pub(crate) delay: i64,
}

pub(crate) fn reached(store: &Store, queue: &GroupQueue) -> Result<Reached, Refusal> {
    let waiting = time(store, queue, Some(queue.committed))?;
    Ok(Reached {
        done: time(store, queue, queue.committed.checked_sub(1))?,
        delay: match waiting {
            0 => 0,
            since => (unix_ms() as i64).saturating_sub(since).max(0),
        },
    })
}

fn span(store: &Store, queue: &GroupQueue) -> Result<QueueTimeSpan, Refusal> {
    let offsets = store.offsets(&queue.topic, queue.queue)?;
    let Reached { done, delay } = reached(store, queue)?;
    Ok(QueueTimeSpan {
        message_queue: Some(MessageQueue {
            topic: Some(name::resource(&queue.topic)),
            id: queue.queue as i32,
            ..MessageQueue::default()
        }),
        min_timestamp: time(store, queue, Some(offsets.start))?,
        max_timestamp: time(store, queue, offsets.end.checked_sub(1))?,
        consume_timestamp: done,
        delay_time_ms: delay,
    })
}

/// When the message at an offset was stored; 0 if there is none.
fn time(store: &Store, queue: &GroupQueue, offset: Option<u64>) -> Result<i64, Refusal> {
    let offsets = store.offsets(&queue.topic, queue.queue)?;
    match offset {
        Some(offset) if offsets.contains(&offset) => stored(store, queue, offset),
        _ => Ok(0),
    }
}

/// When a message was stored; 0 if retention has just taken it.
fn stored(store: &Store, queue: &GroupQueue, offset: u64) -> Result<i64, Refusal> {
    let mut entries = Vec::new();
    let read = store.entries(&queue.topic, queue.queue, offset, 1, &mut entries)?;
    let entry = entries.first().filter(|_| read.start == offset);
    Ok(entry.map_or(0, |entry| entry.store_time as i64))
}
