//! Messages in the order of their time: what is due costs a heap, what is far costs 16 bytes and no thought.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use crate::Timestamp;

/// Milliseconds of time whose messages lie together until it is near.
const BUCKET: u64 = 60_000;
/// Milliseconds before its time that a bucket begins to be put in order.
const AHEAD: u64 = 5000;
/// Messages that are put in order at once: all of a bucket would hold up those that are due.
const STEP: usize = 16 << 10;

/// A message: when it is due, and its id.
pub(crate) type Due = (Timestamp, u64);

/// A place among the messages whose time is far: a bucket's number, and an index in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Far {
    bucket: u64,
    index: usize,
}

/// Every delayed message that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Everything due before `near_until`, in order, but what is in `coming`.
    near: BinaryHeap<Reverse<Due>>,
    near_until: Timestamp,
    /// What of the bucket that comes near is not in order yet, and when its time begins.
    coming: Vec<Due>,
    coming_from: Timestamp,
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

    /// Puts the buckets in order whose time has nearly come. What is added from then on, and is due by then, is near as well.
    fn come_near(&mut self, now: Timestamp) {
        let soon = now.saturating_add(AHEAD) / BUCKET;
        self.near_until = self.near_until.max(start(soon.saturating_add(1)));
        let mut left = STEP;
        while self.has_coming(soon) {
            if self.coming_from <= now {
                left = left.max(self.coming.len());
            }
            if left == 0 {
                return;
            }
            let rest = self.coming.len().saturating_sub(left);
            left -= self.coming.len() - rest;
            self.near.extend(self.coming.drain(rest..).map(Reverse));
        }
        // An empty one keeps the memory of a whole bucket.
        self.coming = Vec::new();
    }

    /// Whether there is something to put in order, of a bucket up to this number.
    fn has_coming(&mut self, soon: u64) -> bool {
        if self.coming.is_empty()
            && let Some(bucket) = self.far.first_entry()
            && *bucket.key() <= soon
        {
            self.coming_from = start(*bucket.key());
            self.coming = bucket.remove();
        }
        !self.coming.is_empty()
    }

    /// When there is something to do: the first is due, or a bucket comes near.
    pub fn next(&self) -> Option<Timestamp> {
        let near = self.near.peek().map(|Reverse((due, _))| *due);
        let far = self.far.keys().next();
        let far = far.map(|number| start(*number));
        let coming = (!self.coming.is_empty()).then_some(self.coming_from);
        let from = coming.into_iter().chain(far);
        let ahead = from.map(|from| from.saturating_sub(AHEAD));
        near.into_iter().chain(ahead).min()
    }

    /// How many wait and are not recalled.
    pub fn len(&self) -> usize {
        self.len - self.recalled.len()
    }

    /// A copy of all that wait, in no order, into memory that is at hand: as fast as it is copied.
    pub fn copy(&self, all: &mut Vec<Due>) {
        all.clear();
        all.reserve(self.len);
        for bucket in self.far.values() {
            all.extend_from_slice(bucket);
        }
        all.extend(self.near());
    }

    /// Ids of those that are recalled.
    pub fn recalled(&self) -> &HashSet<u64> {
        &self.recalled
    }

    /// Whether it waits no more for its time alone.
    pub fn is_recalled(&self, id: u64) -> bool {
        self.recalled.contains(&id)
    }

    /// Those that are near, in no order.
    pub fn near(&self) -> impl Iterator<Item = Due> {
        let near = self.near.iter().map(|Reverse(due)| *due);
        near.chain(self.coming.iter().copied())
    }

    /// Up to `most` of those that are far, from a place on, and the place after them; `None`: there are no more. What is added
    /// meanwhile may be missed, what was there and stays far is not.
    pub fn far(&self, from: Far, most: usize) -> (&[Due], Option<Far>) {
        let Some((&bucket, all)) = self.far.range(from.bucket..).next() else {
            return (&[], None);
        };
        let begin = if bucket == from.bucket { from.index } else { 0 };
        let rest = &all[begin.min(all.len())..];
        let seen = &rest[..rest.len().min(most)];
        let next = match seen.len() == rest.len() {
            true => Far {
                bucket: bucket.saturating_add(1),
                index: 0,
            },
            false => Far {
                bucket,
                index: begin + seen.len(),
            },
        };
        (seen, Some(next))
    }

    /// All that wait: when each is due, its id, and whether it is recalled.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, u64, bool)> {
        let all = self.near().chain(self.far.values().flatten().copied());
        all.map(|(due, id)| (due, id, self.recalled.contains(&id)))
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
    fn a_large_bucket_comes_near_in_steps_and_whole_when_its_time_begins() {
        let mut waiting = Waiting::default();
        let count = 3 * STEP as u64 + 1;
        (0..count).for_each(|id| waiting.add(10 * BUCKET + id % 100, id));
        let early = 10 * BUCKET - AHEAD;
        for step in 1..=2 {
            assert!(waiting.take_due(early, 9).is_empty());
            assert_eq!(waiting.near.len(), step * STEP);
            assert_eq!(waiting.next(), Some(early), "it asks to be called again");
            let mut all = Vec::new();
            waiting.copy(&mut all);
            assert_eq!(
                (all.len(), waiting.near().count()),
                (count as usize, count as usize)
            );
        }
        let due = waiting.take_due(10 * BUCKET + 49, usize::MAX);
        assert_eq!(
            due.len(),
            count as usize / 100 * 50 + (count as usize % 100).min(50)
        );
        assert!(due.is_sorted());
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
