//! What a frontend calls: [`Groups`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use event_listener::{Event, EventListener};
use foliomq_store::{
    LiteListener, Message, Store, StoreError, StoredMessage, Topic, TopicType, lite_parts,
};
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::group::{Group, ResetTo};
use crate::handle::{Handle, Key};
use crate::journal::Journal;
use crate::lease::{Claim, Lease};
use crate::lite::{Lifetimes, LiteOptions, Members, Unsubscribed};
use crate::order::Order;
use crate::pending::Pending;
use crate::redrive::Redriven;
use crate::registry::Registry;
use crate::subscription::{Policy, Queue, Subscription};
use crate::{
    Backoff, Delayed, DeliveryError, Due, Filter, HalfMessage, Question, Resolution, Rules, Start,
    Timestamp,
};

/// How leases are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Deliveries of one message before it is a dead letter, for groups that say nothing else. Default 17, at most 65,535.
    pub max_attempts: u32,
    /// Messages that one group may have un-acknowledged in one queue before it gets no new ones. Default 1,000,000; each
    /// takes about 90 bytes of memory.
    pub max_in_flight: usize,
    /// Bounds of lite topics.
    pub lite: LiteOptions,
    /// Bytes of journal after which a snapshot replaces it. Default 64 MiB; more while a snapshot is larger than half.
    pub snapshot_after: u64,
    /// How far ahead of now a message may be delivered. Default 40 days.
    pub max_delay: Duration,
    /// Delayed messages that may wait. Default 20,000,000; each takes 16 to 32 bytes of memory.
    pub max_delayed: usize,
    /// After how long somebody is asked about a transaction without an end. Default 6 s.
    pub first_check: Duration,
    /// How often he is asked again. Default every 30 s.
    pub check_interval: Duration,
    /// How many times, before it is rolled back. Default 15.
    pub max_checks: u32,
    /// Rolled back after so long even if there was nobody to ask. Default 72 h.
    pub max_transaction_age: Duration,
    /// Transactions that may be open. Default 100,000.
    pub max_transactions: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_attempts: 17,
            max_in_flight: 1_000_000,
            lite: LiteOptions::default(),
            snapshot_after: 64 << 20,
            max_delay: Duration::from_secs(40 * 24 * 3600),
            max_delayed: 20_000_000,
            first_check: Duration::from_secs(6),
            check_interval: Duration::from_secs(30),
            max_checks: 15,
            max_transaction_age: Duration::from_secs(72 * 3600),
            max_transactions: 100_000,
        }
    }
}

/// What one receive asks for.
#[derive(Debug, Clone)]
pub struct Receive<'a> {
    /// Created if it is not there.
    pub group: &'a str,
    /// Must be there.
    pub topic: &'a str,
    /// Messages that it refuses are done for the group.
    pub filter: &'a Filter,
    /// Most messages to lease; at least 1, and more than [`MAX_SCANNED`](crate::MAX_SCANNED) means that many.
    pub most: usize,
    /// How long the leases last; at least 1 ms.
    pub invisible: Duration,
    /// The server renews the lease while the client lives; it is written into the handle.
    pub auto_renew: bool,
}

/// One delivery of one message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message, by reference.
    pub message: StoredMessage,
    /// Opaque to clients; self-contained, checked by a keyed hash, good across restarts. 48 URL-safe characters.
    pub handle: String,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// When the lease ends.
    pub visible_at: Timestamp,
}

/// What a receive got.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Empty: nothing to deliver now.
    pub messages: Vec<Delivery>,
    /// When the next leased message of this group and topic becomes visible, if nothing else happens. Not later than now:
    /// look again at once, there was more than one call looks at.
    pub next_visible: Option<Timestamp>,
}

/// Consumer groups over a store. Cheap to clone; every method from any thread.
///
/// Nothing waits for a lock of another group, topic or queue. What blocks is the disk: a page of the log that must be
/// read, and a dead letter's append, so an async caller calls from a thread that may block.
#[derive(Debug, Clone)]
pub struct Groups {
    pub(crate) shared: Arc<Shared>,
}

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
    /// How many of them are delayed, and how many half, to look at without the lock.
    pub waiting: AtomicUsize,
    pub halves: AtomicUsize,
}

impl Groups {
    /// Opens the journal in the store's folder (`delivery`) and brings back leases, attempts and acks. Call it before the
    /// first append after the store was opened: if the store lost its end in a power cut, what was known of the lost
    /// offsets is forgotten here, and new messages will have these offsets.
    pub fn open(store: Store, options: Options) -> Result<Self, DeliveryError> {
        let shared = Arc::new(Shared::open(store, options)?);
        let weak = Arc::downgrade(&shared);
        let told: Arc<LiteListener> = Arc::new(move |name, topic| {
            if let Some(shared) = weak.upgrade() {
                shared.lite_arrived(name, topic);
            }
        });
        shared.store.on_lite_arrival(told);
        shared.wake_lite()?;
        Ok(Self { shared })
    }

