//! What one client reads of the lite topics of a topic, and what of it is likely to have messages.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use event_listener::Event;

use crate::Timestamp;
use crate::lite::alarm::Alarm;

/// Longest attempt id that is kept, bytes.
const MAX_ATTEMPT_ID: usize = 128;

/// A client of a group. Topics are named by the store's ids of the lite topics.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub id: Arc<str>,
    /// What it subscribes to.
    pub topics: HashSet<u32>,
    /// Notified when one of them becomes ready.
    pub event: Arc<Event>,
    /// The newest version of its subscription that it named.
    pub version: Option<i64>,
    /// Those to look at, each once; the longest ready first.
    ready: VecDeque<u32>,
    queued: HashSet<u32>,
    /// When leases of others end.
    pub due: Alarm,
    /// The last receive that had a name, and what it looked at.
    attempt: Option<(String, Vec<u32>)>,
}

impl Client {
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// A lite topic may have something to deliver.
    pub fn make_ready(&mut self, topic: u32) {
        if self.topics.contains(&topic) && self.queued.insert(topic) {
            self.ready.push_back(topic);
        }
        self.event.notify(usize::MAX);
    }

    /// The next one to look at.
    pub fn next_ready(&mut self) -> Option<u32> {
        let topic = self.ready.pop_front()?;
        self.queued.remove(&topic);
        Some(topic)
    }

    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// A receive begins: what is due is ready, and what the receive of the same name looked at comes first.
    pub fn begin(&mut self, attempt: Option<&str>, now: Timestamp) {
        while let Some(topic) = self.due.pop(now) {
            if self.topics.contains(&topic) && self.queued.insert(topic) {
                self.ready.push_back(topic);
            }
        }
        let same = self
            .attempt
            .take_if(|(last, _)| Some(last.as_str()) == attempt);
        for topic in same.into_iter().flat_map(|(_, topics)| topics).rev() {
            if self.topics.contains(&topic) {
                self.ready.retain(|other| *other != topic);
                self.queued.insert(topic);
                self.ready.push_front(topic);
            }
        }
    }

    /// A receive of this name has looked at these.
    pub fn remember(&mut self, attempt: Option<&str>, topics: Vec<u32>) {
        if let Some(attempt) = attempt.filter(|attempt| attempt.len() <= MAX_ATTEMPT_ID) {
            self.attempt = Some((attempt.to_owned(), topics));
        }
    }

    /// It no longer reads a lite topic. Returns whether it did.
    pub fn leave(&mut self, topic: u32) -> bool {
        self.due.set(topic, None);
        if self.queued.remove(&topic) {
            self.ready.retain(|other| *other != topic);
        }
        self.topics.remove(&topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client {
            topics: HashSet::from([1, 2, 3]),
            ..Client::default()
        }
    }

    #[test]
    fn each_topic_waits_once_and_only_what_is_subscribed() {
        let mut client = client();
        for topic in [2, 1, 2, 9] {
            client.make_ready(topic);
        }
        assert_eq!(client.ready(), 2);
        assert!(client.leave(2) && !client.leave(2));
        assert_eq!((client.next_ready(), client.next_ready()), (Some(1), None));
    }

    #[test]
    fn what_is_due_becomes_ready_and_the_same_attempt_comes_first() {
        let mut client = client();
        client.due.set(3, Some(100));
        client.begin(None, 99);
        assert_eq!(client.ready(), 0);
        client.remember(Some("a"), vec![1, 2]);
        client.begin(Some("a"), 100);
        let order: Vec<u32> = std::iter::from_fn(|| client.next_ready()).collect();
        assert_eq!(order, [1, 2, 3]);
        client.begin(Some("a"), 100);
        assert_eq!(client.ready(), 0, "a name counts once");
    }
}
