//! What all operations of this crate share: the store, the journal, and what is known of the groups.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use event_listener::Event;
use foliomq_store::{Store, StoreError, StoredMessage, TopicType};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use crate::Timestamp;
use crate::carry::Walk;
use crate::handle::{Handle, Key};
use crate::journal::Journal;
use crate::lease::{Claim, Lease};
use crate::lite::{Lifetimes, Unsubscribed};
use crate::options::Options;
use crate::order::Order;
use crate::pending::Pending;
use crate::registry::Registry;
use crate::subscription::{Queue, Subscription};

/// What the clones of [`Groups`] share. The modules of this crate add its operations.
#[derive(Debug)]
pub(crate) struct Shared {
    pub store: Store,
    pub options: Options,
    pub journal: Journal,
    pub key: Key,
    pub registry: RwLock<Registry>,
    /// Notified when a group begins to read a topic: who listened to it before waits here.
    pub newcomers: Event,
    /// The first sequence of leases since the start.
    pub first_sequence: u32,
    /// One snapshot at a time.
    pub snapshotting: Mutex<()>,
    /// When lite topics are looked at for traffic.
    pub lifetimes: Mutex<Lifetimes>,
    /// Clients to be told that a lite topic is gone.
    pub unsubscribed: Mutex<Vec<Unsubscribed>>,
    /// The store's count of changes when its topics were last compared with what is known here.
    pub topic_changes: AtomicU64,
    /// Messages that are in no queue yet.
    pub pending: Mutex<Pending>,
    /// How far carrying them forward has come, if that is under way.
    pub walk: Mutex<Option<Walk>>,
    /// Notified when messages that were being carried lie in their new places.
    pub carried: Condvar,
    /// How many of them are delayed, and how many half, to look at without the lock.
    pub waiting: AtomicUsize,
    pub halves: AtomicUsize,
}

impl Shared {
    /// The order of a subscription; never [`Order::Auto`].
    pub fn order(&self, subscription: &Subscription) -> Order {
        let kind = self.kind(subscription);
        subscription.group.order.load().within(kind)
    }

    /// The type of the topic that is read.
    pub fn kind(&self, subscription: &Subscription) -> TopicType {
        let kind = self.store.topic_type(&subscription.topic);
        kind.unwrap_or_default()
    }

    /// A queue's state, locked, without the messages that the store no longer has; and the offsets that it has.
    pub fn enter<'s>(
        &self,
        subscription: &'s Subscription,
        queue: u32,
    ) -> Result<(MutexGuard<'s, Queue>, Range<u64>), StoreError> {
        let offsets = self.store.offsets(&subscription.topic, queue)?;
        let mut guard = subscription.queue(queue);
        // The range of an empty queue may be that of a message just arriving.
        let start = match offsets.is_empty() {
            true => self.store.floor(&subscription.topic, queue)?,
            false => offsets.start,
        };
        guard.skip_to(start);
        Ok((guard, offsets))
    }

    /// A message that was delivered before, or why it cannot be again.
    pub fn read(&self, topic: &str, queue: u32, offset: u64) -> Result<StoredMessage, StoreError> {
        let mut entries = Vec::new();
        let read = self.store.entries(topic, queue, offset, 1, &mut entries)?;
        let entry = entries.first().filter(|_| read.start == offset);
        let found = entry.map(|entry| self.store.message(entry));
        let message = found
            .transpose()?
            .filter(|message| message.queue_offset() == offset);
        message.ok_or_else(|| no_offset(queue, offset))
    }

    /// The handle of a lease.
    pub fn seal(
        &self,
        subscription: &Subscription,
        queue: u32,
        offset: u64,
        lease: &Lease,
    ) -> String {
        let Lease {
            visible_at,
            sequence,
            auto_renew,
            ..
        } = *lease;
        let claim = Claim {
            offset,
            sequence,
            visible_at,
            auto_renew,
        };
        self.key.seal(&Handle {
            subscription: subscription.id,
            queue: queue as u16,
            claim,
        })
    }
}

/// The queue does not hold what it should.
pub(crate) fn no_offset(queue: u32, offset: u64) -> StoreError {
    StoreError::Read(format!("queue {queue} has no offset {offset}"))
}

/// `time` and `duration` later, in milliseconds.
pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
