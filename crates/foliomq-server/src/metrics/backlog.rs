//! What groups have yet to do, by group and topic, as far as a page of metrics has room for it.

use std::collections::HashMap;

use foliomq_delivery::Group;

/// Pairs of a group and a topic that are shown: those with the most to do.
pub(crate) const MAX_PAIRS: usize = 1000;

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The most first.
    pub(crate) pairs: Vec<Lag>,
    /// Pairs that are not shown.
    pub(crate) left_out: usize,
    /// Of all pairs, shown or not.
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
}

/// What a group has to do in one topic, all queues together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Messages never delivered.
    pub(crate) ready: u64,
    /// Messages that are delivered and not done.
    pub(crate) in_flight: u64,
}

impl Backlog {
    pub(crate) fn of(groups: Vec<Group>) -> Self {
        let mut pairs: Vec<Lag> = groups.into_iter().flat_map(lags).collect();
        let ready = pairs.iter().map(|lag| lag.ready).sum();
        let in_flight = pairs.iter().map(|lag| lag.in_flight).sum();
        pairs.sort_by(|one, other| {
            let most = (other.ready + other.in_flight).cmp(&(one.ready + one.in_flight));
            let name = || (&one.group, &one.topic).cmp(&(&other.group, &other.topic));
            most.then_with(name)
        });
        let left_out = pairs.len().saturating_sub(MAX_PAIRS);
        pairs.truncate(MAX_PAIRS);
        Self {
            pairs,
            left_out,
            ready,
            in_flight,
        }
    }
}

/// One group, topic by topic.
fn lags(group: Group) -> impl Iterator<Item = Lag> {
    let mut topics: HashMap<String, (u64, u64)> = HashMap::new();
    for queue in group.queues {
        let (ready, in_flight) = topics.entry(queue.topic).or_default();
        *ready += queue.max_offset.saturating_sub(queue.next);
        *in_flight += queue.in_flight;
    }
    topics
        .into_iter()
        .map(move |(topic, (ready, in_flight))| Lag {
            group: group.name.clone(),
            topic,
            ready,
            in_flight,
        })
}

#[cfg(test)]
mod tests {
    use foliomq_delivery::{Backoff, GroupQueue, Order, Rules};

    use super::*;

    fn group(name: &str, queues: Vec<GroupQueue>) -> Group {
        Group {
            name: name.to_owned(),
            max_attempts: 1,
            backoff: Backoff::Steps(vec![1]),
            order: Order::Auto,
            rules: Rules::default(),
            queues,
        }
    }

    fn queue(topic: &str, queue: u32, next: u64) -> GroupQueue {
        GroupQueue {
            topic: topic.to_owned(),
            queue,
            committed: next - 1,
            next,
            max_offset: 10,
            in_flight: 1,
        }
    }

    #[test]
    fn queues_are_summed_and_what_has_most_to_do_comes_first() {
        let first = group("a", vec![queue("t", 0, 10), queue("t", 1, 9)]);
        let second = group("b", vec![queue("t", 0, 2), queue("u", 0, 10)]);
        let backlog = Backlog::of(vec![first, second]);
        let shown = backlog.pairs.iter().map(|lag| {
            let pair = (lag.group.as_str(), lag.topic.as_str());
            (pair, lag.ready, lag.in_flight)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [(("b", "t"), 8, 1), (("a", "t"), 1, 2), (("b", "u"), 0, 1)]
        );
        assert_eq!((backlog.ready, backlog.in_flight), (9, 4));
        assert_eq!(backlog.left_out, 0);
    }

    #[test]
    fn no_more_pairs_are_shown_than_there_is_room_for() {
        let topics = (0..MAX_PAIRS + 7).map(|n| queue(&format!("t{n}"), 0, 10));
        let mut queues: Vec<_> = topics.collect();
        queues.push(queue("busy", 0, 1));
        let backlog = Backlog::of(vec![group("g", queues)]);
        assert_eq!((backlog.pairs.len(), backlog.left_out), (MAX_PAIRS, 8));
        assert_eq!(backlog.pairs[0].topic, "busy");
        assert_eq!(backlog.in_flight, MAX_PAIRS as u64 + 8, "of all of them");
    }
}
