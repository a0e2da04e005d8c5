//! PullMessage: messages of one queue from an offset on, without a lease. Who pulls keeps its own place, in the broker by
//! UpdateOffset or elsewhere; several who pull for one group each get everything, as broadcast consumption wants it.

use std::sync::Arc;
use std::time::Duration;

use foliomq_delivery::Filter;
use foliomq_proto::v2::{Code, PullMessageRequest};
use foliomq_store::StoredMessage;
use tokio::time::{Instant, sleep_until};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::catch_up::Reader;
use crate::name;
use crate::offsets::{offset, queue};
use crate::properties::unix_ms;
use crate::pulled::Pulled;
use crate::receive::{MAX_BATCH, filter, polling_time};
use crate::scan::{Found, Scan};
use crate::status::Refusal;
use crate::topic_settings::readable;

/// A pull that finds nothing, and yet moved, answers after this long, so that who pulls can note how far it is.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// A request that was found good.
struct Pull {
    topic: String,
    queue: u32,
    filter: Filter,
    most: usize,
    until: Instant,
}

/// Answers one request; the errors of the protocol are in the frames.
pub(crate) async fn pull(
    broker: Arc<Broker>,
    caller: &Caller,
    request: PullMessageRequest,
) -> Pulled {
    let topic = request
        .message_queue
        .as_ref()
        .and_then(|queue| queue.topic.clone())
        .unwrap_or_default();
    match answer(&broker, caller, request).await {
        Ok(found) if found.messages.is_empty() => {
            let none = Refusal::new(
                Code::MessageNotFound,
                "no message came within the polling time",
            );
            refused(broker, none, caller, Some(found.next))
        }
        Ok(found) => {
            broker.delivered.add(found.messages.len(), unix_ms());
            Pulled::new(broker, topic, found.messages, found.next)
        }
        Err((refusal, nearest)) => refused(broker, refusal, caller, nearest),
    }
}

/// An answer without messages; `next` is where a pull can go on.
pub(crate) fn refused(
    broker: Arc<Broker>,
    refusal: Refusal,
    caller: &Caller,
    next: Option<u64>,
) -> Pulled {
    Pulled::empty(broker, refusal.status(caller.language), next)
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
        let reader = Reader::of((&topic, queue));
        broker
            .reading(reader, move |handles| {
                let scan = Scan {
                    topic: &topic,
                    queue,
                    filter: &filter,
                    most,
                };
                let found = scan.look(&handles.store, from)?;
                found.messages.iter().for_each(StoredMessage::touch);
                Ok(found)
            })
            .await
    }
}
