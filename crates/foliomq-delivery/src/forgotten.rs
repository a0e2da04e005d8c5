//! A group, or what it has of one topic, is forgotten: progress, leases, attempts, and who reads its lite topics.

use std::sync::Arc;

use foliomq_store::lite_parts;

use crate::DeliveryError;
use crate::delayed::unknown;
use crate::record::Record;
use crate::registry::Registry;
use crate::shared::Shared;
use crate::subscription::{Policy, Subscription};

impl Shared {
    /// Durable when it returns. What a receive is about to hand out of it meanwhile may still be handed out.
    pub fn forget(&self, group: &str, topic: Option<&str>) -> Result<(), DeliveryError> {
        if let Some(topic) = topic {
            self.store.topic(topic).ok_or_else(|| unknown(topic))?;
        }
        // From here on nobody tells the store of its progress any more. Apart: queues are locked for it.
        let (_, ending) = self.registry.read().of_group(group, topic)?;
        ending.iter().for_each(|one| one.end());
        let forgotten = self.forget_ended(group, topic);
        match &forgotten {
            Err(_) => ending.iter().for_each(|one| one.go_on()),
            Ok(()) => {
                let plain = ending.iter().filter(|one| one.members.is_none());
                plain.for_each(|one| one.wake());
            }
        }
        forgotten.and_then(|()| Ok(self.journal.flush()?))
    }

    fn forget_ended(&self, group: &str, topic: Option<&str>) -> Result<(), DeliveryError> {
        // Held while it is written down: a snapshot has it either before that, or not at all.
        let mut registry = self.registry.write();
        let (policy, gone) = registry.of_group(group, topic)?;
        self.note_forgotten(&policy, topic, &gone)?;
        registry.remove(&gone);
        registry.leave(policy.id, topic);
        if topic.is_none() {
            registry.drop_group(policy.id);
        }
        Ok(())
    }

    /// In the store first: a crash in between leaves the group as it was, and its progress is told again.
    fn note_forgotten(
        &self,
        group: &Policy,
        topic: Option<&str>,
        gone: &[Arc<Subscription>],
    ) -> Result<(), DeliveryError> {
        let topics: Vec<u32> = gone.iter().map(|one| one.topic_id).collect();
        let of_topics = topic.map(|_| &topics[..]);
        self.store.forget_progress(&group.name, of_topics)?;
        let group = group.id;
        let note = |topic| self.journal.append(&Record::Forgotten { group, topic });
        match of_topics {
            None => _ = note(None)?,
            Some(topics) => {
                for &topic in topics {
                    note(Some(topic))?;
                }
            }
        }
        Ok(())
    }
}

/// A group, and some of what it reads.
type Found = (Arc<Policy>, Vec<Arc<Subscription>>);

impl Registry {
    /// What a group reads: all of it, or a topic and its lite topics.
    fn of_group(&self, group: &str, topic: Option<&str>) -> Result<Found, DeliveryError> {
        let unknown = || DeliveryError::UnknownGroup {
            group: group.to_owned(),
        };
        let policy = self.group(group).ok_or_else(unknown)?;
        let is_its = |one: &Arc<Subscription>| {
            let parent = lite_parts(&one.topic).map_or(&*one.topic, |(parent, _)| parent);
            one.group.id == policy.id && topic.is_none_or(|topic| topic == parent)
        };
        let found = self.subscriptions().into_iter().filter(is_its).collect();
        Ok((policy, found))
    }

    fn remove(&mut self, gone: &[Arc<Subscription>]) {
        for one in gone {
            one.mark_ended();
            if let Some(members) = &one.members {
                members.lock().drop_topic(one.topic_id);
            }
        }
        if !gone.is_empty() {
            self.retain(|one| !one.has_ended());
        }
    }

    /// Takes it from the journal; what is not known is gone already.
    pub fn replay_forgotten(&mut self, group: u32, topic: Option<u32>) {
        let name = self.name_of(group).map(str::to_owned);
        let Some(Ok((policy, mut gone))) = name.map(|name| self.of_group(&name, None)) else {
            return;
        };
        gone.retain(|one| topic.is_none_or(|topic| topic == one.topic_id));
        self.remove(&gone);
        if topic.is_none() {
            self.leave(policy.id, None);
            self.drop_group(policy.id);
        }
    }
}
