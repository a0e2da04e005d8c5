//! PullMessage: messages of one queue from an offset on, without a lease. Who pulls keeps its own place, in the broker by
//! UpdateOffset or elsewhere; several who pull for one group each get everything, as broadcast consumption wants it.

use std::time::Duration;

use foliomq_delivery::Filter;
use foliomq_proto::v2::{
    Code, PullMessageRequest, PullMessageResponse, Resource, pull_message_response::Content,
};
use foliomq_store::{Store, StoreError, StoredMessage};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::name;
use crate::offsets::{offset, queue};
use crate::properties::{read_message, unix_ms};
use crate::receive::{MAX_BATCH, filter, polling_time};
use crate::status::{Refusal, ok};
use crate::topic_settings::readable;

/// Most messages that one look goes over, for a filter that matches few.
const MAX_SCANNED: usize = 4096;
/// Index entries read at a time.
const CHUNK: usize = 256;
/// A pull that finds nothing, and yet moved, answers after this long, so that who pulls can note how far it is.
const FIRST_LOOK: Duration = Duration::from_secs(1);

type Parts = Vec<Result<PullMessageResponse, Status>>;

/// A request that was found good.
struct Pull {
    topic: String,
    queue: u32,
    filter: Filter,
    most: usize,
    until: Instant,
}

/// What a look at the queue found.
struct Found {
    messages: Vec<StoredMessage>,
    /// Where to go on.
    next: u64,
}

/// The parts of the answer: status, messages, next offset.
pub(crate) async fn pull(broker: &Broker, caller: &Caller, request: PullMessageRequest) -> Parts {
    let topic = request
        .message_queue
        .as_ref()
        .and_then(|queue| queue.topic.clone())
        .unwrap_or_default();
    match answer(broker, caller, request).await {
        Ok(found) if found.messages.is_empty() => {
            let none = Refusal::new(
                Code::MessageNotFound,
                "no message came within the polling time",
            );
            refused(none, caller, Some(found.next))
        }
        Ok(found) => parts(broker, &topic, &found),
        Err((refusal, nearest)) => refused(refusal, caller, nearest),
    }
}

/// An answer without messages; `next` is where a pull can go on.
pub(crate) fn refused(refusal: Refusal, caller: &Caller, next: Option<u64>) -> Parts {
    let status = Content::Status(refusal.status(caller.language));
    let next = next.map(|next| Content::NextOffset(next as i64));
    [Some(status), next]
        .into_iter()
        .flatten()
        .map(part)
        .collect()
}

fn parts(broker: &Broker, topic: &Resource, found: &Found) -> Parts {
    broker.delivered.add(found.messages.len(), unix_ms());
    let message = |message| read_message(message, topic.clone(), &broker.store_host);
    let messages = found.messages.iter().map(message).map(Content::Message);
    let status = std::iter::once(Content::Status(ok()));
    let next = std::iter::once(Content::NextOffset(found.next as i64));
    status.chain(messages).chain(next).map(part).collect()
}

fn part(content: Content) -> Result<PullMessageResponse, Status> {
    Ok(PullMessageResponse {
        content: Some(content),
    })
}

/// What there is, or why there can be nothing, and then perhaps the nearest offset at which there can.
async fn answer(
    broker: &Broker,
    caller: &Caller,
    request: PullMessageRequest,
) -> Result<Found, (Refusal, Option<u64>)> {
    let plain = |refusal: Refusal| (refusal, None);
    name::group(request.group.as_ref(), caller).map_err(plain)?;
    let (topic, queue) = queue(broker, caller, request.message_queue.as_ref())
        .await
        .map_err(plain)?;
    let held = broker
        .store
        .offsets(&topic, queue)
        .map_err(|error| plain(error.into()))?;
    let from = offset(request.offset).map_err(|refusal| (refusal, Some(held.start)))?;
    if from < held.start || from > held.end {
        let what = format!(
            "queue {queue} holds the offsets {} to {}, not {from}",
            held.start, held.end
        );
        let nearest = from.clamp(held.start, held.end);
        return Err((Refusal::new(Code::IllegalOffset, what), Some(nearest)));
    }
    let pull = Pull {
        topic,
        queue,
        filter: filter(broker, request.filter_expression.as_ref()).map_err(plain)?,
        most: usize::try_from(request.batch_size)
            .unwrap_or(0)
            .clamp(1, MAX_BATCH),
        until: Instant::now() + polling_time(request.long_polling_timeout.as_ref(), caller),
    };
    pull.wait(broker, caller, from).await.map_err(plain)
}

