//! Lite topics: who subscribes to which, and what a client receives of them.
//!
//! Each (group, lite topic) is a subscription of one queue like any other, so leases, acks, dead letters and restarts are
//! those of every topic. What is here beside it: a set for each client of what it reads, and a list of those of them that
//! may have something, which the store's dispatcher and every change of a lease fill. Nothing goes over all lite topics.

mod alarm;
mod client;
mod lifetime;
mod members;
mod progress;
mod receive;
mod sync;
mod upkeep;

pub(crate) use lifetime::Lifetimes;
pub(crate) use members::Members;
pub use progress::LiteProgress;
pub use sync::{LiteAction, LiteStart, LiteSync};
pub use upkeep::Unsubscribed;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use event_listener::EventListener;
use foliomq_store::{StoreError, check_lite, lite_name};

use crate::groups::Groups;
use crate::settle::PutOff;
use crate::shared::Shared;
use crate::{DeliveryError, Receive, Received, Timestamp};

/// Bounds of lite topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiteOptions {
    /// A lite topic that for so long had no new message and no new subscriber is removed, with what it holds; 0: never.
    /// Default 72 h, after which the store keeps no messages either.
    pub ttl: Duration,
    /// Most lite topics of one topic. Default 200,000, of about 1 KiB of memory each.
    pub topics: usize,
    /// Most lite topics of one topic that a client of a group subscribes to. Default 2,000.
    pub subscriptions: usize,
}

impl Default for LiteOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(72 * 3600),
            topics: 200_000,
            subscriptions: 2_000,
        }
    }
}

impl Groups {
    /// Makes the lite topic if it is not there; returns its name in the store.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::IllegalLiteTopic`], [`DeliveryError::LiteTopicQuota`].
    pub fn lite_topic(
        &self,
        topic: &str,
        lite: &str,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        let name = lite_name(topic, lite);
        if self.shared.store.topic(&name).is_none() {
            self.shared.make_lite(topic, &[lite], now)?;
        }
        Ok(name)
    }

    /// Makes those lite topics that are not there, with one flush for all: all or none.
    ///
    /// # Errors
    ///
    /// Those of [`lite_topic`](Self::lite_topic).
    pub fn lite_topics(
        &self,
        topic: &str,
        lite: &[&str],
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        self.shared.make_lite(topic, lite, now).map(drop)
    }

    /// Changes what a client of a group subscribes to. Lite topics that are not there are made. All of it or nothing.
    ///
    /// # Errors
    ///
    /// Those of [`lite_topic`](Self::lite_topic), and [`DeliveryError::LiteSubscriptionQuota`].
    pub fn sync_lite(&self, sync: &LiteSync<'_>, now: Timestamp) -> Result<(), DeliveryError> {
        self.shared.sync_lite(sync, now)
    }

    /// Receives of the lite topics that a client subscribes to, and of no others: in turn those that may have something.
    /// Each is read in order. `attempt` as in [`receive_attempt`](Self::receive_attempt).
    pub fn receive_lite(
        &self,
        request: &Receive<'_>,
        client: &str,
        attempt: &str,
        now: Timestamp,
    ) -> Result<Received, DeliveryError> {
        let attempt = Some(attempt).filter(|attempt| !attempt.is_empty());
        self.shared.receive_lite(request, client, attempt, now)
    }

    /// Woken when a lite topic that the client subscribes to may have something. Listen first, then receive, then wait.
    pub fn listen_lite(&self, group: &str, topic: &str, client: &str) -> EventListener {
        match self.shared.members(group, topic) {
            Some(members) => members.lock().listen(client),
            None => self.shared.newcomers.listen(),
        }
    }

    /// The bounds that hold where a topic says nothing else.
    pub fn lite_options(&self) -> LiteOptions {
        self.shared.options.lite
    }

    /// The bounds that hold for the lite topics of a topic.
    pub fn lite_limits(&self, topic: &str) -> LiteOptions {
        self.shared.lite_limits(topic)
    }

    /// Whether the client subscribes to lite topics of the topic.
    pub fn has_lite(&self, group: &str, topic: &str, client: &str) -> bool {
        let members = self.shared.members(group, topic);
        members.is_some_and(|members| {
            let mut members = members.lock();
            members
                .client(client)
                .is_some_and(|client| !client.topics.is_empty())
        })
    }

    /// Every client that is remembered for its lite topics.
    pub fn lite_clients(&self) -> Vec<Arc<str>> {
        self.shared.lite_clients()
    }

    /// Forgets what a client subscribes to: it is gone. What it holds stays leased until that ends.
    pub fn forget_lite_client(&self, client: &str) -> Result<(), DeliveryError> {
        self.shared.forget_lite_client(client)
    }

    /// Clients that lost a lite topic since the last call, because it was removed: they are to be told.
    pub fn take_unsubscribed(&self) -> Vec<Unsubscribed> {
        std::mem::take(&mut self.shared.unsubscribed.lock())
    }

    /// As [`change_invisible`](Self::change_invisible), but the delivery is not counted as an attempt.
    pub fn suspend(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        invisible: Duration,
        now: Timestamp,
    ) -> Result<String, DeliveryError> {
        self.shared
            .put_off(group, topic, handle, invisible, now, PutOff::Suspend)
    }
}

impl Shared {
    /// The group's members at the lite topics of a topic.
    pub fn members(&self, group: &str, topic: &str) -> Option<Arc<Members>> {
        self.registry.read().members(group, topic)
    }

    /// The bounds of the lite topics of a topic: what it says itself counts.
    pub fn lite_limits(&self, topic: &str) -> LiteOptions {
        let options = self.options.lite;
        let Some(topic) = self.store.topic(topic) else {
            return options;
        };
        let count = |own: Option<u32>, general| own.map_or(general, |own| own as usize);
        let own = topic.settings.lite;
        LiteOptions {
            ttl: own.ttl.unwrap_or(options.ttl),
            topics: count(own.topics, options.topics),
            subscriptions: count(own.subscriptions, options.subscriptions),
        }
    }

    /// Makes those of the lite topics that are not there; returns their ids.
    pub fn make_lite(
        &self,
        topic: &str,
        names: &[&str],
        now: Timestamp,
    ) -> Result<HashSet<u32>, DeliveryError> {
        for name in names {
            check_lite(name).map_err(illegal)?;
        }
        // One at a time, so that the quota holds.
        let mut lifetimes = self.lifetimes.lock();
        let is_new = |lite: &&&str| self.store.topic(&lite_name(topic, lite)).is_none();
        let mut fresh: Vec<&str> = names.iter().filter(is_new).copied().collect();
        fresh.sort_unstable();
        fresh.dedup();
        if fresh.is_empty() {
            return Ok(HashSet::new());
        }
        let LiteOptions {
            ttl, topics: limit, ..
        } = self.lite_limits(topic);
        if self.store.lite_count(topic) + fresh.len() > limit {
            let topic = topic.to_owned();
            return Err(DeliveryError::LiteTopicQuota { topic, limit });
        }
        self.store.create_lite_topics(topic, &fresh)?;
        let made = fresh
            .iter()
            .filter_map(|lite| self.store.topic(&lite_name(topic, lite)));
        let enter = |lite: foliomq_store::Topic| {
            lifetimes.enter(&lite, now, ttl);
            lite.id
        };
        Ok(made.map(enter).collect())
    }
}

fn illegal(error: StoreError) -> DeliveryError {
    DeliveryError::IllegalLiteTopic {
        what: error.to_string(),
    }
}
