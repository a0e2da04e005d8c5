//! All groups and what they read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foliomq_store::{Topic, lite_parts};
use parking_lot::Mutex;

use crate::journal::Journal;
use crate::lite::Members;
use crate::name::check_group;
use crate::order::{Order, SharedOrder};
use crate::record::{LiteChange, Record, STATE_CHUNK};
use crate::subscription::{Policy, Subscription};
use crate::{Backoff, DeliveryError, Rules};

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
    /// Those of lite topics, apart: there may be many, and nothing goes over them without need.
    lite: HashMap<u32, Arc<Subscription>>,
    /// Topic with lite topics to the groups that read some.
    members: HashMap<String, Vec<Arc<Members>>>,
    /// Queues of all subscriptions.
    queues: usize,
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
        let found = self.subscriptions.get(&id).or_else(|| self.lite.get(&id));
        found.cloned()
    }

    pub fn find(&self, group: &str, topic_id: u32) -> Option<Arc<Subscription>> {
        let group = self.groups.get(group)?;
        self.subscription(*self.by_topic.get(&(group.id, topic_id))?)
    }

    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.all().cloned().collect()
    }

    /// Those of topics that are no lite topics.
    pub fn plain_subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.values().cloned().collect()
    }

    /// Those of lite topics.
    pub fn lite_subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.lite.values().cloned().collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values().chain(self.lite.values())
    }

    /// A group's members at the lite topics of a topic.
    pub fn members(&self, group: &str, topic: &str) -> Option<Arc<Members>> {
        let group = self.groups.get(group)?.id;
        let mut there = self.members.get(topic)?.iter();
        there.find(|members| members.group == group).cloned()
    }

    /// Those of all groups at a topic.
    pub fn members_at(&self, topic: &str) -> Vec<Arc<Members>> {
        self.members.get(topic).cloned().unwrap_or_default()
    }

    /// Those of all groups at all topics.
    pub fn all_members(&self) -> Vec<Arc<Members>> {
        self.members.values().flatten().cloned().collect()
    }

    /// A group's members at the lite topics of a topic; from now on they are there.
    pub fn join_members(&mut self, group: &Policy, topic: &str) -> Arc<Members> {
        if let Some(members) = self.members(&group.name, topic) {
            return members;
        }
        let members = Arc::new(Members::new(group.id, topic.to_owned()));
        let there = self.members.entry(topic.to_owned()).or_default();
        there.push(members.clone());
        members
    }

    /// Takes a change of what a client reads from the journal. Lite topics that are not known come before the snapshot that
    /// the journal begins with, or are gone.
    pub fn replay_lite(
        &mut self,
        group: u32,
        topic: &str,
        client: &str,
        change: LiteChange,
        topics: &[u32],
    ) {
        let name = self.group_names.get(&group);
        let Some(policy) = name.and_then(|name| self.group(name)) else {
            return;
        };
        let members = self.join_members(&policy, topic);
        let mut inner = members.lock();
        if change == LiteChange::Clear {
            inner.forget(client);
        }
        for topic in topics {
            match (change, self.by_topic.get(&(group, *topic))) {
                (LiteChange::Add, Some(subscription)) => {
                    inner.join(client, *topic, *subscription, false);
                }
                (LiteChange::Remove, _) => inner.leave(client, *topic),
                _ => {}
            }
        }
    }

    /// The name of the group with this number.
    pub fn name_of(&self, id: u32) -> Option<&str> {
        self.group_names.get(&id).map(String::as_str)
    }

    /// The group is no more; what it reads goes apart.
    pub fn drop_group(&mut self, id: u32) {
        if let Some(name) = self.group_names.remove(&id) {
            self.groups.remove(&name);
        }
    }

    /// No client of the group reads lite topics any more: of this topic, or of any.
    pub fn leave(&mut self, group: u32, topic: Option<&str>) {
        self.members.retain(|parent, members| {
            if topic.is_none_or(|topic| topic == parent) {
                members.retain(|one| one.group != group);
            }
            !members.is_empty()
        });
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

    /// Sets where the group begins, and its bounds of the invisible time.
    pub fn set_rules(
        &self,
        journal: &Journal,
        group: &Policy,
        change: impl FnOnce(&mut Rules),
    ) -> Result<(), DeliveryError> {
        let mut now = group.rules.lock();
        let mut rules = now.clone();
        change(&mut rules);
        rules.check()?;
        journal.append(&Record::Rules {
            group: group.id,
            rules: rules.clone(),
        })?;
        *now = rules;
        Ok(())
    }

    /// Takes a group's rules from the journal.
    pub fn replay_rules(&mut self, group: u32, rules: Rules) {
        let name = self.group_names.get(&group);
        if let Some(group) = name.and_then(|name| self.group(name)) {
            *group.rules.lock() = rules;
        }
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
        is_late: bool,
    ) -> Result<Arc<Subscription>, DeliveryError> {
        self.check_room(&group.name, starts.len())?;
        let id = self.next_subscription;
        let (topic_id, name) = (topic.id, topic.name.clone());
        journal.append(&Record::Subscription {
            id,
            group: group.id,
            topic_id,
            topic: name.clone(),
            starts: starts.clone(),
        })?;
        let members = self.members_of(group, &name);
        let subscription = Arc::new(Subscription::new(
            id,
            group.clone(),
            name,
            topic_id,
            &starts,
            members,
        ));
        if is_late {
            subscription.unsettle();
        }
        self.add(subscription.clone());
        Ok(subscription)
    }

    /// Whether there is room for a group to read so many queues more.
    fn check_room(&self, group: &str, more: usize) -> Result<(), DeliveryError> {
        let read = self.queues;
        if read + more <= MAX_QUEUES {
            return Ok(());
        }
        let what = format!("group {group} can read no more: all groups read {read} queues");
        Err(DeliveryError::IllegalGroup { what })
    }

    /// Whether there is room for the groups that read a topic if it has so many queues.
    pub fn check_growth(
        &self,
        topic_id: u32,
        name: &str,
        queues: u32,
    ) -> Result<(), DeliveryError> {
        let its = self.subscriptions.values();
        let its = its.filter(|one| one.topic_id == topic_id);
        let more = its.map(|one| queues.saturating_sub(one.queue_count()) as usize);
        let (more, read) = (more.sum::<usize>(), self.queues);
        if more == 0 || read + more <= MAX_QUEUES {
            return Ok(());
        }
        let what = format!(
            "topic {name} cannot have {queues} queues: its groups would read {more} more, and all groups read {read} of at most {MAX_QUEUES}"
        );
        Err(DeliveryError::TooMany { what })
    }

    /// A topic that is read has got more queues. Without a note of it in the journal a crash brings back what was acked in these.
    pub fn grow(
        &mut self,
        journal: &Journal,
        subscription: &Subscription,
        queues: u32,
        sequence: u32,
    ) -> Result<(), DeliveryError> {
        let more = queues.saturating_sub(subscription.queue_count());
        if more == 0 || subscription.has_ended() {
            return Ok(());
        }
        self.check_room(&subscription.group.name, more as usize)?;
        if let Err(error) = journal.append(&entry(subscription, queues)) {
            let topic = &subscription.topic;
            tracing::warn!(%error, %topic, "the journal does not know of new queues: after a crash, acked messages of them come again");
        }
        subscription.grow(queues, sequence);
        self.queues += more as usize;
        Ok(())
    }

    /// Whom a subscription of a lite topic wakes; `None` for any other topic.
    fn members_of(&mut self, group: &Policy, topic: &str) -> Option<Arc<Members>> {
        lite_parts(topic).map(|(parent, _)| self.join_members(group, parent))
    }

    /// Forgets what the topics that are gone were read by; returns those of lite topics.
    pub fn retain(&mut self, is_there: impl Fn(&Subscription) -> bool) -> Vec<Arc<Subscription>> {
        self.subscriptions
            .retain(|_, subscription| is_there(subscription));
        let gone: Vec<_> = self
            .lite
            .extract_if(|_, subscription| !is_there(subscription))
            .collect();
        let (subscriptions, lite) = (&self.subscriptions, &self.lite);
        self.by_topic
            .retain(|_, id| subscriptions.contains_key(id) || lite.contains_key(id));
        self.queues = self.all().map(|one| one.queue_count() as usize).sum();
        gone.into_iter()
            .map(|(_, subscription)| subscription)
            .collect()
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
            let rules = group.rules.lock().clone();
            if rules != Rules::default() {
                let group = group.id;
                journal.append(&Record::Rules { group, rules })?;
            }
            let (group, order) = (group.id, group.order.load());
            journal.append(&Record::Order { group, order })?;
        }
        for subscription in self.all() {
            journal.append(&entry(subscription, subscription.queue_count()))?;
        }
        self.all_members()
            .iter()
            .try_for_each(|members| write_members(journal, members))
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
                rules: Mutex::default(),
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

    /// Takes a subscription from the journal; one that is there stays as it is, but for queues that it did not have.
    pub fn replay_subscription(
        &mut self,
        id: u32,
        group: u32,
        topic_id: u32,
        topic: String,
        starts: &[u64],
    ) {
        self.next_subscription = self.next_subscription.max(id.saturating_add(1));
        if let Some(there) = self.subscription(id) {
            let before = there.queue_count();
            there.grow(starts.len() as u32, 0);
            self.queues += (there.queue_count() - before) as usize;
            return;
        }
        if let Some(group) = self
            .group_names
            .get(&group)
            .and_then(|name| self.group(name))
        {
            let members = self.members_of(&group, &topic);
            self.add(Arc::new(Subscription::new(
                id, group, topic, topic_id, starts, members,
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
        self.queues += subscription.queue_count() as usize;
        let place = match subscription.members {
            Some(_) => &mut self.lite,
            None => &mut self.subscriptions,
        };
        place.insert(subscription.id, subscription);
    }
}

/// A subscription as the journal has it. What the queues hold follows.
fn entry(subscription: &Subscription, queues: u32) -> Record {
    Record::Subscription {
        id: subscription.id,
        group: subscription.group.id,
        topic_id: subscription.topic_id,
        topic: subscription.topic.clone(),
        starts: vec![0; queues as usize],
    }
}

/// Writes what each client reads of lite topics: nobody changes it meanwhile.
fn write_members(journal: &Journal, members: &Members) -> Result<(), DeliveryError> {
    let inner = members.lock();
    for client in inner.clients().filter(|client| !client.topics.is_empty()) {
        let record = |change, topics: &[u32]| Record::Lite {
            group: members.group,
            topic: members.parent.clone(),
            client: client.id.to_string(),
            change,
            topics: topics.to_vec(),
        };
        journal.append(&record(LiteChange::Clear, &[]))?;
        let topics: Vec<u32> = client.topics.iter().copied().collect();
        for part in topics.chunks(STATE_CHUNK) {
            journal.append(&record(LiteChange::Add, part))?;
        }
    }
    Ok(())
}

fn allowed(max_attempts: u32) -> u32 {
    max_attempts.clamp(1, MAX_ATTEMPTS)
}

#[cfg(test)]
mod tests {
    use foliomq_store::StoreError;

    use super::*;
    use crate::model::fixture::{Fixture, GROUP, TOPIC};

    #[test]
    fn a_topic_gets_no_more_queues_than_its_groups_may_read() {
        let fixture = Fixture::new(1);
        let shared = &fixture.groups.shared;
        assert!(fixture.receive(1).is_empty());
        shared.join("another", TOPIC).unwrap();
        let room = |queues| shared.registry.write().queues = MAX_QUEUES - queues;
        let update = |queues| {
            let change = |topic: &mut Topic| topic.queues = queues;
            fixture.groups.update_topic(TOPIC, change)
        };
        // Each of the two groups would read two more.
        room(3);
        let refused = update(3).unwrap_err();
        assert!(
            matches!(refused, DeliveryError::TooMany { .. }),
            "{refused}"
        );
        assert_eq!(fixture.store.topic(TOPIC).unwrap().queues, 1);
        let illegal = update(u32::MAX).unwrap_err();
        let by_store = matches!(illegal, DeliveryError::Store(StoreError::Illegal { .. }));
        assert!(by_store, "{illegal}");
        room(4);
        assert_eq!(update(3).unwrap().queues, 3);
        assert!(fixture.receive(1).is_empty());
        shared.join("another", TOPIC).unwrap();
        assert_eq!(shared.registry.read().queues, MAX_QUEUES);
        // Who asks the store itself is not refused, and his readers are told.
        let four = |topic: &mut Topic| topic.queues = 4;
        fixture.store.update_topic(TOPIC, four).unwrap();
        let told = shared.join(GROUP, TOPIC).unwrap_err();
        assert!(matches!(told, DeliveryError::IllegalGroup { .. }), "{told}");
        assert_eq!(fixture.groups.offset(GROUP, TOPIC, 3), Ok(Some(0)));
        assert_eq!(fixture.groups.group(GROUP).unwrap().queues.len(), 4);
        room(1);
        shared.join(GROUP, TOPIC).unwrap();
    }
}
