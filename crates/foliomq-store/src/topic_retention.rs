//! Messages that their topic is not to keep for as long as the log has them: their queues begin behind them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use foliomq_consumequeue::{Emptied, QueueNumber};

use crate::error::StoreError;
use crate::lite::lite_parts;
use crate::registry::TopicState;
use crate::shared::Shared;
use crate::weight::{Weights, lighten};

/// Most entries and lite topics that one pass looks at: some 0.1 s.
const MOST: usize = 4 << 20;

/// What is known from one pass to the next.
#[derive(Debug, Default)]
pub(crate) struct TopicRetention {
    /// Of topics with a number of bytes, by the number of queue 0.
    weights: HashMap<QueueNumber, Weights>,
    lite: LiteTimes,
}

/// When to look at the lite topics of topics that keep messages for a time: not before one can have something that is too
/// old, so that each is looked at about once in that time. 16 bytes for each.
#[derive(Debug, Default)]
struct LiteTimes {
    due: BinaryHeap<Reverse<(u64, QueueNumber)>>,
    /// Those whose numbers are lower are in.
    known: QueueNumber,
    /// As of this count of changes of what topics are set to.
    settings: u64,
}

/// One pass over the topics.
struct Pass {
    now: u64,
    /// What may still be looked at.
    left: usize,
    emptied: Vec<Emptied>,
    /// What fails for one topic does not keep the others: topics, and why.
    failed: Vec<(String, StoreError)>,
}

