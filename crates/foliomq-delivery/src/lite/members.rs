//! Who of a group reads which lite topic of a topic.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use event_listener::EventListener;
use parking_lot::{Mutex, MutexGuard};

use crate::Timestamp;
use crate::lite::alarm::Alarm;
use crate::lite::client::Client;

/// A group at the lite topics of one topic.
#[derive(Debug)]
pub(crate) struct Members {
    /// The group's number.
    pub group: u32,
    /// The name of the topic that has the lite topics.
    pub parent: String,
    inner: Mutex<Inner>,
}

/// What of it changes. Lite topics are named by the store's ids.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    clients: HashMap<u32, Client>,
    by_id: HashMap<Arc<str>, u32>,
    next_client: u32,
    topics: HashMap<u32, Entry>,
    /// Subscriptions that changed since housekeeping last looked.
    touched: HashSet<u32>,
    /// When housekeeping is to look at a subscription again: a lease of it ends.
    pub later: Alarm,
}

/// A lite topic that somebody reads: 24 bytes where it is one client.
#[derive(Debug)]
struct Entry {
    subscription: u32,
    readers: Readers,
}

#[derive(Debug)]
enum Readers {
    One(u32),
    Many(Box<[u32]>),
}

impl Readers {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(client) => std::slice::from_ref(client),
            Self::Many(clients) => clients,
        }
    }
}

