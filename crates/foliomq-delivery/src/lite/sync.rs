//! Changes of what a client subscribes to.

use std::collections::HashSet;
use std::sync::Arc;

use foliomq_store::{StoreError, lite_name};

use crate::lite::LiteOptions;
use crate::lite::members::{Inner, Members};
use crate::record::{LiteChange, Record};
use crate::shared::Shared;
use crate::{DeliveryError, ResetTo, Timestamp};

/// What to do with the lite topics that a client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteAction {
    /// It reads these too.
    Add,
    /// It reads these no more.
    Remove,
    /// It reads these and no others.
    Replace,
    /// It reads none, whichever are named.
    Clear,
}

/// Where a group begins in a lite topic that it never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiteStart {
    /// Where the group's progress is, if the store has any; else at the first message that is there.
    #[default]
    Last,
    /// There.
    At(ResetTo),
    /// So many messages before the end.
    Tail(u64),
}

/// A change of what a client subscribes to.
#[derive(Debug, Clone)]
pub struct LiteSync<'a> {
    /// Created if it is not there.
    pub group: &'a str,
    /// Must be there.
    pub topic: &'a str,
    /// The client's id.
    pub client: &'a str,
    /// What is done.
    pub action: LiteAction,
    /// Names of lite topics.
    pub names: &'a [String],
    /// Where the group begins in those that it never read.
    pub start: LiteStart,
    /// A change of an older version than one before is passed over.
    pub version: Option<i64>,
}

/// A lite topic that is about to be subscribed to.
struct Newcomer {
    topic: u32,
    subscription: u32,
    ready: bool,
}

impl Shared {
    pub fn sync_lite(&self, sync: &LiteSync<'_>, now: Timestamp) -> Result<(), DeliveryError> {
        let names: HashSet<&str> = match sync.action {
            LiteAction::Clear => HashSet::new(),
            _ => sync.names.iter().map(String::as_str).collect(),
        };
        if self.store.topic(sync.topic).is_none() {
            let topic = sync.topic.to_owned();
            return Err(StoreError::UnknownTopic { topic }.into());
        }
        let members = self.join_members(sync.group, sync.topic)?;
        let LiteOptions {
            ttl,
            subscriptions: limit,
            ..
        } = self.lite_limits(sync.topic);
        if names.len() > limit {
            return Err(too_many(sync, limit));
        }
        if sync.action == LiteAction::Remove {
            return self.leave(sync, &members, &names);
        }
        let all: Vec<&str> = names.iter().copied().collect();
        let made = self.make_lite(sync.topic, &all, now)?;
        let newcomers = self.newcomers(sync, &members, &names)?;
        let mut inner = members.lock();
        if !inner.admit(sync.client, sync.version) {
            return Ok(());
        }
        let read = inner.read_by(sync.client);
        let wanted: HashSet<u32> = newcomers.iter().map(|newcomer| newcomer.topic).collect();
        let fresh: Vec<u32> = wanted.difference(&read).copied().collect();
        let gone: Vec<u32> = match sync.action {
            LiteAction::Replace | LiteAction::Clear => read.difference(&wanted).copied().collect(),
            LiteAction::Add | LiteAction::Remove => Vec::new(),
        };
        if read.len() + fresh.len() - gone.len() > limit {
            return Err(too_many(sync, limit));
        }
        self.note(&members, sync.client, LiteChange::Remove, &gone)?;
        gone.iter()
            .for_each(|topic| inner.leave(sync.client, *topic));
        self.note(&members, sync.client, LiteChange::Add, &fresh)?;
        for newcomer in newcomers {
            inner.join(
                sync.client,
                newcomer.topic,
                newcomer.subscription,
                newcomer.ready,
            );
        }
        drop(inner);
        // Those that were made just now are looked at in time anyway.
        let older = fresh.iter().filter(|topic| !made.contains(topic));
        let mut lifetimes = self.lifetimes.lock();
        older.for_each(|topic| lifetimes.used(*topic, now, ttl));
        Ok(())
    }