impl Pass {
    fn new(now: u64) -> Self {
        Self {
            now,
            left: MOST,
            emptied: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn fails(&mut self, topic: &TopicState, error: StoreError) {
        self.failed.push((topic.meta.name.clone(), error));
    }

    fn begins_at(&mut self, queue: QueueNumber, next: u64) {
        self.emptied.push(Emptied { queue, next });
    }
}

impl Shared {
    /// Moves up where the queues begin whose topics keep messages for a time, or up to a number of bytes. Returns whether
    /// there is more to do than is done at once.
    pub(crate) fn retain_topics(&self, now: u64) -> bool {
        let mut pass = Pass::new(now);
        self.pass_over_topics(&mut self.topic_retention.lock(), &mut pass);
        for (topic, error) in &pass.failed {
            tracing::warn!(%error, topic, "retention failed; it is tried again");
        }
        self.report("retention of topics", self.keep_emptied(&pass.emptied));
        pass.left == 0
    }

    fn pass_over_topics(&self, known: &mut TopicRetention, pass: &mut Pass) {
        let topics = self.registry.limited();
        let is_there = |number| topics.binary_search_by_key(&number, |one| one.meta.first_number);
        known.weights.retain(|number, _| is_there(*number).is_ok());
        for topic in &topics {
            if let Err(error) = self.retain_topic(topic, &mut known.weights, pass) {
                pass.fails(topic, error);
            }
        }
        self.retain_lite(&topics, &mut known.lite, pass);
    }

    fn keep_emptied(&self, emptied: &[Emptied]) -> Result<(), StoreError> {
        if emptied.is_empty() {
            return Ok(());
        }
        // What a power cut could take back must not be skipped: other messages would get its offsets.
        self.log.flush()?;
        self.keep_offsets(emptied)
    }

    fn retain_topic(
        &self,
        topic: &TopicState,
        weights: &mut HashMap<QueueNumber, Weights>,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        let (settings, number) = (topic.shape().1, topic.meta.first_number);
        if let Some(limit) = settings.keep_for {
            for queue in 0..topic.queues() {
                self.older(topic, queue, limit, pass)?;
            }
        }
        match settings.keep_bytes {
            None => drop(weights.remove(&number)),
            Some(limit) => {
                let weights = weights.entry(number).or_default();
                self.heavier(topic, weights, limit, pass)?;
            }
        }
        Ok(())
    }

    /// Lets go what a queue has that is older than its topic keeps; returns where it begins then.
    fn older(
        &self,
        topic: &TopicState,
        queue: u32,
        limit: Duration,
        pass: &mut Pass,
    ) -> Result<u64, StoreError> {
        let number = topic.number(queue)?;
        let held = self.held_by(topic, queue, number);
        if held.is_empty() {
            return Ok(held.start);
        }
        let time = pass.now.saturating_sub(limit.as_millis() as u64);
        let next = self.queues.offset_at(number, time)?;
        if next > held.start {
            pass.begins_at(number, next);
        }
        Ok(next.max(held.start))
    }

    /// Lets the oldest messages of a topic go while it takes more than `limit` bytes.
    fn heavier(
        &self,
        topic: &TopicState,
        weights: &mut Weights,
        limit: u64,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        for queue in 0..topic.queues() {
            let number = topic.number(queue)?;
            let held = self.held_by(topic, queue, number);
            let weight = weights.entry(number).or_default();
            weight.follow(&self.queues, number, held, &mut pass.left)?;
        }
        // Which are the oldest is known once all are counted. With nothing left that is in a later pass.
        let lightened = lighten(&self.queues, weights, limit, &mut pass.left);
        for queue in 0..topic.queues() {
            let number = topic.number(queue)?;
            let next = weights.get(&number).map_or(0, |weight| weight.from());
            if next > self.held_by(topic, queue, number).start {
                pass.begins_at(number, next);
            }
        }
        lightened
    }

    fn retain_lite(&self, topics: &[Arc<TopicState>], times: &mut LiteTimes, pass: &mut Pass) {
        let limits = topics.iter().filter_map(|topic| {
            let limit = topic.shape().1.keep_for?;
            Some((topic.meta.name.as_str(), limit))
        });
        let limits: HashMap<&str, Duration> = limits.collect();
        let settings = self.registry.settings_changes();
        if times.settings != settings || limits.is_empty() {
            *times = LiteTimes {
                settings,
                ..LiteTimes::default()
            };
        }
        if limits.is_empty() {
            return;
        }
        let (fresh, next) = self.registry.lite_from(times.known, &limits);
        times.known = next;
        let fresh = fresh.into_iter().map(|number| Reverse((0, number)));
        times.due.extend(fresh);
        while pass.left > 0
            && let Some(number) = times.take_due(pass.now)
        {
            pass.left -= 1;
            let again = self.look_at_lite(number, &limits, pass);
            times.due.extend(again.map(|time| Reverse((time, number))));
        }
    }

    /// Returns when to look again; `None` if the lite topic is gone, or is to keep everything.
    fn look_at_lite(
        &self,
        number: QueueNumber,
        limits: &HashMap<&str, Duration>,
        pass: &mut Pass,
    ) -> Option<u64> {
        let topic = self.registry.numbered(number)?;
        let (parent, _) = lite_parts(&topic.meta.name)?;
        let limit = *limits.get(parent)?;
        let oldest = self
            .older(&topic, 0, limit, pass)
            .and_then(|next| Ok(self.queues.entry(number, next)?));
        let oldest = oldest.unwrap_or_else(|error| {
            pass.fails(&topic, error);
            None
        });
        // What comes into an empty one is no older than now.
        let since = oldest.map_or(pass.now, |entry| entry.store_time);
        Some(since.saturating_add(limit.as_millis() as u64 + 1))
    }

    /// The offsets that a queue holds, by index and floor.
    fn held_by(&self, topic: &TopicState, queue: u32, number: QueueNumber) -> Range<u64> {
        let offsets = self.queues.offsets(number);
        offsets.start.max(topic.floor(queue))..offsets.end
    }
}

impl LiteTimes {
    fn take_due(&mut self, now: u64) -> Option<QueueNumber> {
        let Reverse((time, _)) = self.due.peek()?;
        if *time > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, number))| number)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use foliomq_commitlog::Flush;
    use foliomq_consumequeue::Entry;

    use super::*;
    use crate::housekeeper::unix_ms;
    use crate::message::Message;
    use crate::options::{Options, Retention};
    use crate::store::Store;
    use crate::topic::{Topic, TopicOptions};

    const LIMIT: Duration = Duration::from_secs(3600);

