//! Housekeeping of lite topics: only what changed, and what is over, is looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foliomq_store::lite_parts;

use crate::lite::lifetime::Lifetimes;
use crate::lite::members::Members;
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::{DeliveryError, Timestamp};

/// Clients that are told of at most; of one more the removal is not told.
const MAX_UNSUBSCRIBED: usize = 100_000;

/// A client lost a lite topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The client's id.
    pub client: Arc<str>,
    /// The topic that had it.
    pub topic: String,
    /// The lite topic.
    pub lite: String,
}

impl Shared {
    /// Looks after the lite topics that changed, and removes those whose time to live is over.
    pub fn tick_lite(&self, now: Timestamp) -> Result<(), DeliveryError> {
        let mut result = Ok(());
        let all = self.registry.read().all_members();
        for members in all {
            result = result.and(self.look_after(&members, now));
        }
        result.and(self.end_lives(now))
    }

    fn look_after(&self, members: &Members, now: Timestamp) -> Result<(), DeliveryError> {
        let mut result = Ok(());
        let touched = members.lock().take_touched(now);
        for id in touched {
            let Some(subscription) = self.registry.read().subscription(id) else {
                continue;
            };
            let done = self.keep_house(&subscription, 0, now);
            let next = subscription.queue(0).leases().next_end(now);
            let mut inner = members.lock();
            inner.later.set(id, next);
            if done.is_err() && self.is_there(&subscription) {
                inner.touch(id);
                result = result.and(done);
            }
        }
        result
    }

    fn end_lives(&self, now: Timestamp) -> Result<(), DeliveryError> {
        let mut lifetimes = self.lifetimes.lock();
        for topic in std::mem::take(&mut lifetimes.at_start) {
            let last = self.last_message(&topic.name).unwrap_or(now);
            lifetimes.enter(&topic, last, self.ttl_of(&topic.name));
        }
        self.note_ttls(&mut lifetimes, now);
        let over = lifetimes.over(now, |name, id| {
            let topic = self.store.topic(name).filter(|topic| topic.id == id)?;
            Some((self.last_message(&topic.name), self.ttl_of(name)))
        });
        let over: Vec<&str> = over.iter().map(AsRef::as_ref).collect();
        if !over.is_empty() {
            tracing::info!(
                count = over.len(),
                "lite topics without traffic are removed"
            );
            self.store.delete_topics(&over)?;
        }
        drop(lifetimes);
        self.forget_gone();
        Ok(())
    }

    /// After what time a lite topic without traffic is removed; 0: never.
    fn ttl_of(&self, name: &str) -> Duration {
        let parent = lite_parts(name).map_or(name, |(parent, _)| parent);
        self.lite_limits(parent).ttl
    }

    /// Where a topic has got another time to live, that of its lite topics begins anew.
    fn note_ttls(&self, lifetimes: &mut Lifetimes, now: Timestamp) {
        let changes = self.store.topic_settings_changes();
        if lifetimes.changes == changes {
            return;
        }
        lifetimes.changes = changes;
        let topics = self.store.topics();
        // Only here may there be more of them than before.
        lifetimes.forget_others(&topics);
        for topic in topics {
            let ttl = topic.settings.lite.ttl;
            if lifetimes.note(&topic.name, ttl) {
                let ttl = ttl.unwrap_or(self.options.lite.ttl);
                for lite in self.store.lite_topics(&topic.name) {
                    lifetimes.enter(&lite, now, ttl);
                }
            }
        }
    }

    /// When the last message of a lite topic was stored.
    fn last_message(&self, name: &str) -> Option<Timestamp> {
        let last = self.store.offsets(name, 0).ok()?.end.checked_sub(1)?;
        let mut entries = Vec::new();
        self.store.entries(name, 0, last, 1, &mut entries).ok()?;
        entries.first().map(|entry| entry.store_time)
    }

    /// Forgets what the topics that are gone were read by, if any went since the last time.
    pub fn forget_gone(&self) {
        let changes = self.store.topic_changes();
        if self.topic_changes.swap(changes, Ordering::AcqRel) == changes {
            return;
        }
        let gone = self
            .registry
            .write()
            .retain(|subscription| self.is_there(subscription));
        gone.iter()
            .for_each(|subscription| self.tell_readers(subscription));
    }

    fn tell_readers(&self, subscription: &Subscription) {
        let (Some(members), Some((topic, lite))) =
            (&subscription.members, lite_parts(&subscription.topic))
        else {
            return;
        };
        let readers = members.lock().drop_topic(subscription.topic_id);
        let mut unsubscribed = self.unsubscribed.lock();
        let room = MAX_UNSUBSCRIBED.saturating_sub(unsubscribed.len());
        unsubscribed.extend(readers.into_iter().take(room).map(|client| Unsubscribed {
            client,
            topic: topic.to_owned(),
            lite: lite.to_owned(),
        }));
    }

    /// After a restart: each lite topic's time to live.
    fn find_lifetimes(&self) {
        let mut lifetimes = self.lifetimes.lock();
        lifetimes.changes = self.store.topic_settings_changes();
        for topic in self.store.topics() {
            let own = topic.settings.lite.ttl;
            lifetimes.note(&topic.name, own);
            if !own.unwrap_or(self.options.lite.ttl).is_zero() {
                let lite = self.store.lite_topics(&topic.name);
                lifetimes.at_start.extend(lite);
            }
        }
    }

    /// After a restart: what has something is ready, and what is leased is looked at by housekeeping.
    pub fn wake_lite(&self) -> Result<(), DeliveryError> {
        self.find_lifetimes();
        let all = self.registry.read().all_members();
        for members in all {
            let topics = members.lock().topics();
            for (topic, id) in topics {
                let subscription = self.registry.read().subscription(id);
                if let Some(subscription) = subscription
                    && self.has_work(&subscription)?
                {
                    members.lock().look_at(topic);
                }
            }
        }
        for subscription in self.registry.read().lite_subscriptions() {
            if subscription.queue(0).leases().in_flight() > 0
                && let Some(members) = &subscription.members
            {
                members.lock().touch(subscription.id);
            }
        }
        Ok(())
    }
}
