//! A group begins to read a topic.

use std::sync::Arc;

use foliomq_store::{StoreError, Topic, lite_parts};

use crate::lite::Members;
use crate::shared::Shared;
use crate::subscription::{Policy, Subscription};
use crate::{DeliveryError, Start};

impl Shared {
    /// The subscription, if the group reads the topic.
    pub fn find(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        let topic = self.store.topic(topic)?;
        let found = self.registry.read().find(group, topic.id)?;
        // Without room for new queues the others are as good as before; who reads is told.
        _ = self.keep_up(&found, topic.queues);
        Some(found)
    }

    /// A topic may have got more queues: they are read from their beginning.
    fn keep_up(&self, subscription: &Subscription, queues: u32) -> Result<(), DeliveryError> {
        if subscription.queue_count() >= queues {
            return Ok(());
        }
        let mut registry = self.registry.write();
        registry.grow(&self.journal, subscription, queues, self.first_sequence)
    }

    /// Changes a topic, unless the groups that read it had too many queues then.
    pub fn update_topic(
        &self,
        name: &str,
        change: impl Fn(&mut Topic),
    ) -> Result<Topic, DeliveryError> {
        if let Some(mut topic) = self.store.topic(name) {
            let id = topic.id;
            change(&mut topic);
            // More than a topic can have is for the store to refuse.
            if topic.queues <= foliomq_store::MAX_QUEUES {
                let registry = self.registry.read();
                registry.check_growth(id, name, topic.queues)?;
            }
        }
        Ok(self.store.update_topic(name, change)?)
    }

    /// The subscription; group and it are created if they are not there.
    pub fn join(&self, group: &str, topic: &str) -> Result<Arc<Subscription>, DeliveryError> {
        let subscription = self.join_at(group, topic, None)?;
        self.settle_starts(std::slice::from_ref(&subscription))?;
        Ok(subscription)
    }

    /// Sees to it that the device knows where these begin: before anybody relies on it.
    pub fn settle_starts(&self, subscriptions: &[Arc<Subscription>]) -> Result<(), DeliveryError> {
        if subscriptions.iter().any(|one| one.is_unsettled()) {
            self.journal.flush()?;
            subscriptions.iter().for_each(|one| one.settled());
        }
        Ok(())
    }

    /// The same, not settled yet; a new one begins at `start` in each queue.
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
        let found = self.registry.read().find(group, topic.id);
        if let Some(subscription) = found {
            self.keep_up(&subscription, topic.queues)?;
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
        let is_late = start.is_some() || !matches!(policy.rules.lock().start, Start::Earliest);
        let subscription = registry.subscribe(&self.journal, &policy, &topic, starts, is_late)?;
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
    pub fn lite_arrived(&self, name: &str, topic: u32) {
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
}