impl Members {
    pub fn new(group: u32, parent: String) -> Self {
        Self {
            group,
            parent,
            inner: Mutex::default(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// New messages of a lite topic can be read: its readers are woken, and nobody else.
    pub fn arrived(&self, topic: u32) {
        self.lock().make_ready(topic);
    }

    /// Something changed in a subscription: its readers are woken, and housekeeping looks at it.
    pub fn changed(&self, topic: u32, subscription: u32) {
        let mut inner = self.lock();
        inner.touched.insert(subscription);
        inner.make_ready(topic);
    }
}

impl Inner {
    fn make_ready(&mut self, topic: u32) {
        let Some(entry) = self.topics.get(&topic) else {
            return;
        };
        for reader in entry.readers.as_slice() {
            if let Some(client) = self.clients.get_mut(reader) {
                client.make_ready(topic);
            }
        }
    }

    /// When the first lease of a lite topic ends, for all who read it.
    pub fn set_due(&mut self, topic: u32, time: Option<Timestamp>) {
        let Some(entry) = self.topics.get(&topic) else {
            return;
        };
        for reader in entry.readers.as_slice() {
            if let Some(client) = self.clients.get_mut(reader) {
                client.due.set(topic, time);
            }
        }
    }

    pub fn client(&mut self, id: &str) -> Option<&mut Client> {
        self.clients.get_mut(self.by_id.get(id)?)
    }

    /// The lite topics that a client reads.
    pub fn read_by(&mut self, id: &str) -> HashSet<u32> {
        self.client(id)
            .map(|client| client.topics.clone())
            .unwrap_or_default()
    }

    /// The number of a client, which is remembered from now on.
    fn number(&mut self, id: &str) -> u32 {
        if let Some(number) = self.by_id.get(id) {
            return *number;
        }
        let number = self.next_client;
        self.next_client = self.next_client.wrapping_add(1);
        let id: Arc<str> = id.into();
        self.by_id.insert(id.clone(), number);
        self.clients.insert(number, Client::new(id));
        number
    }

    /// Wakes when a lite topic of the client has something; before it reads any, when it does.
    pub fn listen(&mut self, id: &str) -> EventListener {
        let number = self.number(id);
        self.clients.entry(number).or_default().event.listen()
    }

    /// Notes the version of a client's subscription. False: it has named a newer one.
    pub fn admit(&mut self, id: &str, version: Option<i64>) -> bool {
        let number = self.number(id);
        let client = self.clients.entry(number).or_default();
        let is_old = client.version.is_some() && version.is_some() && version < client.version;
        if !is_old {
            client.version = version.or(client.version);
        }
        !is_old
    }

    /// The client reads a lite topic, whose subscription is named; `ready`: it may have something already.
    pub fn join(&mut self, id: &str, topic: u32, subscription: u32, ready: bool) {
        let number = self.number(id);
        let client = self.clients.entry(number).or_default();
        if !client.topics.insert(topic) {
            return;
        }
        let one = Entry {
            subscription,
            readers: Readers::One(number),
        };
        let entry = self.topics.entry(topic).or_insert(one);
        if !entry.readers.as_slice().contains(&number) {
            let mut readers = entry.readers.as_slice().to_vec();
            readers.push(number);
            entry.readers = Readers::Many(readers.into());
        }
        if ready {
            client.make_ready(topic);
        }
    }

    /// The client no longer reads a lite topic; what it had of it may be for others.
    pub fn leave(&mut self, id: &str, topic: u32) {
        let Some(number) = self.by_id.get(id).copied() else {
            return;
        };
        let left = self
            .clients
            .get_mut(&number)
            .map(|client| client.leave(topic));
        if left != Some(true) {
            return;
        }
        let Some(entry) = self.topics.get_mut(&topic) else {
            return;
        };
        let others = entry.readers.as_slice().iter().copied();
        let others: Vec<u32> = others.filter(|other| *other != number).collect();
        match others[..] {
            [] => _ = self.topics.remove(&topic),
            [one] => entry.readers = Readers::One(one),
            _ => entry.readers = Readers::Many(others.into()),
        }
        self.make_ready(topic);
    }

    /// The client is gone.
    pub fn forget(&mut self, id: &str) {
        let topics = self.client(id).map(|client| client.topics.clone());
        topics
            .into_iter()
            .flatten()
            .for_each(|topic| self.leave(id, topic));
        if let Some(client) = self
            .by_id
            .remove(id)
            .and_then(|number| self.clients.remove(&number))
        {
            client.event.notify(usize::MAX);
        }
    }

    /// The lite topic is gone; returns who read it.
    pub fn drop_topic(&mut self, topic: u32) -> Vec<Arc<str>> {
        let Some(entry) = self.topics.remove(&topic) else {
            return Vec::new();
        };
        self.later.set(entry.subscription, None);
        let mut readers = Vec::new();
        for reader in entry.readers.as_slice() {
            if let Some(client) = self.clients.get_mut(reader) {
                client.leave(topic);
                readers.push(client.id.clone());
            }
        }
        readers
    }

    pub fn client_ids(&self) -> Vec<Arc<str>> {
        self.by_id.keys().cloned().collect()
    }

    /// The ids of those who read a lite topic.
    pub fn readers(&self, topic: u32) -> Vec<Arc<str>> {
        let readers = self
            .topics
            .get(&topic)
            .map(|entry| entry.readers.as_slice());
        let clients = readers.into_iter().flatten();
        let ids = clients.filter_map(|reader| Some(self.clients.get(reader)?.id.clone()));
        ids.collect()
    }

    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values()
    }

    /// The subscription of a lite topic that somebody reads.
    pub fn subscription(&self, topic: u32) -> Option<u32> {
        self.topics.get(&topic).map(|entry| entry.subscription)
    }

    pub fn topics(&self) -> Vec<(u32, u32)> {
        let topics = self.topics.iter();
        topics
            .map(|(topic, entry)| (*topic, entry.subscription))
            .collect()
    }

    /// A lite topic may have something: its readers are to look.
    pub fn look_at(&mut self, topic: u32) {
        self.make_ready(topic);
    }

    pub fn touch(&mut self, subscription: u32) {
        self.touched.insert(subscription);
    }

    /// Subscriptions for housekeeping: those that changed, and those of which a lease has ended.
    pub fn take_touched(&mut self, now: Timestamp) -> HashSet<u32> {
        while let Some(subscription) = self.later.pop(now) {
            self.touched.insert(subscription);
        }
        std::mem::take(&mut self.touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_reads_a_topic_becomes_ready() {
        let members = Members::new(1, "t".into());
        let mut inner = members.lock();
        inner.join("a", 1, 11, false);
        inner.join("a", 2, 12, false);
        inner.join("b", 2, 12, false);
        drop(inner);
        members.arrived(1);
        members.changed(2, 12);
        members.arrived(3);
        let mut inner = members.lock();
        assert_eq!(inner.client("a").unwrap().ready(), 2);
        assert_eq!(inner.client("b").unwrap().ready(), 1);
        assert_eq!(inner.take_touched(0), HashSet::from([12]));
        inner.leave("b", 2);
        assert_eq!(inner.topics[&2].readers.as_slice().len(), 1);
        inner.forget("a");
        assert!(inner.topics.is_empty(), "{inner:?}");
        assert_eq!(inner.client_ids(), ["b".into()]);
    }

    #[test]
    fn an_older_version_of_a_subscription_counts_no_more() {
        let members = Members::new(1, "t".into());
        let mut inner = members.lock();
        let admitted =
            [Some(3), Some(2), None, Some(2), Some(3)].map(|version| inner.admit("a", version));
        assert_eq!(admitted, [true, false, true, false, true]);
    }
}
