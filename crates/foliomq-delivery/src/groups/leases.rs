//! Receives, and what becomes of their deliveries.

use std::time::Duration;

use event_listener::EventListener;

use super::Groups;
use crate::lease::Handles;
use crate::settle::PutOff;
use crate::{DeliveryError, Receive, Received, Timestamp};

impl Groups {
    /// Leases up to `most` messages from all queues of the topic: expired leases first (attempt + 1; past the group's
    /// maximum to `%DLQ%group`), then new ones. A group that is not there is created; it begins at the earliest message.
    ///
    /// In a topic of the type [`Priority`](foliomq_store::TopicType::Priority) each queue is a level, and the highest comes first, expired
    /// leases before new messages in each. It is strict: a lower level waits for as long as a higher one has messages.
    pub fn receive(
        &self,
        request: &Receive<'_>,
        now: Timestamp,
    ) -> Result<Received, DeliveryError> {
        self.shared.receive(request, None, now)
    }

    /// The same, named by `attempt` (128 bytes count; a longer name counts as none): if the group is ordered and the last
    /// batch of a queue went to a receive of this name, that batch comes again, with new handles and the same attempts. So
    /// a client that lost an answer asks again without waiting for the leases to end, also after a crash.
    pub fn receive_attempt(
        &self,
        request: &Receive<'_>,
        attempt: &str,
        now: Timestamp,
    ) -> Result<Received, DeliveryError> {
        let attempt = Some(attempt).filter(|attempt| !attempt.is_empty());
        self.shared.receive(request, attempt, now)
    }

    /// Ends the lease. A second ack of the same delivery is OK.
    pub fn ack(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        self.shared.ack(group, topic, handle, now)
    }

    /// Ends many leases of the group and topic; each result is in the place of its handle, as of an [`ack`](Self::ack) of its
    /// own. Those that follow each other and are of one queue are journalled together, in a few bytes.
    pub fn ack_all(
        &self,
        group: &str,
        topic: &str,
        handles: &[impl AsRef<str>],
        now: Timestamp,
    ) -> Vec<Result<(), DeliveryError>> {
        self.shared
            .ack_all(group, topic, handles, now, Handles::Newest)
    }

    /// The same by any handle that a delivery had, until its message is delivered again, as of
    /// [`change_invisible_again`](Self::change_invisible_again).
    pub fn ack_all_again(
        &self,
        group: &str,
        topic: &str,
        handles: &[impl AsRef<str>],
        now: Timestamp,
    ) -> Vec<Result<(), DeliveryError>> {
        self.shared
            .ack_all(group, topic, handles, now, Handles::Any)
    }

    /// The lease ends `invisible` from now instead (0: visible at once). Returns the new handle; the old one is void.
    pub fn change_invisible(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        self.shared
            .change_invisible(group, topic, handle, invisible, now)
    }

    /// The same by any handle that this delivery had, until the message is delivered again: whoever lost the answer to a
    /// change says it again. The time counts from now, and the handle that is returned is the good one.
    pub fn change_invisible_again(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        self.shared
            .put_off(group, topic, handle, invisible, now, PutOff::Again)
    }

    /// Renews an auto-renewed lease in place: the handle that the client holds stays good.
    pub fn renew(
        &self,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        self.shared.renew(handle, invisible, now)
    }

    /// Gives a delivery back as if it had not happened (the client never got it): visible at once, attempt not counted. By any
    /// handle that the delivery had.
    pub fn release(&self, handle: &str, now: Timestamp) -> Result<(), DeliveryError> {
        self.shared.release(handle, now)
    }

    /// Appends the message to `%DLQ%group` with its origin, waits until that is on the device, and acks it here. A crash
    /// between the two leaves it in both places; it is never lost.
    pub fn dead_letter(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        self.shared.dead_letter(group, topic, handle, now)
    }

    /// Whether a handle was given for an auto-renewed delivery; `None` if it is malformed or forged.
    pub fn is_auto_renewed(&self, handle: &str) -> Option<bool> {
        self.shared
            .key
            .open_handle(handle)
            .ok()
            .map(|handle| handle.claim.auto_renew)
    }

    /// Woken when a message of this group and topic becomes visible other than by time: a change of its invisible time, a
    /// release, a reset, an ack where there were too many un-acknowledged. (New messages wake [`Store::listen`](foliomq_store::Store::listen).)
    /// Listen first, then receive, then wait.
    pub fn listen(&self, group: &str, topic: &str) -> EventListener {
        let subscription = self.shared.find(group, topic);
        let changed = subscription.and_then(|subscription| subscription.listen());
        changed.unwrap_or_else(|| self.shared.newcomers.listen())
    }
}