    /// A topic of two queues. The store's own retention waits while a test holds what it knows.
    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let flush = Flush::Async {
            interval: Duration::from_millis(20),
        };
        let retention = Retention {
            interval: LIMIT,
            ..Retention::default()
        };
        let options = Options::new(dir.path()).segment_size(16 << 20);
        let store = options.flush(flush).retention(retention).open().unwrap();
        let options = TopicOptions {
            queues: 2,
            ..TopicOptions::default()
        };
        store.create_topic("t", options).unwrap();
        (dir, store)
    }

    fn put(store: &Store, topic: &str, queue: u32) {
        let message = Message::new(b"a message");
        store.append_to(topic, queue, &message).unwrap();
        store.catch_up();
    }

    fn set(store: &Store, change: impl FnOnce(&mut Topic)) {
        store.update_topic("t", change).unwrap();
    }

    /// Another pass, which may look at so many; returns how many it has looked at.
    fn pass(store: &Store, known: &mut TopicRetention, now: u64, most: usize) -> usize {
        let pass = whole_pass(store, known, now, most);
        assert!(pass.failed.is_empty(), "{:?}", pass.failed);
        most - pass.left
    }

    fn whole_pass(store: &Store, known: &mut TopicRetention, now: u64, most: usize) -> Pass {
        let (shared, mut pass) = (store.shared(), Pass::new(now));
        pass.left = most;
        shared.pass_over_topics(known, &mut pass);
        shared.keep_emptied(&pass.emptied).unwrap();
        pass
    }

    #[test]
    fn a_long_topic_is_weighed_and_lightened_in_steps() {
        let (_dir, store) = store();
        for n in 0..25 {
            put(&store, "t", n % 2);
        }
        let size = u64::from(store.read("t", 0, 0).unwrap().unwrap().size());
        let mut known = store.shared().topic_retention.lock();
        set(&store, |topic| topic.settings.keep_bytes = Some(3 * size));
        for _ in 0..2 {
            assert_eq!(pass(&store, &mut known, 0, 10), 10);
            assert_eq!(store.offsets("t", 0).unwrap(), 0..13);
        }
        // The last five are weighed, and five go.
        assert_eq!(pass(&store, &mut known, 0, 10), 10);
        assert_eq!(store.offsets("t", 0).unwrap(), 3..13);
        assert_eq!(store.offsets("t", 1).unwrap(), 2..12);
        assert_eq!(pass(&store, &mut known, 0, 100), 17);
        assert_eq!(store.offsets("t", 0).unwrap(), 11..13);
        assert_eq!(store.offsets("t", 1).unwrap(), 11..12);
        assert_eq!(
            pass(&store, &mut known, 0, 100),
            0,
            "nothing is weighed again"
        );
    }

    #[test]
    fn what_goes_by_its_age_is_not_weighed_again() {
        let (_dir, store) = store();
        for _ in 0..9 {
            put(&store, "t", 0);
        }
        let limit = |topic: &mut Topic| {
            topic.settings.keep_bytes = Some(1 << 20);
            topic.settings.keep_for = Some(LIMIT);
        };
        let mut known = store.shared().topic_retention.lock();
        set(&store, limit);
        let later = unix_ms() + 2 * LIMIT.as_millis() as u64;
        assert_eq!(pass(&store, &mut known, unix_ms(), 100), 9);
        assert_eq!(pass(&store, &mut known, later, 100), 0);
        put(&store, "t", 0);
        assert_eq!(pass(&store, &mut known, unix_ms(), 100), 1);
        assert_eq!(store.offsets("t", 0).unwrap(), 9..10);
    }

    #[test]
    fn a_lite_topic_is_looked_at_when_it_can_have_something_old() {
        let (_dir, store) = store();
        store.create_lite_topics("t", &["a", "b"]).unwrap();
        put(&store, "t$a", 0);
        let (mut known, now) = (store.shared().topic_retention.lock(), unix_ms());
        set(&store, |topic| topic.settings.keep_for = Some(LIMIT));
        let limit = LIMIT.as_millis() as u64;
        assert_eq!(pass(&store, &mut known, now, 100), 2, "at first each");
        assert_eq!(pass(&store, &mut known, now, 100), 0);
        store.create_lite_topics("t", &["c"]).unwrap();
        put(&store, "t$b", 0);
        assert_eq!(pass(&store, &mut known, now, 100), 1, "a new one");
        assert_eq!(store.offsets("t$a", 0).unwrap(), 0..1);
        // Some time after all of them had what they have.
        let later = unix_ms() + limit + 1;
        assert_eq!(pass(&store, &mut known, later, 1), 1, "no more than it may");
        assert_eq!(pass(&store, &mut known, later, 100), 2);
        for name in ["t$a", "t$b"] {
            assert_eq!(store.offsets(name, 0).unwrap(), 1..1);
        }
        store.delete_topics(&["t$a"]).unwrap();
        assert_eq!(pass(&store, &mut known, later + limit + 1, 100), 3);
        assert_eq!(known.lite.due.len(), 2, "what is gone is forgotten");
        set(&store, |topic| topic.settings.keep_for = None);
        assert_eq!(pass(&store, &mut known, u64::MAX, 100), 0);
        assert!(known.lite.due.is_empty());
    }

    /// Flips a bit of a message's index entry where it lies; again, and it is as before.
    fn flip(dir: &Path, entry: &Entry) {
        let (position, size) = (entry.position.to_le_bytes(), entry.size.to_le_bytes());
        let is_it = |bytes: &[u8]| {
            let (its_position, rest) = bytes.split_at(8);
            its_position == position && rest.starts_with(&size)
        };
        let mut found = Vec::new();
        for file in fs::read_dir(dir.join("consumequeue")).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let entries = bytes.chunks_exact(32).zip((0..).step_by(32));
            let its = entries.filter(|(bytes, _)| is_it(bytes));
            found.extend(its.map(|(bytes, at)| (path.clone(), at + 24, bytes[24])));
        }
        // Of its time; and of nothing else, for files and extents are shared.
        let [(path, at, byte)] = &found[..] else {
            panic!("{found:?}");
        };
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[byte ^ 1], *at).unwrap();
    }

    fn entry(store: &Store, topic: &str) -> Result<Entry, StoreError> {
        let mut entries = Vec::new();
        store.entries(topic, 0, 0, 1, &mut entries)?;
        Ok(entries[0])
    }

    /// Where queue 0 of each begins.
    fn begins(store: &Store, topics: [&str; 4]) -> [u64; 4] {
        topics.map(|topic| store.offsets(topic, 0).unwrap().start)
    }

    #[test]
    fn a_topic_that_fails_is_named_and_keeps_no_other() {
        let topics = ["before", "t", "after", "t$lite"];
        let by_age = |topic: &mut Topic| topic.settings.keep_for = Some(LIMIT);
        let by_bytes = |topic: &mut Topic| topic.settings.keep_bytes = Some(1);
        let ways: [(fn(&mut Topic), _); 2] = [(by_age, [1, 0, 1, 1]), (by_bytes, [1, 0, 1, 0])];
        for (change, expected) in ways {
            let (dir, store) = store();
            for name in ["before", "after"] {
                store.create_topic(name, TopicOptions::default()).unwrap();
            }
            store.create_lite_topics("t", &["lite"]).unwrap();
            topics.iter().for_each(|topic| put(&store, topic, 0));
            let mut known = store.shared().topic_retention.lock();
            for name in ["before", "t", "after"] {
                store.update_topic(name, change).unwrap();
            }
            let damaged = entry(&store, "t").unwrap();
            flip(dir.path(), &damaged);
            entry(&store, "t").unwrap_err();
            let later = unix_ms() + 2 * LIMIT.as_millis() as u64;
            for _ in 0..2 {
                let pass = whole_pass(&store, &mut known, later, 100);
                let failed = pass.failed.iter().map(|(topic, _)| topic.as_str());
                assert_eq!(failed.collect::<Vec<_>>(), ["t"]);
                assert_eq!(begins(&store, topics), expected);
            }
            flip(dir.path(), &damaged);
            pass(&store, &mut known, later, 100);
            assert_eq!(store.offsets("t", 0).unwrap(), 1..1, "it is tried again");
        }
    }
}
