//! Senders and receivers that keep a ledger of what the broker has acknowledged to them.
//!
//! A message's body is `sender:number`; a sender numbers its messages from 0, sends one after the
//! other, and never sends a number twice. So whatever comes out can be checked against the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::admin::Stored;
use crate::driver::{Kind, Outgoing, Received};
use crate::session::{BATCH, INVISIBLE, Producer, Session, Simple};

/// Pause after a failed call, so that a caller does not spin while the broker is away.
const PAUSE: Duration = Duration::from_millis(50);
/// A short wait, so that receivers notice soon that they shall stop.
const POLL: Duration = Duration::from_secs(1);

/// A message: its sender and its number among the sender's messages.
pub type Item = (u32, u64);

/// What the broker has acknowledged.
#[derive(Default)]
pub struct Ledger {
    /// The next number of each sender.
    next: BTreeMap<u32, u64>,
    /// Sends that were answered with OK.
    pub sent: BTreeSet<Item>,
    /// Messages that a receiver has seen.
    pub seen: BTreeSet<Item>,
    /// Acknowledgements that were answered with OK.
    pub acked: BTreeSet<Item>,
    /// Acknowledged messages that came again.
    pub came_back: Vec<Item>,
}

impl Ledger {
    /// Checks what a topic holds: nothing acknowledged is missing, each queue's offsets follow one
    /// another, and each sender's messages stand in a queue in the order in which they were sent.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn check(&self, contents: &[Stored]) -> Result<()> {
        let mut stored = BTreeSet::new();
        let mut offsets: BTreeMap<u32, u64> = BTreeMap::new();
        let mut newest: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for message in contents {
            let expected = offsets.entry(message.queue).or_default();
            let (queue, offset) = (message.queue, message.offset);
            ensure!(
                offset == *expected,
                "queue {queue}: {offset} where {expected} was expected"
            );
            *expected += 1;
            let (sender, number) = item(&message.body)?;
            if let Some(before) = newest.insert((queue, sender), number) {
                ensure!(
                    before < number,
                    "queue {queue}: {sender}:{number} after {before}"
                );
            }
            stored.insert((sender, number));
        }
        let missing: Vec<_> = self.sent.difference(&stored).take(5).collect();
        ensure!(
            missing.is_empty(),
            "acknowledged and missing: {missing:?}, ..."
        );
        ensure!(
            self.came_back.is_empty(),
            "acked and delivered again: {:?}",
            self.came_back
        );
        Ok(())
    }

    fn take_number(&mut self, sender: u32) -> u64 {
        let next = self.next.entry(sender).or_default();
        *next += 1;
        *next - 1
    }

    fn see(&mut self, item: Item) {
        self.seen.insert(item);
        if self.acked.contains(&item) {
            self.came_back.push(item);
        }
    }
}

/// A ledger that tasks share.
pub type Shared = Arc<Mutex<Ledger>>;

/// The ledger for a moment; do not hold it across an await.
pub fn locked(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no panic holds the lock")
}

/// Running senders and receivers.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Load {
    /// Starts `senders` and `receivers`, each with a connection of its own.
    ///
    /// # Errors
    /// If one of them cannot start.
    pub async fn start(
        address: SocketAddr,
        topic: &str,
        senders: u32,
        receivers: u32,
        ledger: &Shared,
    ) -> Result<Self> {
        let mut load = Self {
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for sender in 0..senders {
            let session = Session::open(Kind::Raw, address, &[]).await?;
            let producer = session
                .producer(&[topic])
                .await
                .context("start of a sender")?;
            let (ledger, stop, topic) = (ledger.clone(), load.stop.clone(), topic.to_owned());
            load.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    send_next(&producer, &topic, sender, &ledger).await;
                }
                Ok(())
            });
        }
        for _ in 0..receivers {
            let session = Session::open(Kind::Raw, address, &[]).await?;
            let consumer = session.simple_with("load", topic, "*", POLL).await;
            let consumer = consumer.context("start of a receiver")?;
            let (ledger, stop) = (ledger.clone(), load.stop.clone());
            load.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    receive_next(&consumer, &ledger).await?;
                }
                Ok(())
            });
        }
        Ok(load)
    }

    /// Lets everyone finish the call that is under way, and waits for them.
    ///
    /// # Errors
    /// If a receiver saw a message that nobody sent.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task??;
        }
        Ok(())
    }
}

async fn send_next(producer: &Producer, topic: &str, sender: u32, ledger: &Shared) {
    let number = locked(ledger).take_number(sender);
    let message = Outgoing::new(topic, format!("{sender}:{number}"));
    match producer.send(message).await {
        Ok(_) => _ = locked(ledger).sent.insert((sender, number)),
        Err(_) => sleep(PAUSE).await,
    }
}

async fn receive_next(consumer: &Simple, ledger: &Shared) -> Result<()> {
    let Ok(messages) = consumer.receive(BATCH, INVISIBLE).await else {
        sleep(PAUSE).await;
        return Ok(());
    };
    let items = note_seen(&messages, ledger)?;
    if consumer.ack_all(&messages).await.is_ok() {
        locked(ledger).acked.extend(items);
    }
    Ok(())
}

/// Receives and acknowledges until every acknowledged send has been seen.
///
/// # Errors
/// If that does not happen within `limit`.
pub async fn drain(consumer: &Simple, ledger: &Shared, limit: Duration) -> Result<()> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let missing = {
            let ledger = locked(ledger);
            ledger.sent.difference(&ledger.seen).count()
        };
        if missing == 0 {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "{missing} messages did not come"
        );
        receive_next(consumer, ledger).await?;
    }
}

fn note_seen(messages: &[Received], ledger: &Shared) -> Result<Vec<Item>> {
    let items = messages.iter().map(|message| item(&message.body));
    let items: Vec<Item> = items.collect::<Result<_>>()?;
    let mut ledger = locked(ledger);
    items.iter().for_each(|item| ledger.see(*item));
    Ok(items)
}

fn item(body: &[u8]) -> Result<Item> {
    let text = std::str::from_utf8(body).context("a body that nobody sent")?;
    let (sender, number) = text.split_once(':').context("a body that nobody sent")?;
    Ok((sender.parse()?, number.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(queue: u32, offset: u64, body: &str) -> Stored {
        Stored {
            queue,
            offset,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn finds_what_is_wrong() {
        let ledger = Ledger {
            sent: BTreeSet::from([(0, 0), (0, 1)]),
            ..Ledger::default()
        };
        let good = [
            stored(0, 0, "0:0"),
            stored(0, 1, "0:1"),
            stored(0, 2, "0:2"),
        ];
        assert!(ledger.check(&good).is_ok());
        assert!(ledger.check(&good[..1]).is_err(), "a message is missing");
        assert!(
            ledger.check(&[good[0].clone(), good[2].clone()]).is_err(),
            "an offset is missing"
        );
        let swapped = [stored(0, 0, "0:1"), stored(0, 1, "0:0")];
        assert!(ledger.check(&swapped).is_err(), "the order is wrong");
    }
}
