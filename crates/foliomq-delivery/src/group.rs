//! Groups as an operator sees and changes them.

use std::collections::HashMap;
use std::sync::Arc;

use foliomq_store::StoreError;

use crate::lease::Change;
use crate::order::Order;
use crate::shared::Shared;
use crate::subscription::{Policy, Subscription};
use crate::{Backoff, DeliveryError, Rules, Timestamp};

/// Where [`Groups::reset`](crate::Groups::reset) moves a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// The first message that is still there.
    Earliest,
    /// Past the last one: only what comes from now on.
    Latest,
    /// The first message stored at or after this time.
    Time(Timestamp),
    /// This offset in every queue, or the nearest that is there.
    Offset(u64),
}

/// A group as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Deliveries of one message before it is a dead letter.
    pub max_attempts: u32,
    /// Pauses between these, as its clients are told.
    pub backoff: Backoff,
    /// How it is held to the order of messages.
    pub order: Order,
    /// Where it begins, and its bounds of the invisible time.
    pub rules: Rules,
    /// Every queue of every topic that it reads, by topic and number; of lite topics none.
    pub queues: Vec<GroupQueue>,
}

/// A group's state in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupQueue {
    /// The topic's name.
    pub topic: String,
    /// The queue's number.
    pub queue: u32,
    /// Every message below it is done.
    pub committed: u64,
    /// The next message never delivered.
    pub next: u64,
    /// One past the queue's last message.
    pub max_offset: u64,
    /// Messages leased, or given back and not delivered again yet.
    pub in_flight: u64,
}

impl Shared {
    pub fn group(&self, name: &str) -> Option<Group> {
        let policy = self.registry.read().group(name)?;
        Some(self.describe(&policy))
    }

    pub fn groups(&self) -> Vec<Group> {
        let registry = self.registry.read();
        let (policies, all) = (registry.groups(), registry.plain_subscriptions());
        drop(registry);
        let mut by_group: HashMap<u32, Vec<Arc<Subscription>>> = HashMap::new();
        for subscription in all {
            by_group
                .entry(subscription.group.id)
                .or_default()
                .push(subscription);
        }
        let mut subscriptions = |policy: &Policy| by_group.remove(&policy.id).unwrap_or_default();
        policies
            .iter()
            .map(|policy| self.describe_group(policy, subscriptions(policy)))
            .collect()
    }

    pub fn update(&self, name: &str, max_attempts: Option<u32>) -> Result<Group, DeliveryError> {
        let mut registry = self.registry.write();
        let policy = registry.join(
            &self.journal,
            name,
            max_attempts.unwrap_or(self.options.max_attempts),
        )?;
        if let Some(max_attempts) = max_attempts {
            registry.set_max_attempts(&self.journal, &policy, max_attempts)?;
        }
        drop(registry);
        self.sweep_anew(&policy);
        Ok(self.describe(&policy))
    }

    pub fn set_backoff(&self, name: &str, backoff: Backoff) -> Result<Group, DeliveryError> {
        backoff.check()?;
        let mut registry = self.registry.write();
        let policy = registry.join(&self.journal, name, self.options.max_attempts)?;
        registry.set_backoff(&self.journal, &policy, backoff)?;
        drop(registry);
        Ok(self.describe(&policy))
    }

    pub fn set_rules(
        &self,
        name: &str,
        change: impl FnOnce(&mut Rules),
    ) -> Result<Group, DeliveryError> {
        let mut registry = self.registry.write();
        let policy = registry.join(&self.journal, name, self.options.max_attempts)?;
        registry.set_rules(&self.journal, &policy, change)?;
        drop(registry);
        Ok(self.describe(&policy))
    }

    pub fn set_order(&self, name: &str, order: Order) -> Result<Group, DeliveryError> {
        let mut registry = self.registry.write();
        let policy = registry.join(&self.journal, name, self.options.max_attempts)?;
        registry.set_order(&self.journal, &policy, order)?;
        drop(registry);
        for subscription in self.subscriptions(&policy) {
            subscription.wake();
        }
        Ok(self.describe(&policy))
    }

    pub fn reset(&self, group: &str, topic: &str, to: ResetTo) -> Result<Group, DeliveryError> {
        let unknown = || DeliveryError::UnknownGroup {
            group: group.to_owned(),
        };
        let policy = self.registry.read().group(group).ok_or_else(unknown)?;
        let subscription = self.join(group, topic)?;
        for number in 0..subscription.queue_count() {
            let next = self.target(topic, number, to)?;
            subscription
                .queue(number)
                .commit(&self.journal, &Change::Reset { next })?;
        }
        subscription.wake();
        Ok(self.describe(&policy))
    }

