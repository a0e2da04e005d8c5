//! What the broker has said of each message, and what it may therefore do no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, ensure};
use foliomq_proto::v2::Message;

use crate::kind::MessageKind;

/// A message: its sender and its number among the sender's messages, which its body names.
pub type Item = (u32, u64);

/// What is known of all messages.
#[derive(Default)]
pub struct Ledger {
    next: BTreeMap<u32, u64>,
    /// Stored, as the broker said.
    pub sent: BTreeSet<Item>,
    /// Stored, and nobody has asked for them to be acknowledged: not even without an answer.
    pub unsettled: BTreeSet<Item>,
    settled: BTreeSet<Item>,
    /// Acknowledged, as the broker said.
    pub acked: BTreeSet<Item>,
    /// The last attempt of each message that came.
    attempts: BTreeMap<Item, i32>,
    /// Deliveries with an attempt above 1.
    pub again: usize,
    /// What went wrong.
    pub faults: Vec<String>,
}

/// A ledger that tasks share.
pub type Shared = Arc<Mutex<Ledger>>;

/// The ledger for a moment; do not hold it across an await.
pub fn locked(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no panic holds the lock")
}

impl Ledger {
    /// The next number of a sender: none is sent twice.
    pub fn take_number(&mut self, sender: u32) -> u64 {
        let next = self.next.entry(sender).or_default();
        *next += 1;
        *next - 1
    }

    /// The broker has said that it has the message.
    pub fn stored(&mut self, item: Item) {
        self.sent.insert(item);
        if !self.settled.contains(&item) {
            self.unsettled.insert(item);
        }
    }

    /// Notes a batch; returns its messages.
    ///
    /// # Errors
    /// If a body is none that anybody sent.
    pub fn received(
        &mut self,
        kind: &dyn MessageKind,
        receiver: u32,
        batch: &[Message],
    ) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(batch.len());
        for message in batch {
            let item = item(&message.body)?;
            if let Err(fault) = self.check(kind, &items, item, message) {
                self.faults.push(format!("{fault:#}"));
            }
            if !kind.is_for(receiver, item) {
                let fault = format!("{item:?} came to receiver {receiver}, who did not ask for it");
                self.faults.push(fault);
            }
            items.push(item);
        }
        Ok(items)
    }

    fn check(
        &mut self,
        kind: &dyn MessageKind,
        before: &[Item],
        item: Item,
        message: &Message,
    ) -> Result<()> {
        let system = message.system_properties.as_ref();
        let attempt = system.and_then(|system| system.delivery_attempt);
        let attempt = attempt.context("a message without an attempt")?;
        let last = self.attempts.insert(item, attempt).unwrap_or(0);
        self.again += usize::from(attempt > 1);
        ensure!(attempt > last, "attempt {attempt} of {item:?} after {last}");
        ensure!(
            !self.acked.contains(&item),
            "{item:?} was acknowledged and came again"
        );
        kind.check(self, before, item, message)
    }

    /// An acknowledgement is asked for: from now on it may be done.
    pub fn settling(&mut self, items: &[Item]) {
        for item in items {
            self.settled.insert(*item);
            self.unsettled.remove(item);
        }
    }

    /// How many messages are stored and not acknowledged.
    pub fn left(&self) -> usize {
        self.sent.difference(&self.acked).count()
    }
}

fn item(body: &[u8]) -> Result<Item> {
    let text = std::str::from_utf8(body).context("a body that nobody sent")?;
    let (sender, number) = text.split_once(':').context("a body that nobody sent")?;
    Ok((sender.parse()?, number.parse()?))
}
