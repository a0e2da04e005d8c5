//! Transactions: a half message is hidden until its sender commits it, rolls it back, or cannot be asked any more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use foliomq_store::{Appended, Awaits, Message, StoreError, StoredMessage};

use crate::delayed::unknown;
use crate::ended::Resolution;
use crate::pending::{Half, Pending};
use crate::record::Record;
use crate::shared::Shared;
use crate::ticket::{Purpose, Ticket};
use crate::{DeliveryError, Timestamp};

/// Questions that are asked in one go.
const MOST: usize = 1024;

/// A half message that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfMessage {
    /// Where it lies; it has no place in a queue yet.
    pub appended: Appended,
    /// Ends the transaction: opaque, checked by a keyed hash, good across restarts.
    pub transaction_id: String,
}

/// What is asked about a half message that nobody has decided about.
#[derive(Debug, Clone)]
pub struct Question {
    /// The message.
    pub message: StoredMessage,
    /// Its transaction.
    pub transaction_id: String,
}

impl Shared {
    pub fn submit_half(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[(Option<Duration>, Message<'_>)],
        now: Timestamp,
    ) -> Result<Vec<HalfMessage>, DeliveryError> {
        let open = self.halves.load(Ordering::Relaxed);
        if open >= self.options.max_transactions {
            let what = format!("{open} transactions are open, as many as may");
            return Err(DeliveryError::TooMany { what });
        }
        let found = self.store.topic(topic).ok_or_else(|| unknown(topic))?;
        let ask_at = |after: Option<Duration>| {
            let after = after.unwrap_or(self.options.first_check);
            now.saturating_add(after.as_millis() as u64)
        };
        let hidden: Vec<_> = messages
            .iter()
            .map(|(after, message)| (Awaits::Decision(ask_at(*after)), message))
            .collect();
        let appended = self.store.submit_hidden(topic, queue, &hidden)?;
        let half = |appended: Appended| HalfMessage {
            transaction_id: self.transaction_id(found.id, appended.position),
            appended,
        };
        Ok(appended.into_iter().map(half).collect())
    }

    fn transaction_id(&self, topic_id: u32, id: u64) -> String {
        let ticket = Ticket {
            purpose: Purpose::Transaction,
            topic_id,
            id,
            time: 0,
        };
        ticket.seal(&self.key)
    }

    pub fn end_transaction(
        &self,
        topic: &str,
        transaction_id: &str,
        resolution: Resolution,
    ) -> Result<(), DeliveryError> {
        let ticket = self.ticket(topic, transaction_id, Purpose::Transaction)?;
        self.store.catch_up();
        let mut pending = self.settled(|old| old.id == ticket.id);
        pending.follow(&self.store)?;
        let end = match pending.halves.contains_key(&ticket.id) {
            true => self.decide(&mut pending, ticket.id, resolution)?,
            false => {
                return match pending.ended.find(ticket.id) {
                    Some(end) if end == resolution => Ok(()),
                    Some(Resolution::Commit) => Err(invalid("it was committed")),
                    Some(Resolution::Rollback) => Err(invalid("it was rolled back")),
                    None => Err(invalid("it is over, or never was")),
                };
            }
        };
        drop(pending);
        Ok(self.store.wait_committed(end)?)
    }

    /// Ends an open transaction; returns the position to wait for.
    fn decide(
        &self,
        pending: &mut Pending,
        id: u64,
        resolution: Resolution,
    ) -> Result<u64, DeliveryError> {
        let position = pending.position(id);
        #[cfg(test)]
        let resolution = crate::planted::carried_out(resolution);
        let end = match resolution {
            Resolution::Rollback => self.store.cancel(id, position)?,
            Resolution::Commit => {
                let mut revealed = self.store.reveal(&[position])?;
                if let Some((_, error)) = revealed.refused.pop() {
                    return Err(error.into());
                }
                revealed.end
            }
        };
        pending.halves.remove(&id);
        pending.ended.add(id, resolution);
        self.count(pending);
        Ok(end)
    }

    pub fn ask(
        &self,
        now: Timestamp,
        mut ask: impl FnMut(Question) -> bool,
    ) -> Result<(), DeliveryError> {
        let due: Vec<(u64, Half, u64)> = {
            let mut pending = self.pending.lock();
            pending.follow(&self.store)?;
            self.count(&pending);
            pending.due_halves(now, MOST)
        };
        let mut end = 0;
        for (id, half, position) in due {
            let age = Duration::from_millis(now.saturating_sub(half.since));
            let over =
                half.asked >= self.options.max_checks || age > self.options.max_transaction_age;
            if over {
                end = end.max(self.give_up(id, position)?);
                continue;
            }
            match self.question(id, position) {
                Ok(question) => self.note_asked(id, ask(question), now)?,
                Err(DeliveryError::Store(error)) if is_gone(&error) => {
                    tracing::warn!(%error, position, "a half message is given up");
                    end = end.max(self.give_up(id, position)?);
                }
                Err(error) => return Err(error),
            }
        }
        if end > 0 {
            self.store.wait_committed(end)?;
        }
        Ok(())
    }

    fn question(&self, id: u64, position: u64) -> Result<Question, DeliveryError> {
        let message = self.store.hidden(position)?.message;
        let topic = self.store.topic(message.topic());
        let topic = topic.ok_or_else(|| unknown(message.topic()))?;
        Ok(Question {
            message,
            transaction_id: self.transaction_id(topic.id, id),
        })
    }

    /// Rolls back, unless somebody has decided meanwhile.
    fn give_up(&self, id: u64, position: u64) -> Result<u64, DeliveryError> {
        let mut pending = self.settled(|old| old.id == id);
        if !pending.halves.contains_key(&id) {
            return Ok(0);
        }
        tracing::info!(position, "a transaction without an end is rolled back");
        self.decide(&mut pending, id, Resolution::Rollback)
    }

    /// Notes that somebody was asked, or that nobody was there.
    fn note_asked(&self, id: u64, asked: bool, now: Timestamp) -> Result<(), DeliveryError> {
        let mut pending = self.pending.lock();
        // Nobody was there: it is asked the next time, and this did not count.
        let Some(half) = pending.halves.get_mut(&id).filter(|_| asked) else {
            return Ok(());
        };
        half.asked += 1;
        let interval = self.options.check_interval.as_millis() as u64;
        half.ask_at = now.saturating_add(interval);
        let half = *half;
        self.journal.append(&Record::Asked { id, half })?;
        Ok(())
    }
}

/// Whether a message can never be delivered.
fn is_gone(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::UnknownTopic { .. } | StoreError::Lost { .. } | StoreError::Deleted { .. }
    )
}

fn invalid(what: &'static str) -> DeliveryError {
    Purpose::Transaction.invalid(what)
}
