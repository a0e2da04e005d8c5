//! Stored messages in the hands of the native client, decoded or mapped.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foliomq_client::{
    Client, Consumer as Group, ConsumerOptions, MessageView, QueuePlace, QueueReader, ReaderOptions,
};
use foliomq_proto::v1::Queue;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use crate::consume::Consumer;
use crate::error::LoadError;
use crate::plan::Delivery;

/// Stored messages come without pauses; after one of this length there are no more.
const LULL: Duration = Duration::from_secs(1);
/// Messages that may wait in the client, and bytes of their bodies: of both deliveries the same.
const WINDOW: (u32, u64) = (1 << 16, 64 << 20);
/// Messages that are counted at a time.
const TALLY: u64 = 256;

/// Reads again and again, each time from the start.
pub(crate) async fn consume(consumer: &Consumer, client: &Client) -> Result<(), LoadError> {
    loop {
        let pass = consumer.pass.load(Ordering::Relaxed);
        let more = match consumer.plan.acknowledge {
            true => lease(consumer, group(consumer, client, pass), pass).await?,
            false => read(consumer, reader(consumer, client), pass).await?,
        };
        if !more {
            return Ok(());
        }
    }
}

fn reader(consumer: &Consumer, client: &Client) -> QueueReader {
    let place = |queue: &Queue| QueuePlace {
        topic: consumer.plan.topic.clone(),
        queue_id: queue.id,
        queue_offset: queue.min_offset,
    };
    let options = ReaderOptions {
        messages: WINDOW.0,
        bytes: WINDOW.1,
        mapped: consumer.plan.delivery == Delivery::Mapped,
        ..ReaderOptions::default()
    };
    client.queue_reader(consumer.queues.iter().map(place), options)
}

fn group(consumer: &Consumer, client: &Client, pass: u64) -> Group {
    let options = ConsumerOptions {
        messages: WINDOW.0,
        bytes: WINDOW.1,
        mapped: consumer.plan.delivery == Delivery::Mapped,
        ..ConsumerOptions::default()
    };
    client.consumer(consumer.group_of(pass), [&*consumer.plan.topic], options)
}

/// Until the pass is over (`true`), or all messages of the plan have come.
async fn read(consumer: &Consumer, mut reader: QueueReader, pass: u64) -> Result<bool, LoadError> {
    let mut tally = Tally::new(consumer, pass);
    loop {
        let message = match at_once(reader.next()) {
            Some(message) => message?,
            None => {
                if let Some(more) = tally.flush() {
                    return Ok(more);
                }
                match timeout(LULL, reader.next()).await {
                    Ok(message) => message?,
                    Err(_) => break,
                }
            }
        };
        look(consumer, &message)?;
        if let Some(more) = tally.add() {
            return Ok(more);
        }
    }
    consumer.exhausted(pass);
    Ok(true)
}

/// The same, with leases: each counts once it is acknowledged. As many acknowledgements are under way as the plan allows.
async fn lease(consumer: &Consumer, mut group: Group, pass: u64) -> Result<bool, LoadError> {
    let mut tally = Tally::new(consumer, pass);
    let mut acks = FuturesUnordered::new();
    loop {
        let next = async {
            match at_once(group.next()) {
                Some(lease) => Some(lease),
                None => timeout(LULL, group.next()).await.ok(),
            }
        };
        tokio::select! {
            biased;
            Some(done) = acks.next(), if !acks.is_empty() => {
                let () = done?;
                if let Some(more) = tally.add() {
                    return Ok(more);
                }
            }
            lease = next, if acks.len() < consumer.plan.in_flight => match lease {
                Some(lease) => {
                    let lease = lease?;
                    look(consumer, lease.message())?;
                    acks.push(lease.ack());
                }
                None => break,
            },
        }
        if acks.is_empty()
            && let Some(more) = tally.flush()
        {
            return Ok(more);
        }
    }
    consumer.exhausted(pass);
    Ok(true)
}

/// What is there already. A timer for each message would cost more than the message.
fn at_once<T>(next: impl Future<Output = T>) -> Option<T> {
    match pin!(next).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => Some(next),
        Poll::Pending => None,
    }
}

/// As a program would: at the bytes, of which some may come from memory.
fn look(consumer: &Consumer, message: &MessageView) -> Result<(), LoadError> {
    if message.is_mapped() != (consumer.plan.delivery == Delivery::Mapped) {
        let what = "the broker's pages cannot be mapped from here: it is another host, or its folder cannot be opened";
        return Err(LoadError::Plan(what.to_owned()));
    }
    let body = message.body();
    black_box((body.first(), body.last()));
    Ok(())
}

/// Messages that were not yet told to the load.
struct Tally<'a> {
    consumer: &'a Consumer,
    pass: u64,
    messages: u64,
}

impl<'a> Tally<'a> {
    fn new(consumer: &'a Consumer, pass: u64) -> Self {
        Self {
            consumer,
            pass,
            messages: 0,
        }
    }

    /// One more came. What comes next, if not more messages: another pass (`true`), or the end.
    fn add(&mut self) -> Option<bool> {
        self.messages += 1;
        match self.messages {
            TALLY => self.flush(),
            _ => None,
        }
    }

    /// As [`add`](Self::add), without one.
    fn flush(&mut self) -> Option<bool> {
        let messages = std::mem::take(&mut self.messages);
        if messages > 0 && !self.consumer.note(self.pass, messages) {
            return Some(false);
        }
        let over = self.consumer.pass.load(Ordering::Relaxed) != self.pass;
        over.then_some(true)
    }
}
