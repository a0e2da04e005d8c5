//! When lite topics are removed for want of traffic.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use foliomq_store::Topic;

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

    /// Somebody subscribed to it.
    pub fn used(&mut self, topic: u32, now: Timestamp, ttl: Duration) {
        if !ttl.is_zero() {
            self.used.insert(topic, now);
        }
    }

    /// Names in the store of lite topics without traffic for as long as `ttl`. `last` tells of a lite topic when a message
    /// was stored last, if one is there; `None`: it is gone.
    pub fn over(
        &mut self,
        now: Timestamp,
        ttl: Duration,
        last: impl Fn(&str, u32) -> Option<Option<Timestamp>>,
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
            let Some(last) = last(&name, id) else {
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
    use foliomq_store::TopicType;

    use super::*;

    const TTL: Duration = Duration::from_millis(100);

    fn topic(id: u32) -> Topic {
        Topic {
            name: format!("t${id}"),
            id,
            queues: 1,
            kind: TopicType::Lite,
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
            id => Some((id == 2).then_some(70)),
        };
        let over = lifetimes.over(99, TTL, |_, _| panic!("nothing is due"));
        assert!(over.is_empty());
        assert_eq!(lifetimes.over(100, TTL, last), ["t$1".into()]);
        assert!(lifetimes.over(169, TTL, last).is_empty());
        assert_eq!(lifetimes.over(170, TTL, last), ["t$2".into()]);
        assert_eq!(lifetimes.over(190, TTL, last), ["t$3".into()]);
        assert!(lifetimes.checks.is_empty() && lifetimes.used.is_empty());
    }

    #[test]
    fn without_a_time_to_live_nothing_is_kept() {
        let mut lifetimes = Lifetimes::default();
        lifetimes.enter(&topic(1), 0, Duration::ZERO);
        lifetimes.used(1, 0, Duration::ZERO);
        assert!(lifetimes.checks.is_empty() && lifetimes.used.is_empty());
    }
}
