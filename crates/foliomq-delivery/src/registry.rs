//! All groups and what they read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foliomq_store::Topic;
use parking_lot::Mutex;

use crate::journal::Journal;
use crate::name::check_group;
use crate::order::{Order, SharedOrder};
use crate::record::Record;
use crate::subscription::{Policy, Subscription};
use crate::{Backoff, DeliveryError};

/// Most groups of a store: a bound on what clients can make it remember.
pub const MAX_GROUPS: usize = 100_000;

/// Most queues that all groups together read, each counted once for each group: about 200 MB of memory.
pub const MAX_QUEUES: usize = 1_000_000;

/// Attempts are counted in 16 bits.
const MAX_ATTEMPTS: u32 = u16::MAX as u32;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    groups: BTreeMap<String, Arc<Policy>>,
    group_names: HashMap<u32, String>,
    subscriptions: HashMap<u32, Arc<Subscription>>,
    /// (group, topic) to subscription.
    by_topic: HashMap<(u32, u32), u32>,
    next_group: u32,
    next_subscription: u32,
}

impl Registry {
    pub fn group(&self, name: &str) -> Option<Arc<Policy>> {
        self.groups.get(name).cloned()
    }

    pub fn groups(&self) -> Vec<Arc<Policy>> {
        self.groups.values().cloned().collect()
    }

    pub fn subscription(&self, id: u32) -> Option<Arc<Subscription>> {
        self.subscriptions.get(&id).cloned()
    }