    fn leave(
        &self,
        sync: &LiteSync<'_>,
        members: &Arc<Members>,
        names: &HashSet<&str>,
    ) -> Result<(), DeliveryError> {
        let topics = names
            .iter()
            .filter_map(|lite| self.store.topic(&lite_name(sync.topic, lite)));
        let topics: Vec<u32> = topics.map(|topic| topic.id).collect();
        let mut inner = members.lock();
        if !inner.admit(sync.client, sync.version) {
            return Ok(());
        }
        let read = inner.read_by(sync.client);
        let gone: Vec<u32> = topics
            .into_iter()
            .filter(|topic| read.contains(topic))
            .collect();
        self.note(members, sync.client, LiteChange::Remove, &gone)?;
        gone.into_iter()
            .for_each(|topic| inner.leave(sync.client, topic));
        Ok(())
    }

    /// The subscriptions of the lite topics, which are there; those that are not are made.
    fn newcomers(
        &self,
        sync: &LiteSync<'_>,
        members: &Members,
        names: &HashSet<&str>,
    ) -> Result<Vec<Newcomer>, DeliveryError> {
        let mut newcomers = Vec::with_capacity(names.len());
        let mut subscriptions = Vec::with_capacity(names.len());
        for lite in names {
            let name = lite_name(sync.topic, lite);
            let subscription = match self.find(sync.group, &name) {
                Some(subscription) => subscription,
                None => {
                    let start = self.lite_start(sync, &name)?;
                    self.join_at(sync.group, &name, start)?
                }
            };
            let known = members.lock().subscription(subscription.topic_id).is_some();
            newcomers.push(Newcomer {
                topic: subscription.topic_id,
                subscription: subscription.id,
                ready: known || self.has_work(&subscription)?,
            });
            subscriptions.push(subscription);
        }
        self.settle_starts(&subscriptions)?;
        Ok(newcomers)
    }

    fn lite_start(&self, sync: &LiteSync<'_>, name: &str) -> Result<Option<u64>, StoreError> {
        let to = match sync.start {
            LiteStart::Last => return Ok(None),
            LiteStart::At(to) => to,
            LiteStart::Tail(count) => {
                let offsets = self.store.offsets(name, 0)?;
                ResetTo::Offset(offsets.end.saturating_sub(count).max(offsets.start))
            }
        };
        self.target(name, 0, to).map(Some)
    }

    pub fn lite_clients(&self) -> Vec<Arc<str>> {
        let members = self.registry.read().all_members();
        let mut ids: Vec<Arc<str>> = members
            .iter()
            .flat_map(|members| members.lock().client_ids())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub fn forget_lite_client(&self, client: &str) -> Result<(), DeliveryError> {
        let members = self.registry.read().all_members();
        for members in members {
            let mut inner: parking_lot::MutexGuard<'_, Inner> = members.lock();
            let reads = inner
                .client(client)
                .is_some_and(|client| !client.topics.is_empty());
            if reads {
                self.note(&members, client, LiteChange::Clear, &[])?;
            }
            inner.forget(client);
        }
        Ok(())
    }

    /// Journals a change before it is made. Without space for it the change stands until a restart.
    fn note(
        &self,
        members: &Members,
        client: &str,
        change: LiteChange,
        topics: &[u32],
    ) -> Result<(), DeliveryError> {
        if topics.is_empty() && change != LiteChange::Clear {
            return Ok(());
        }
        let noted = self.journal.append(&Record::Lite {
            group: members.group,
            topic: members.parent.clone(),
            client: client.to_owned(),
            change,
            topics: topics.to_vec(),
        });
        match noted {
            Err(error @ foliomq_store::AppendError::DiskFull { .. }) => {
                tracing::warn!(%error, client, "a change of lite subscriptions is forgotten by a restart");
                Ok(())
            }
            noted => Ok(noted.map(|_| ())?),
        }
    }
}

fn too_many(sync: &LiteSync<'_>, limit: usize) -> DeliveryError {
    DeliveryError::LiteSubscriptionQuota {
        topic: sync.topic.to_owned(),
        limit,
    }
}