    /// Leases up to `most` messages from all queues of the topic: expired leases first (attempt + 1; past the group's
    /// maximum to `%DLQ%group`), then new ones. A group that is not there is created; it begins at the earliest message.
    ///
    /// In a topic of the type [`Priority`](TopicType::Priority) each queue is a level, and the highest comes first, expired
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

    /// The order in which the group gets the messages of a topic; never [`Order::Auto`].
    pub fn order(&self, group: &str, topic: &Topic) -> Order {
        let policy = self.shared.registry.read().group(group);
        let order = policy.map_or(Order::Auto, |policy| policy.order.load());
        order.within(topic.kind)
    }

    /// Sets how the group is held to the order of messages, from the next receive on; creates the group if it is not there.
    pub fn set_order(&self, group: &str, order: Order) -> Result<Group, DeliveryError> {
        self.shared.set_order(group, order)
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

    /// Renews an auto-renewed lease in place: the handle that the client holds stays good.
    pub fn renew(
        &self,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        self.shared.renew(handle, invisible, now)
    }

    /// Gives a delivery back as if it had not happened (the client never got it): visible at once, attempt not counted.
    pub fn release(&self, handle: &str, now: Timestamp) -> Result<(), DeliveryError> {
        self.shared.release(handle, now)
    }

    /// Appends the message to `%DLQ%group` with its origin, waits until that is committed, and acks it here. A crash
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
    /// release, a reset, an ack where there were too many un-acknowledged. (New messages wake [`Store::listen`].)
    /// Listen first, then receive, then wait.
    pub fn listen(&self, group: &str, topic: &str) -> EventListener {
        match self.shared.find(group, topic) {
            Some(subscription) => subscription.changed.listen(),
            None => self.shared.newcomers.listen(),
        }
    }

    /// A group as it is now.
    pub fn group(&self, group: &str) -> Option<Group> {
        self.shared.group(group)
    }

    /// A group's deliveries of one message, and the pauses between them.
    pub fn policy(&self, group: &str) -> Option<(u32, Backoff)> {
        let policy = self.shared.registry.read().group(group)?;
        let backoff = policy.backoff.lock().clone();
        Some((policy.max_attempts(), backoff))
    }

    /// All groups, by name.
    pub fn groups(&self) -> Vec<Group> {
        self.shared.groups()
    }

    /// Creates the group if it is not there. `None` leaves the setting; at least 1 attempt.
    pub fn update(&self, group: &str, max_attempts: Option<u32>) -> Result<Group, DeliveryError> {
        self.shared.update(group, max_attempts)
    }

    /// Sets the pauses between deliveries that the group's clients are told; creates the group if it is not there.
    pub fn set_backoff(&self, group: &str, backoff: Backoff) -> Result<Group, DeliveryError> {
        self.shared.set_backoff(group, backoff)
    }

    /// Changes where the group begins in topics that it has not read, and its bounds of the invisible time; creates the
    /// group if it is not there.
    pub fn set_rules(
        &self,
        group: &str,
        change: impl FnOnce(&mut Rules),
    ) -> Result<Group, DeliveryError> {
        self.shared.set_rules(group, change)
    }

    /// The group's rules; those of a group that is not there yet.
    pub fn rules(&self, group: &str) -> Rules {
        let policy = self.shared.registry.read().group(group);
        policy.map_or_else(Rules::default, |policy| policy.rules.lock().clone())
    }

    /// Gives the group up to `most` of its dead letters again that it was not given again yet, oldest first: the
    /// originals, in their places, from attempt 1. They stay in `%DLQ%group` as well.
    pub fn redrive(
        &self,
        group: &str,
        most: u64,
        now: Timestamp,
    ) -> Result<Redriven, DeliveryError> {
        self.shared.redrive(group, most, now)
    }

    /// Moves the group in every queue of the topic; forgets leases and attempts there; older handles are void.
    pub fn reset(
        &self,
        group: &str,
        topic: &str,
        to: ResetTo,
        now: Timestamp,
    ) -> Result<Group, DeliveryError> {
        let _ = now;
        self.shared.reset(group, topic, to)
    }

    /// Moves the group in one queue; forgets leases and attempts there. Group and progress are created if they are not
    /// there. Returns the offset that comes next.
    pub fn seek(
        &self,
        group: &str,
        topic: &str,
        queue: u32,
        to: ResetTo,
    ) -> Result<u64, DeliveryError> {
        self.shared.seek(group, topic, queue, to)
    }

    /// Below which offset of a queue the group is done with every message; `None` if it never read the topic.
    pub fn offset(
        &self,
        group: &str,
        topic: &str,
        queue: u32,
    ) -> Result<Option<u64>, DeliveryError> {
        self.shared.offset(group, topic, queue)
    }

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
    /// that it returns, and when [`Store::listen_ledger`] wakes: a call in between finds nothing to do, at no cost.
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

    /// Housekeeping, about once a second: progress into the store, snapshots, dead letters of groups that nobody reads, and
    /// hidden messages that retention would drop.
    /// All of it is tried; the first error is returned.
    pub fn tick(&self, now: Timestamp) -> Result<(), DeliveryError> {
        self.shared.tick(now)
    }

    /// Writes the progress into the store and closes the journal cleanly; call it before the store is closed. Idempotent.
    pub fn close(&self) -> Result<(), DeliveryError> {
        self.shared.close()
    }
}

impl Shared {
    /// The order of a subscription; never [`Order::Auto`].
    pub fn order(&self, subscription: &Subscription) -> Order {
        let kind = self.kind(subscription);
        subscription.group.order.load().within(kind)
    }

