//! What changes a delivery: change of invisible time, renewal, release; and what of them is done without a handle.

use std::sync::Arc;
use std::time::Duration;

use crate::handle::Handle;
use crate::lease::{Change, Handles, Lease, REPLACED, Standing};
use crate::order::Order;
use crate::shared::{Shared, after};
use crate::subscription::{Queue, Subscription};
use crate::{DeliveryError, Timestamp};

const DONE: DeliveryError = DeliveryError::InvalidHandle {
    what: "the message is done",
};

/// Which change of the end of a lease it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutOff {
    /// By the newest handle of the delivery.
    Once,
    /// By any that the delivery had: the answer to an earlier change may have been lost.
    Again,
    /// As [`Once`](Self::Once), and the delivery is not counted as an attempt.
    Suspend,
}

impl Shared {
    pub fn change_invisible(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        self.put_off(group, topic, handle, invisible, now, PutOff::Once)
    }

    /// Changes when a lease ends. The delivery keeps its sequence: its earlier handles are void, and are known as its own.
    pub fn put_off(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
        how: PutOff,
    ) -> Result<String, DeliveryError> {
        let (subscription, handle) = self.owned(group, topic, handle)?;
        let (number, offset) = (u32::from(handle.queue), handle.claim.offset);
        let mut queue = subscription.queue(number);
        let good = match how {
            PutOff::Again => Handles::Any,
            PutOff::Once | PutOff::Suspend => Handles::Newest,
        };
        let lease = held(&queue, &handle, now, good)?;
        let suspended = u16::from(how == PutOff::Suspend);
        let visible_at = after(now, invisible);
        // What voids the old handle is the other end. That of a lease that is renewed is good whatever the end.
        let voided = visible_at != lease.visible_at && !lease.auto_renew;
        let lease = Lease {
            visible_at,
            sequence: match voided {
                true => lease.sequence,
                false => queue.leases().sequence(),
            },
            attempt: lease.attempt.saturating_sub(suspended),
            ..lease
        };
        // It is leased otherwise from now on: a receive that asks for its batch again does not get it.
        queue.leave_attempt(&self.journal, offset)?;
        queue.commit(&self.journal, &Change::Leased { offset, lease })?;
        drop(queue);
        subscription.wake();
        Ok(self.seal(&subscription, number, offset, &lease))
    }

    pub fn renew(
        &self,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let (subscription, handle) = self.opened(handle)?;
        let visible_at = after(now, invisible);
        let renewed = |lease: Lease, _| {
            let is_ours = lease.auto_renew;
            let error = DeliveryError::InvalidHandle {
                what: "it is not auto-renewed",
            };
            is_ours
                .then_some(Lease {
                    visible_at,
                    ..lease
                })
                .ok_or(error)
        };
        self.replace(&subscription, &handle, now, Handles::Newest, renewed)
            .map(|_| ())
    }

    pub fn release(&self, handle: &str, now: Timestamp) -> Result<(), DeliveryError> {
        let (subscription, handle) = self.opened(handle)?;
        let given_back = |lease: Lease, sequence| {
            Ok(Lease {
                visible_at: now,
                sequence,
                attempt: lease.attempt.saturating_sub(1),
                ..lease
            })
        };
        self.replace(&subscription, &handle, now, Handles::Any, given_back)?;
        subscription.wake();
        Ok(())
    }

    /// Ends a lease that has not changed since; an old one stays as it became.
    pub fn settle(
        &self,
        subscription: &Subscription,
        queue: u32,
        offset: u64,
        sequence: u32,
    ) -> Result<(), DeliveryError> {
        let mut queue = subscription.queue(queue);
        match queue.leases().lease(offset) {
            Some(lease) if lease.sequence == sequence => {
                queue.commit(&self.journal, &Change::Done { offset })?;
            }
            _ => return Ok(()),
        }
        drop(queue);
        if self.order(subscription) != Order::Free {
            subscription.wake();
        }
        Ok(())
    }

    /// Puts another lease in place of the one that a handle holds. `make` is given that lease and the next sequence.
    fn replace(
        &self,
        subscription: &Subscription,
        handle: &Handle,
        now: Timestamp,
        good: Handles,
        make: impl FnOnce(Lease, u32) -> Result<Lease, DeliveryError>,
    ) -> Result<Lease, DeliveryError> {
        let mut queue = subscription.queue(u32::from(handle.queue));
        let lease = held(&queue, handle, now, good)?;
        let lease = make(lease, queue.leases().sequence())?;
        queue.commit(
            &self.journal,
            &Change::Leased {
                offset: handle.claim.offset,
                lease,
            },
        )?;
        Ok(lease)
    }

    /// What a handle of this group and topic says.
    pub fn owned(
        &self,
        group: &str,
        topic: &str,
        text: &str,
    ) -> Result<(Arc<Subscription>, Handle), DeliveryError> {
        let handle = self.key.open_handle(text)?;
        Ok((self.owner(group, topic, &handle)?, handle))
    }

    /// Whose handle it is, if it is of this group and topic.
    pub fn owner(
        &self,
        group: &str,
        topic: &str,
        handle: &Handle,
    ) -> Result<Arc<Subscription>, DeliveryError> {
        let subscription = self.subscription_of(handle)?;
        if subscription.group.name != group || !subscription.is_of(topic) {
            return Err(DeliveryError::InvalidHandle {
                what: "it is of another group or topic",
            });
        }
        Ok(subscription)
    }

    fn opened(&self, text: &str) -> Result<(Arc<Subscription>, Handle), DeliveryError> {
        let handle = self.key.open_handle(text)?;
        Ok((self.subscription_of(&handle)?, handle))
    }

    fn subscription_of(&self, handle: &Handle) -> Result<Arc<Subscription>, DeliveryError> {
        let subscription = self.registry.read().subscription(handle.subscription);
        subscription
            .filter(|subscription| subscription.has_queue(u32::from(handle.queue)))
            .ok_or(DeliveryError::InvalidHandle {
                what: "its group or topic is gone",
            })
    }
}

/// The lease that a handle holds.
fn held(
    queue: &Queue,
    handle: &Handle,
    now: Timestamp,
    good: Handles,
) -> Result<Lease, DeliveryError> {
    match queue.leases().standing_by(&handle.claim, now, good) {
        Standing::Held(lease) => Ok(lease),
        Standing::Changed(_) => Err(DeliveryError::InvalidHandle { what: REPLACED }),
        Standing::Void(what) => Err(DeliveryError::InvalidHandle { what }),
        Standing::Done => Err(DONE),
    }
}
