//! Groups, their settings, and where they are.

use foliomq_store::{Topic, TopicType};

use super::Groups;
use crate::{Backoff, DeliveryError, Group, Order, Redriven, ResetTo, Rules, Timestamp};

impl Groups {
    /// The order in which the group gets the messages of topics of a type; never [`Order::Auto`].
    pub fn order(&self, group: &str, kind: TopicType) -> Order {
        let policy = self.shared.registry.read().group(group);
        let order = policy.map_or(Order::Auto, |policy| policy.order.load());
        order.within(kind)
    }

    /// Sets how the group is held to the order of messages, from the next receive on; creates the group if it is not there.
    pub fn set_order(&self, group: &str, order: Order) -> Result<Group, DeliveryError> {
        self.shared.set_order(group, order)
    }

    /// Changes a topic as [`Store::update_topic`](foliomq_store::Store::update_topic) does. `change` may be called twice.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::TooMany`], and nothing is changed, if the groups that read the topic had more queues then than all
    /// groups may read: [`MAX_QUEUES`](crate::MAX_QUEUES).
    pub fn update_topic(
        &self,
        name: &str,
        change: impl Fn(&mut Topic),
    ) -> Result<Topic, DeliveryError> {
        self.shared.update_topic(name, change)
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

    /// Forgets the group, or what it has of a topic and its lite topics: progress, leases and attempts, durably. Whoever reads
    /// on behalf of it later begins anew, where the group's rules say. Its dead letters stay where they are.
    pub fn forget(&self, group: &str, topic: Option<&str>) -> Result<(), DeliveryError> {
        self.shared.forget(group, topic)
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
}