    /// The type of the topic that is read.
    pub fn kind(&self, subscription: &Subscription) -> TopicType {
        let topic = self.store.topic(&subscription.topic);
        topic.map(|topic| topic.kind).unwrap_or_default()
    }

    /// The subscription, if the group reads the topic.
    pub fn find(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        let topic = self.store.topic(topic)?;
        self.registry.read().find(group, topic.id)
    }

    /// The subscription; group and it are created if they are not there.
    pub fn join(&self, group: &str, topic: &str) -> Result<Arc<Subscription>, DeliveryError> {
        self.join_at(group, topic, None)
    }

    /// The same; a new one begins at `start` in each queue.
    pub fn join_at(
        &self,
        group: &str,
        topic: &str,
        start: Option<u64>,
    ) -> Result<Arc<Subscription>, DeliveryError> {
        let topic = self
            .store
            .topic(topic)
            .ok_or_else(|| StoreError::UnknownTopic {
                topic: topic.to_owned(),
            })?;
        if let Some(subscription) = self.registry.read().find(group, topic.id) {
            return Ok(subscription);
        }
        let mut registry = self.registry.write();
        if let Some(subscription) = registry.find(group, topic.id) {
            return Ok(subscription);
        }
        let policy = registry.join(&self.journal, group, self.options.max_attempts)?;
        let starts = (0..topic.queues)
            .map(|queue| start.map_or_else(|| self.start(&policy, &topic.name, queue), Ok))
            .collect::<Result<_, _>>()?;
        let subscription = registry.subscribe(&self.journal, &policy, &topic, starts)?;
        for queue in 0..subscription.queue_count() {
            subscription
                .queue(queue)
                .begin_sequence(self.first_sequence);
        }
        if subscription.members.is_none() {
            self.newcomers.notify(usize::MAX);
        }
        Ok(subscription)
    }

    /// The group's members at the lite topics of a topic; group and they are created if they are not there.
    pub fn join_members(&self, group: &str, topic: &str) -> Result<Arc<Members>, DeliveryError> {
        if let Some(members) = self.members(group, topic) {
            return Ok(members);
        }
        let mut registry = self.registry.write();
        let policy = registry.join(&self.journal, group, self.options.max_attempts)?;
        let members = registry.join_members(&policy, topic);
        drop(registry);
        self.newcomers.notify(usize::MAX);
        Ok(members)
    }

    /// The dispatcher has new messages of a lite topic.
    fn lite_arrived(&self, name: &str, topic: u32) {
        let Some((parent, _)) = lite_parts(name) else {
            return;
        };
        let groups = self.registry.read().members_at(parent);
        groups.iter().for_each(|members| members.arrived(topic));
    }

    /// Where a group begins in a queue: at its progress, else as its rules say. What is gone is skipped when it is read.
    fn start(&self, group: &Policy, topic: &str, queue: u32) -> Result<u64, StoreError> {
        let offsets = self.store.offsets(topic, queue)?;
        let start = match self.store.progress(&group.name, topic, queue) {
            Some(progress) => progress,
            None => match group.rules.lock().start {
                Start::Earliest => 0,
                Start::Latest => offsets.end,
                Start::Time(time) => self.store.offset_at(topic, queue, time)?,
            },
        };
        Ok(start.min(offsets.end))
    }

    /// A queue's state, locked, without the messages that the store no longer has; and the offsets that it has.
    pub fn enter<'s>(
        &self,
        subscription: &'s Subscription,
        queue: u32,
    ) -> Result<(MutexGuard<'s, Queue>, Range<u64>), StoreError> {
        let offsets = self.store.offsets(&subscription.topic, queue)?;
        let mut guard = subscription.queue(queue);
        // Of an empty queue there is nothing to skip; and its range may be that of a message just arriving.
        if !offsets.is_empty() {
            guard.skip_to(offsets.start);
        }
        Ok((guard, offsets))
    }

    /// A message that was delivered before, or why it cannot be again.
    pub fn read(&self, topic: &str, queue: u32, offset: u64) -> Result<StoredMessage, StoreError> {
        let mut entries = Vec::new();
        self.store.entries(topic, queue, offset, 1, &mut entries)?;
        let found = entries.first().map(|entry| self.store.message(entry));
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