    pub fn seek(
        &self,
        group: &str,
        topic: &str,
        queue: u32,
        to: ResetTo,
    ) -> Result<u64, DeliveryError> {
        let next = self.target(topic, queue, to)?;
        let subscription = self.join(group, topic)?;
        let mut leases = subscription.queue(queue);
        if leases.leases().next() != next || leases.leases().in_flight() > 0 {
            leases.commit(&self.journal, &Change::Reset { next })?;
        }
        drop(leases);
        subscription.wake();
        Ok(next)
    }

    pub fn offset(
        &self,
        group: &str,
        topic: &str,
        queue: u32,
    ) -> Result<Option<u64>, DeliveryError> {
        let start = self.store.offsets(topic, queue)?.start;
        let committed = |found: Arc<Subscription>| match found.has_queue(queue) {
            true => found.queue(queue).leases().committed().max(start),
            false => start,
        };
        Ok(self.find(group, topic).map(committed))
    }

    pub fn target(&self, topic: &str, queue: u32, to: ResetTo) -> Result<u64, StoreError> {
        let offsets = self.store.offsets(topic, queue)?;
        let target = match to {
            ResetTo::Earliest => 0,
            ResetTo::Latest => offsets.end,
            ResetTo::Time(time) => self.store.offset_at(topic, queue, time)?,
            ResetTo::Offset(offset) => offset,
        };
        Ok(target.min(offsets.end))
    }

    fn subscriptions(&self, policy: &Policy) -> Vec<Arc<Subscription>> {
        let mut subscriptions = self.registry.read().subscriptions();
        subscriptions.retain(|subscription| subscription.group.id == policy.id);
        subscriptions
    }

    /// Another maximum may make dead letters of leases that ended before.
    fn sweep_anew(&self, policy: &Policy) {
        for subscription in self.subscriptions(policy) {
            for number in 0..subscription.queue_count() {
                subscription.queue(number).swept = 0;
            }
            subscription.touch();
        }
    }

    fn describe(&self, policy: &Policy) -> Group {
        let mut plain = self.subscriptions(policy);
        plain.retain(|subscription| subscription.members.is_none());
        self.describe_group(policy, plain)
    }

    fn describe_group(&self, policy: &Policy, mut subscriptions: Vec<Arc<Subscription>>) -> Group {
        subscriptions.sort_by(|a, b| a.topic.cmp(&b.topic));
        let mut queues = Vec::new();
        for subscription in subscriptions {
            let numbers = 0..self.queues_of(&subscription);
            queues.extend(numbers.filter_map(|number| self.describe_queue(&subscription, number)));
        }
        Group {
            name: policy.name.clone(),
            max_attempts: policy.max_attempts(),
            backoff: policy.backoff.lock().clone(),
            order: policy.order.load(),
            rules: policy.rules.lock().clone(),
            queues,
        }
    }

    /// How many queues the topic has by now; those that it has got since the group read it last count, too.
    fn queues_of(&self, subscription: &Subscription) -> u32 {
        let topic = self.store.topic(&subscription.topic);
        topic.map_or(0, |topic| topic.queues)
    }

    /// `None`: the topic was deleted.
    pub fn describe_queue(&self, subscription: &Subscription, number: u32) -> Option<GroupQueue> {
        if !self.is_there(subscription) {
            return None;
        }
        if !subscription.has_queue(number) {
            return self.describe_unread(subscription, number);
        }
        let (queue, offsets) = self.enter(subscription, number).ok()?;
        let leases = queue.leases();
        Some(GroupQueue {
            topic: subscription.topic.clone(),
            queue: number,
            committed: leases.committed().max(offsets.start),
            next: leases.next().max(offsets.start),
            max_offset: offsets.end,
            in_flight: leases.in_flight() as u64,
        })
    }

    /// A queue that the topic has got since the group read it last: it will be read from its beginning.
    fn describe_unread(&self, subscription: &Subscription, number: u32) -> Option<GroupQueue> {
        let offsets = self.store.offsets(&subscription.topic, number).ok()?;
        Some(GroupQueue {
            topic: subscription.topic.clone(),
            queue: number,
            committed: offsets.start,
            next: offsets.start,
            max_offset: offsets.end,
            in_flight: 0,
        })
    }
}
