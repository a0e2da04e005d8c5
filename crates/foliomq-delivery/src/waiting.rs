//! Messages in the order of their time: what is due costs a heap, what is far costs 16 bytes and no thought.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use crate::Timestamp;

/// Milliseconds of time whose messages lie together until it is near.
const BUCKET: u64 = 60_000;
/// Milliseconds before its time that a bucket is put in order.
const AHEAD: u64 = 1000;

/// A message: when it is due, and its id.
pub(crate) type Due = (Timestamp, u64);

/// Every delayed message that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Everything due before `near_until`, in order.
    near: BinaryHeap<Reverse<Due>>,
    near_until: Timestamp,
    /// The others, by their bucket's number.
    far: BTreeMap<u64, Vec<Due>>,
    /// Ids of those that are recalled. They stay where they are until their time comes.
    recalled: HashSet<u64>,
    len: usize,
}

impl Waiting {
    pub fn add(&mut self, due: Timestamp, id: u64) {
        self.len += 1;
        match due < self.near_until {
            true => self.near.push(Reverse((due, id))),
            false => self.far.entry(due / BUCKET).or_default().push((due, id)),
        }
    }

    /// Marks one that waits; it is passed over. `false` if it is marked already.
    pub fn recall(&mut self, id: u64) -> bool {
        self.recalled.insert(id)
    }

    /// Takes back a recall.
    pub fn restore(&mut self, id: u64) {
        self.recalled.remove(&id);
    }

    /// Takes out up to `most` that are due, in order.
    pub fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<Due> {
        self.come_near(now);
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(&Reverse((due, id))) = self.near.peek()
            && due <= now
        {
            self.near.pop();
            self.len -= 1;
            if !self.recalled.remove(&id) {
                taken.push((due, id));
            }
        }
        taken
    }

    /// Puts the buckets in order whose time has nearly come.
    fn come_near(&mut self, now: Timestamp) {
        while let Some(bucket) = self.far.first_entry()
            && start(*bucket.key()) <= now.saturating_add(AHEAD)
        {
            let number = *bucket.key();
            self.near.extend(bucket.remove().into_iter().map(Reverse));
            self.near_until = self.near_until.max(start(number + 1));
        }
    }

    /// When there is something to do: the first is due, or a bucket comes near.
    pub fn next(&self) -> Option<Timestamp> {
        let near = self.near.peek().map(|Reverse((due, _))| *due);
        let far = self.far.keys().next();
        let far = far.map(|number| start(*number).saturating_sub(AHEAD));
        near.into_iter().chain(far).min()
    }

    /// How many wait and are not recalled.
    pub fn len(&self) -> usize {
        self.len - self.recalled.len()
    }

    /// A copy of all that wait, in no order, and the ids of those that are recalled: as fast as memory is copied.
    pub fn copy(&self) -> (Vec<Due>, HashSet<u64>) {
        let mut all = Vec::with_capacity(self.len);
        for bucket in self.far.values() {
            all.extend_from_slice(bucket);
        }
        all.extend(self.near.iter().map(|Reverse(due)| *due));
        (all, self.recalled.clone())
    }

    /// All that wait: when each is due, its id, and whether it is recalled.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, u64, bool)> {
        let near = self.near.iter().map(|Reverse(due)| due);
        let all = near.chain(self.far.values().flatten());
        all.map(|&(due, id)| (due, id, self.recalled.contains(&id)))
    }
}

fn start(bucket: u64) -> Timestamp {
    bucket.saturating_mul(BUCKET)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_when_they_are_due_and_in_order(
            messages in prop::collection::vec((0..400_000u64, any::<bool>()), 0..200),
            steps in prop::collection::vec((0..30_000u64, 1..20usize), 0..60),
        ) {
            let mut waiting = Waiting::default();
            let (mut now, mut expected, mut taken) = (0, Vec::new(), Vec::new());
            let mut messages = (0..).zip(messages);
            for (pause, most) in steps {
                for (id, (delay, recalled)) in messages.by_ref().take(7) {
                    waiting.add(now + delay, id);
                    if recalled {
                        prop_assert!(waiting.recall(id));
                        prop_assert!(!waiting.recall(id));
                    } else {
                        expected.push((now + delay, id));
                    }
                }
                prop_assert_eq!(waiting.len(), expected.len() - taken.len());
                now += pause;
                let due = waiting.take_due(now, most);
                prop_assert!(due.len() <= most && due.is_sorted());
                let late = due.len() < most && waiting.next().is_some_and(|next| next + AHEAD < now);
                prop_assert!(!late, "{:?} at {now}", waiting.next());
                taken.extend(due);
            }
            taken.extend(waiting.take_due(u64::MAX, usize::MAX));
            taken.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(taken, expected);
            prop_assert_eq!((waiting.len(), waiting.next()), (0, None));
        }
    }

    #[test]
    fn what_is_far_is_looked_at_shortly_before_its_time() {
        let mut waiting = Waiting::default();
        waiting.add(10 * BUCKET + 7, 1);
        assert_eq!(waiting.next(), Some(10 * BUCKET - AHEAD));
        assert!(waiting.take_due(10 * BUCKET - AHEAD, 9).is_empty());
        assert_eq!(waiting.next(), Some(10 * BUCKET + 7));
        assert!(waiting.take_due(10 * BUCKET + 6, 9).is_empty());
        assert_eq!(waiting.take_due(10 * BUCKET + 7, 9), [(10 * BUCKET + 7, 1)]);
    }

    #[test]
    fn a_recall_can_be_taken_back() {
        let mut waiting = Waiting::default();
        waiting.add(5, 1);
        waiting.recall(1);
        assert_eq!(waiting.len(), 0);
        assert_eq!(waiting.iter().collect::<Vec<_>>(), [(5, 1, true)]);
        waiting.restore(1);
        assert_eq!(waiting.take_due(5, 1), [(5, 1)]);
    }
}
