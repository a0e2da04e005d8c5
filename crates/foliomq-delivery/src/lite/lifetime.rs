//! When lite topics are removed for want of traffic.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use foliomq_store::{Topic, lite_parts};

use crate::Timestamp;
use crate::shared::after;

/// Most lite topics that one tick looks at.
const MAX_LOOKED_AT: usize = 4096;

/// When to look whether a lite topic had traffic: each is looked at about once in its time to live, and costs nothing
/// between. Some 80 bytes for each; none without a time to live.
#[derive(Debug, Default)]
pub(crate) struct Lifetimes {
    checks: BinaryHeap<Reverse<(Timestamp, u32, Box<str>)>>,
    /// Subscriptions made since the last look, by the lite topic's id.
    used: HashMap<u32, Timestamp>,
    /// Those that were there at the start, until there is a time to enter them with.
    pub at_start: Vec<Topic>,
    /// Topics that say themselves how long their lite topics live, as of the store's count of such changes.
    own: HashMap<String, Duration>,
    pub changes: u64,
}

impl Lifetimes {
    /// A lite topic is there since `time`, or had its last traffic then.
    pub fn enter(&mut self, topic: &Topic, time: Timestamp, ttl: Duration) {
        if !ttl.is_zero() {
            let name = topic.name.as_str().into();
            self.checks
                .push(Reverse((after(time, ttl), topic.id, name)));
        }
    }

    /// Notes what a topic says itself; whether that has changed: then its lite topics are forgotten, to be entered again.
    pub fn note(&mut self, topic: &str, own: Option<Duration>) -> bool {
        let before = match own {
            Some(own) => self.own.insert(topic.to_owned(), own),
            None => self.own.remove(topic),
        };
        if before == own {
            return false;
        }
        let is_its = |name: &str| lite_parts(name).is_some_and(|(parent, _)| parent == topic);
        self.checks.retain(|Reverse((.., name))| !is_its(name));
        true
    }

    /// Forgets topics that are not among these, which are sorted by name.
    pub fn forget_others(&mut self, topics: &[Topic]) {
        let is_there = |name: &str| topics.binary_search_by(|topic| (*topic.name).cmp(name));
        self.own.retain(|name, _| is_there(name).is_ok());
    }

    /// Somebody subscribed to it.
    pub fn used(&mut self, topic: u32, now: Timestamp, ttl: Duration) {
        if !ttl.is_zero() {
            self.used.insert(topic, now);
        }
    }

    /// Names in the store of lite topics without traffic for as long as they live. `look` tells of a lite topic when a
    /// message was stored last, if one is there, and its time to live; `None`: it is gone.
    pub fn over(
        &mut self,
        now: Timestamp,
        look: impl Fn(&str, u32) -> Option<(Option<Timestamp>, Duration)>,
    ) -> Vec<Box<str>> {
        let mut over = Vec::new();
        for _ in 0..MAX_LOOKED_AT {
            let first = self.checks.peek();
            if first.is_none_or(|Reverse((time, ..))| *time > now) {
                break;
            }
            let Some(Reverse((_, id, name))) = self.checks.pop() else {
                break;
            };
            let used = self.used.remove(&id);
            let Some((last, ttl)) = look(&name, id).filter(|(_, ttl)| !ttl.is_zero()) else {
                continue;
            };
            let traffic = last.max(used).unwrap_or(0);
            if after(traffic, ttl) > now {
                self.checks.push(Reverse((after(traffic, ttl), id, name)));
            } else {
                over.push(name);
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use foliomq_store::{TopicSettings, TopicType};

    use super::*;

    const TTL: Duration = Duration::from_millis(100);

    fn topic(id: u32) -> Topic {
        Topic {
            name: format!("t${id}"),
            id,
            queues: 1,
            kind: TopicType::Lite,
            settings: TopicSettings::default(),
        }
    }

    #[test]
    fn traffic_prolongs_a_life_and_nothing_else_is_looked_at() {
        let mut lifetimes = Lifetimes::default();
        for id in [1, 2, 3, 4] {
            lifetimes.enter(&topic(id), 0, TTL);
        }
        lifetimes.used(3, 90, TTL);
        let last = |_: &str, id| match id {
            4 => None,
            id => Some(((id == 2).then_some(70), TTL)),
        };
        let over = lifetimes.over(99, |_, _| panic!("nothing is due"));
        assert!(over.is_empty());
        assert_eq!(lifetimes.over(100, last), ["t$1".into()]);
        assert!(lifetimes.over(169, last).is_empty());
        assert_eq!(lifetimes.over(170, last), ["t$2".into()]);
        assert_eq!(lifetimes.over(190, last), ["t$3".into()]);
        assert!(lifetimes.checks.is_empty() && lifetimes.used.is_empty());
    }

    #[test]
    fn another_time_to_live_of_a_topic_begins_anew_and_is_noted_once() {
        let mut lifetimes = Lifetimes::default();
        lifetimes.enter(&topic(1), 0, TTL);
        assert!(!lifetimes.note("t", None));
        assert!(lifetimes.note("other", Some(TTL)));
        assert_eq!(lifetimes.checks.len(), 1, "it is no lite topic of that one");
        assert!(lifetimes.note("t", Some(TTL / 2)));
        assert!(lifetimes.checks.is_empty());
        lifetimes.enter(&topic(1), 30, TTL / 2);
        assert!(!lifetimes.note("t", Some(TTL / 2)));
        let never = |_: &str, _| Some((None, Duration::ZERO));
        assert!(lifetimes.over(80, never).is_empty());
        assert!(lifetimes.checks.is_empty(), "it lives for ever by now");
        assert!(lifetimes.note("t", None));
    }

    #[test]
    fn what_a_deleted_topic_said_is_forgotten() {
        let mut lifetimes = Lifetimes::default();
        for name in ["t$1", "t$2", "gone"] {
            lifetimes.note(name, Some(TTL));
        }
        lifetimes.forget_others(&[topic(1), topic(2), topic(3)]);
        let mut left: Vec<_> = lifetimes.own.keys().collect();
        left.sort_unstable();
        assert_eq!(left, ["t$1", "t$2"]);
    }

    #[test]
    fn without_a_time_to_live_nothing_is_kept() {
        let mut lifetimes = Lifetimes::default();
        lifetimes.enter(&topic(1), 0, Duration::ZERO);
        lifetimes.used(1, 0, Duration::ZERO);
        assert!(lifetimes.checks.is_empty() && lifetimes.used.is_empty());
    }
}
