//! Delayed messages: hidden until their time, recalled before it.

use std::sync::atomic::Ordering;

use foliomq_store::{Appended, Awaits, Message, StoreError};

use crate::pending::Pending;
use crate::shared::Shared;
use crate::ticket::{Purpose, Ticket};
use crate::{DeliveryError, Timestamp};

/// Messages that are revealed before others have a turn.
const BATCH: usize = 256;
/// Milliseconds after which what could not be revealed is tried again.
const RETRY: u64 = 1000;

/// A delayed message that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delayed {
    /// Where it lies; it has no place in a queue yet.
    pub appended: Appended,
    /// Recalls it: opaque, checked by a keyed hash, good across restarts.
    pub recall_handle: String,
}

/// What [`Groups::deliver_due`](crate::Groups::deliver_due) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Messages that are in their queues now.
    pub revealed: usize,
    /// When to call again, if no message comes before; `None`: nothing waits.
    pub next: Option<Timestamp>,
}

impl Shared {
    pub fn submit_delayed(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[(Timestamp, Message<'_>)],
        now: Timestamp,
    ) -> Result<Vec<Delayed>, DeliveryError> {
        for (due, _) in messages {
            self.check_due(*due, now)?;
        }
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= self.options.max_delayed {
            let what = format!("{waiting} delayed messages wait, as many as may");
            return Err(DeliveryError::TooMany { what });
        }
        let found = self.store.topic(topic).ok_or_else(|| unknown(topic))?;
        let hidden: Vec<_> = messages
            .iter()
            .map(|(due, message)| (Awaits::Time(*due), message))
            .collect();
        let appended = self.store.submit_hidden(topic, queue, &hidden)?;
        let delayed = |(appended, (due, _)): (Appended, &(Timestamp, Message<'_>))| Delayed {
            recall_handle: self.recall_handle(found.id, appended.position, *due),
            appended,
        };
        Ok(appended.into_iter().zip(messages).map(delayed).collect())
    }

    /// Whether a message may wait for so long.
    pub fn check_due(&self, due: Timestamp, now: Timestamp) -> Result<(), DeliveryError> {
        let horizon = self.options.max_delay;
        if due <= now.saturating_add(horizon.as_millis() as u64) {
            return Ok(());
        }
        let what = format!("the delivery time is more than {horizon:?} ahead");
        Err(DeliveryError::IllegalTime { what })
    }

    /// The recall handle of the delayed message with this message id, if one was ever appended that the log still has.
    pub fn find_delayed(
        &self,
        topic: &str,
        message_id: &str,
    ) -> Result<Option<String>, DeliveryError> {
        let found = self.store.topic(topic).ok_or_else(|| unknown(topic))?;
        let hidden = self.store.find_delayed(topic, message_id)?;
        Ok(hidden.and_then(|hidden| match hidden.awaits {
            Awaits::Time(due) => Some(self.recall_handle(found.id, hidden.id, due)),
            Awaits::Decision(_) => None,
        }))
    }

    fn recall_handle(&self, topic_id: u32, id: u64, time: Timestamp) -> String {
        let ticket = Ticket {
            purpose: Purpose::Recall,
            topic_id,
            id,
            time,
        };
        ticket.seal(&self.key)
    }

    pub fn recall(
        &self,
        topic: &str,
        handle: &str,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        let ticket = self.ticket(topic, handle, Purpose::Recall)?;
        self.store.catch_up();
        let mut pending = self.settled(|old| old.id == ticket.id);
        pending.follow(&self.store)?;
        let gone = || DeliveryError::NotWaiting {
            what: "it is delivered or recalled already",
        };
        if ticket.time <= now.max(pending.taken_to) || !pending.waiting.recall(ticket.id) {
            return Err(gone());
        }
        let recalled = self.cancel(&pending, ticket.id);
        if recalled.is_err() {
            pending.waiting.restore(ticket.id);
        }
        self.count(&pending);
        drop(pending);
        let (id, end) = match recalled {
            Err(DeliveryError::Store(StoreError::Deleted { .. })) => return Err(gone()),
            recalled => recalled?,
        };
        self.store.wait_committed(end)?;
        Ok(id)
    }

    /// What a ticket says, if it is good for the purpose and the topic.
    pub fn ticket(
        &self,
        topic: &str,
        text: &str,
        purpose: Purpose,
    ) -> Result<Ticket, DeliveryError> {
        let ticket = Ticket::open(&self.key, text, purpose)?;
        let found = self.store.topic(topic).ok_or_else(|| unknown(topic))?;
        if found.id != ticket.topic_id {
            return Err(purpose.invalid("it is of another topic"));
        }
        Ok(ticket)
    }

    /// Notes that a message is given up; returns its message id, and the position to wait for.
    fn cancel(&self, pending: &Pending, id: u64) -> Result<(String, u64), DeliveryError> {
        let position = pending.position(id);
        let hidden = self.store.hidden(position)?;
        #[cfg(test)]
        if crate::planted::Bug::RecallForgotten.is_planted() {
            return Ok((hidden.message.id().into_owned(), 0));
        }
        let end = self.store.cancel(id, position)?;
        Ok((hidden.message.id().into_owned(), end))
    }

    pub fn deliver_due(&self, now: Timestamp) -> Result<Due, DeliveryError> {
        #[cfg(test)]
        let now = crate::planted::due(now);
        let (mut due, mut end) = (Due::default(), 0);
        loop {
            let mut pending = self.settled(|old| old.due <= now);
            pending.follow(&self.store)?;
            pending.taken_to = pending.taken_to.max(now);
            let taken = pending.waiting.take_due(now, BATCH);
            if taken.is_empty() {
                due.next = pending.waiting.next();
                self.count(&pending);
                break;
            }
            let ids: Vec<u64> = taken.into_iter().map(|(_, id)| id).collect();
            let (revealed, up_to) = self.reveal(&mut pending, &ids, now)?;
            due.revealed += revealed;
            end = end.max(up_to);
        }
        if end > 0 {
            self.store.wait_committed(end)?;
        }
        Ok(due)
    }

    /// Puts messages into their queues; returns how many, and the position to wait for. What cannot be is tried again later,
    /// or given up where that will not help.
    fn reveal(
        &self,
        pending: &mut Pending,
        ids: &[u64],
        now: Timestamp,
    ) -> Result<(usize, u64), DeliveryError> {
        let positions: Vec<u64> = ids.iter().map(|&id| pending.position(id)).collect();
        let later = now.saturating_add(RETRY);
        let (mut at, mut count, mut end) = (0, 0, 0);
        while at < ids.len() {
            let revealed = match self.store.reveal(&positions[at..]) {
                Ok(revealed) => revealed,
                Err(error) => {
                    ids[at..]
                        .iter()
                        .for_each(|&id| pending.waiting.add(later, id));
                    return Err(error.into());
                }
            };
            let range = at..at + revealed.taken;
            at = range.end;
            end = end.max(revealed.end);
            count += revealed.taken - revealed.refused.len();
            for (position, error) in revealed.refused {
                let refused = range.clone().find(|&n| positions[n] == position);
                let Some(id) = refused.map(|n| ids[n]) else {
                    continue;
                };
                end = end.max(self.refused(pending, (id, position), error, later)?);
            }
        }
        Ok((count, end))
    }

    /// A message that is due and cannot be put into its queue.
    fn refused(
        &self,
        pending: &mut Pending,
        (id, position): (u64, u64),
        error: StoreError,
        later: Timestamp,
    ) -> Result<u64, DeliveryError> {
        let gone = matches!(
            error,
            StoreError::UnknownTopic { .. }
                | StoreError::UnknownQueue { .. }
                | StoreError::Lost { .. }
                | StoreError::Deleted { .. }
        );
        if gone {
            tracing::warn!(%error, position, "a delayed message is given up");
            return Ok(self.store.cancel(id, position)?);
        }
        tracing::warn!(%error, position, "a delayed message cannot be delivered now");
        pending.waiting.add(later, id);
        Ok(0)
    }

    /// Notes how many wait, for those who ask without the lock.
    pub fn count(&self, pending: &Pending) {
        self.waiting.store(pending.waiting.len(), Ordering::Relaxed);
        self.halves.store(pending.halves.len(), Ordering::Relaxed);
    }
}

pub(crate) fn unknown(topic: &str) -> DeliveryError {
    let topic = topic.to_owned();
    StoreError::UnknownTopic { topic }.into()
}
