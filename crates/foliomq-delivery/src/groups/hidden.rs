//! Delayed messages and transactions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use foliomq_store::Message;

use super::Groups;
use crate::{Delayed, DeliveryError, Due, HalfMessage, Question, Resolution, Timestamp};

impl Groups {
    /// Appends messages that are delivered at their times, all or none, *without* waiting: they may be acknowledged once
    /// the last is committed. `queue` is where they go; `None`: the next in turn. One whose time is past is delivered by the
    /// next [`deliver_due`](Self::deliver_due).
    pub fn submit_delayed(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[(Timestamp, Message<'_>)],
        now: Timestamp,
    ) -> Result<Vec<Delayed>, DeliveryError> {
        self.shared.submit_delayed(topic, queue, messages, now)
    }

    /// Whether a message may be delivered that late.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::IllegalTime`].
    pub fn check_due(&self, due: Timestamp, now: Timestamp) -> Result<(), DeliveryError> {
        self.shared.check_due(due, now)
    }

    /// The recall handle of the delayed message with this message id, whatever became of it since; `None` if the log has none
    /// of it.
    pub fn find_delayed(
        &self,
        topic: &str,
        message_id: &str,
    ) -> Result<Option<String>, DeliveryError> {
        self.shared.find_delayed(topic, message_id)
    }

    /// Gives up a delayed message before its time, and waits until that is committed; returns its message id.
    pub fn recall(
        &self,
        topic: &str,
        handle: &str,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        self.shared.recall(topic, handle, now)
    }

    /// Puts the delayed messages that are due into their queues, and waits until that is committed. To be called at the time
    /// that it returns, and when [`Store::listen_ledger`](foliomq_store::Store::listen_ledger) wakes: a call in between finds nothing to do, at no cost.
    pub fn deliver_due(&self, now: Timestamp) -> Result<Due, DeliveryError> {
        self.shared.deliver_due(now)
    }

    /// How many delayed messages wait, as of the last [`deliver_due`](Self::deliver_due).
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Appends half messages, all or none, *without* waiting: nobody gets them before their transaction is committed. Each may
    /// say after how long somebody is asked about it first.
    pub fn submit_half(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[(Option<Duration>, Message<'_>)],
        now: Timestamp,
    ) -> Result<Vec<HalfMessage>, DeliveryError> {
        self.shared.submit_half(topic, queue, messages, now)
    }

    /// Commits a half message or rolls it back, and waits until that is committed. The same once more is OK.
    pub fn end_transaction(
        &self,
        topic: &str,
        transaction_id: &str,
        resolution: Resolution,
    ) -> Result<(), DeliveryError> {
        self.shared
            .end_transaction(topic, transaction_id, resolution)
    }

    /// Calls `ask` for each transaction that is to be asked about now; it says whether there was somebody to ask. One that was
    /// asked about often enough is rolled back. About once a second.
    pub fn ask(
        &self,
        now: Timestamp,
        ask: impl FnMut(Question) -> bool,
    ) -> Result<(), DeliveryError> {
        self.shared.ask(now, ask)
    }

    /// How many transactions are open, as of the last [`ask`](Self::ask).
    pub fn transactions(&self) -> usize {
        self.shared.halves.load(Ordering::Relaxed)
    }
}