impl Pull {
    /// Waits until there is something, the time is over, the client or the server ends.
    async fn wait(&self, broker: &Broker, caller: &Caller, from: u64) -> Result<Found, Refusal> {
        let Ok(_permit) = broker.polls.try_acquire() else {
            return Err(Refusal::new(
                Code::TooManyRequests,
                "too many receives wait already",
            ));
        };
        let mut terminated = broker.clients.watch(caller);
        let mut stopping = broker.stopping.subscribe();
        let moved_until = Instant::now() + FIRST_LOOK;
        let mut next = from;
        loop {
            // Listened for before it is looked at: the permission, too, may change in between.
            let arrival = broker.store.listen(&self.topic)?;
            readable(broker, &self.topic)?;
            let found = self.look(broker, next).await?;
            let until = if found.next > from {
                self.until.min(moved_until)
            } else {
                self.until
            };
            if !found.messages.is_empty() || Instant::now() >= until || *stopping.borrow() {
                return Ok(found);
            }
            let more = found.next > next;
            next = found.next;
            if more {
                continue;
            }
            tokio::select! {
                () = arrival => {}
                () = sleep_until(until) => {}
                _ = terminated.changed() => return Ok(found),
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// What the filter lets through from `from` on. Reading may fault pages in: not on the runtime's threads.
    async fn look(&self, broker: &Broker, from: u64) -> Result<Found, Refusal> {
        let (topic, filter) = (self.topic.clone(), self.filter.clone());
        let (queue, most) = (self.queue, self.most);
        broker
            .blocking(move |handles| {
                let found = scan(&handles.store, &topic, queue, from, most, &filter)?;
                found.messages.iter().for_each(StoredMessage::touch);
                Ok(found)
            })
            .await
    }
}

fn scan(
    store: &Store,
    topic: &str,
    queue: u32,
    from: u64,
    most: usize,
    filter: &Filter,
) -> Result<Found, StoreError> {
    let mut found = Found {
        messages: Vec::new(),
        // Retention may have taken what was there when the pull began.
        next: from.max(store.offsets(topic, queue)?.start),
    };
    let end = found.next.saturating_add(MAX_SCANNED as u64);
    let mut entries = Vec::new();
    while found.next < end {
        entries.clear();
        // They begin later where retention has moved the queue's start up meanwhile.
        found.next = store
            .entries(topic, queue, found.next, CHUNK, &mut entries)?
            .start;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            if found.messages.len() == most {
                return Ok(found);
            }
            found.next += 1;
            if !filter.may_match(entry.tag_hash) {
                continue;
            }
            match store.message(entry) {
                Ok(message) if filter.matches(&message) => found.messages.push(message),
                Ok(_) => {}
                Err(error) if is_gone(store, topic, queue, found.next - 1, &error)? => {}
                Err(_) if !found.messages.is_empty() => {
                    // The next pull begins with it, and says why.
                    found.next -= 1;
                    return Ok(found);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Whether the message is lost for good, or retention took it meanwhile.
fn is_gone(
    store: &Store,
    topic: &str,
    queue: u32,
    offset: u64,
    error: &StoreError,
) -> Result<bool, StoreError> {
    Ok(matches!(error, StoreError::Lost { .. }) || offset < store.offsets(topic, queue)?.start)
}