    pub fn find(&self, group: &str, topic_id: u32) -> Option<Arc<Subscription>> {
        let group = self.groups.get(group)?;
        self.subscription(*self.by_topic.get(&(group.id, topic_id))?)
    }

    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.values().cloned().collect()
    }

    /// The group, created with `max_attempts` if it is not there.
    pub fn join(
        &mut self,
        journal: &Journal,
        name: &str,
        max_attempts: u32,
    ) -> Result<Arc<Policy>, DeliveryError> {
        if let Some(group) = self.group(name) {
            return Ok(group);
        }
        check_group(name)?;
        if self.groups.len() >= MAX_GROUPS {
            return Err(DeliveryError::IllegalGroup {
                what: format!("no room for group {name}: there are {MAX_GROUPS}"),
            });
        }
        let record = Record::Group {
            id: self.next_group,
            name: name.to_owned(),
            max_attempts: allowed(max_attempts),
        };
        journal.append(&record)?;
        self.replay_group(self.next_group, name.to_owned(), allowed(max_attempts));
        self.group(name).ok_or_else(|| DeliveryError::UnknownGroup {
            group: name.to_owned(),
        })
    }

    /// Sets the group's deliveries per message.
    pub fn set_max_attempts(
        &self,
        journal: &Journal,
        group: &Policy,
        max_attempts: u32,
    ) -> Result<(), DeliveryError> {
        let max_attempts = allowed(max_attempts);
        journal.append(&Record::Group {
            id: group.id,
            name: group.name.clone(),
            max_attempts,
        })?;
        group.max_attempts.store(max_attempts, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the group's pauses between deliveries.
    pub fn set_backoff(
        &self,
        journal: &Journal,
        group: &Policy,
        backoff: Backoff,
    ) -> Result<(), DeliveryError> {
        backoff.check()?;
        let mut now = group.backoff.lock();
        journal.append(&Record::Backoff {
            group: group.id,
            backoff: backoff.clone(),
        })?;
        *now = backoff;
        Ok(())
    }

    /// Sets how the group is held to the order of messages.
    pub fn set_order(
        &self,
        journal: &Journal,
        group: &Policy,
        order: Order,
    ) -> Result<(), DeliveryError> {
        journal.append(&Record::Order {
            group: group.id,
            order,
        })?;
        group.order.store(order);
        Ok(())
    }

    /// Takes a group's order from the journal; of a group that is not known the snapshot has it.
    pub fn replay_order(&mut self, group: u32, order: Order) {
        let name = self.group_names.get(&group);
        if let Some(group) = name.and_then(|name| self.group(name)) {
            group.order.store(order);
        }
    }

    /// The group begins to read a topic at `starts`.
    pub fn subscribe(
        &mut self,
        journal: &Journal,
        group: &Arc<Policy>,
        topic: &Topic,
        starts: Vec<u64>,
    ) -> Result<Arc<Subscription>, DeliveryError> {
        let read = self.subscriptions.values();
        let read: usize = read.map(|other| other.queue_count() as usize).sum();
        if read + starts.len() > MAX_QUEUES {
            let what = format!(
                "group {} can read no more: all groups read {read} queues",
                group.name
            );
            return Err(DeliveryError::IllegalGroup { what });
        }
        let id = self.next_subscription;
        let (topic_id, name) = (topic.id, topic.name.clone());
        journal.append(&Record::Subscription {
            id,
            group: group.id,
            topic_id,
            topic: name.clone(),
            starts: starts.clone(),
        })?;
        let subscription = Arc::new(Subscription::new(
            id,
            group.clone(),
            name,
            topic_id,
            &starts,
        ));
        self.add(subscription.clone());
        Ok(subscription)
    }

    /// Forgets what the topics that are gone were read by.
    pub fn retain(&mut self, is_there: impl Fn(&Subscription) -> bool) {
        self.subscriptions
            .retain(|_, subscription| is_there(subscription));
        let subscriptions = &self.subscriptions;
        self.by_topic.retain(|_, id| subscriptions.contains_key(id));
    }

    /// Writes every group and subscription into the journal. What they hold follows, queue by queue.
    pub fn write(&self, journal: &Journal) -> Result<(), DeliveryError> {
        for group in self.groups.values() {
            let max_attempts = group.max_attempts();
            journal.append(&Record::Group {
                id: group.id,
                name: group.name.clone(),
                max_attempts,
            })?;
            let backoff = group.backoff.lock().clone();
            if backoff != Backoff::default() {
                let group = group.id;
                journal.append(&Record::Backoff { group, backoff })?;
            }
            let (group, order) = (group.id, group.order.load());
            journal.append(&Record::Order { group, order })?;
        }
        for subscription in self.subscriptions.values() {
            let starts = vec![0; subscription.queue_count() as usize];
            let (id, group, topic_id) = (
                subscription.id,
                subscription.group.id,
                subscription.topic_id,
            );
            journal.append(&Record::Subscription {
                id,
                group,
                topic_id,
                topic: subscription.topic.clone(),
                starts,
            })?;
        }
        Ok(())
    }

    /// Takes a group from the journal.
    pub fn replay_group(&mut self, id: u32, name: String, max_attempts: u32) {
        self.next_group = self.next_group.max(id.saturating_add(1));
        self.group_names.insert(id, name.clone());
        let group = self.groups.entry(name.clone()).or_insert_with(|| {
            Arc::new(Policy {
                id,
                name,
                max_attempts: AtomicU32::new(0),
                backoff: Mutex::default(),
                order: SharedOrder::default(),
            })
        });
        group.max_attempts.store(max_attempts, Ordering::Relaxed);
    }

    /// Takes a group's pauses from the journal.
    pub fn replay_backoff(&mut self, group: u32, backoff: Backoff) {
        let name = self.group_names.get(&group);
        if let Some(group) = name.and_then(|name| self.group(name)) {
            *group.backoff.lock() = backoff;
        }
    }

    /// Takes a subscription from the journal; one that is there stays as it is.
    pub fn replay_subscription(
        &mut self,
        id: u32,
        group: u32,
        topic_id: u32,
        topic: String,
        starts: &[u64],
    ) {
        self.next_subscription = self.next_subscription.max(id.saturating_add(1));
        if let Some(group) = self
            .group_names
            .get(&group)
            .and_then(|name| self.group(name))
            && !self.subscriptions.contains_key(&id)
        {
            self.add(Arc::new(Subscription::new(
                id, group, topic, topic_id, starts,
            )));
        }
    }

    fn add(&mut self, subscription: Arc<Subscription>) {
        self.next_subscription = self
            .next_subscription
            .max(subscription.id.saturating_add(1));
        self.by_topic.insert(
            (subscription.group.id, subscription.topic_id),
            subscription.id,
        );
        self.subscriptions.insert(subscription.id, subscription);
    }
}

fn allowed(max_attempts: u32) -> u32 {
    max_attempts.clamp(1, MAX_ATTEMPTS)
}
