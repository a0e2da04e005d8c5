//! The topics of a store, in memory.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_consumequeue::{Emptied, QueueNumber};
use parking_lot::RwLock;

use crate::change::{Change, TopicMeta};
use crate::error::StoreError;
use crate::lite::lite_parts;
use crate::meta::Sink;
use crate::span::Span;
use crate::topic::TopicType;
use crate::topic_settings::TopicSettings;
pub(crate) use crate::topic_state::TopicState;

/// A deleted topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) id: u32,
    /// What lies below in the commit log belongs to nobody.
    pub(crate) position: u64,
}

/// What does not fit, of the queues that the indexes know.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Those that belong to no topic.
    pub(crate) unknown: Vec<QueueNumber>,
    /// The first whose next message its index could not take.
    pub(crate) short: Option<Short>,
}

/// A queue whose index ends before the offset of its next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) queue: QueueNumber,
    /// Where the index ends.
    pub(crate) end: u64,
    /// The offset of its next message.
    pub(crate) next: u64,
}

/// Every topic, by name and by the numbers of its queues.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inner: RwLock<Inner>,
    /// Counts the topics made and deleted: whoever keeps topics of his own looks whether they still hold.
    changes: AtomicU64,
    /// Counts the changes of what topics are set to.
    settings: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: HashSet<ByName>,
    /// By the number of queue 0.
    by_number: BTreeMap<QueueNumber, Arc<TopicState>>,
    /// By the number of the first of queues that a topic got later.
    grown: BTreeMap<QueueNumber, Arc<TopicState>>,
    deleted: HashMap<String, Deleted>,
    /// Topics that keep their messages for a time, or up to a number of bytes, by the number of queue 0.
    limited: BTreeSet<QueueNumber>,
    /// How many lite topics each topic has that has any.
    lite: HashMap<String, usize>,
    next_id: u32,
    next_number: QueueNumber,
    /// The queue that lists hidden messages.
    ledger: Option<QueueNumber>,
    /// From where on retention leaves the log alone.
    held: Option<u64>,
}

/// A topic that is found by its name, which is kept once.
#[derive(Debug)]
struct ByName(Arc<TopicState>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.meta.name
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.meta.name.hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.meta.name == other.0.meta.name
    }
}

impl Eq for ByName {}

impl Registry {
    /// How many changes there were.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// How many changes of settings there were.
    pub(crate) fn settings_changes(&self) -> u64 {
        self.settings.load(Ordering::Acquire)
    }

    /// Brings a change into effect that comes from the metadata log.
    pub(crate) fn apply(&self, change: &Change) {
        let mut inner = self.inner.write();
        match change {
            Change::Topic(meta) => inner.insert(meta),
            Change::Deleted { name, id, position } => inner.remove(name, *id, *position),
            Change::Settings {
                queue,
                kind,
                settings,
            } => {
                inner.reshape(*queue, *kind, *settings);
                self.settings.fetch_add(1, Ordering::AcqRel);
            }
            Change::Grown {
                queue,
                from,
                more,
                first_number,
            } => inner.grow(*queue, *from, *more, *first_number),
            other => return inner.note(other),
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Writes everything that is to be kept of a store whose log begins at `start`.
    pub(crate) fn write(&self, start: u64, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        let inner = self.inner.read();
        // What no new topic may fall below.
        let (id, number) = (inner.next_id, inner.next_number);
        sink.push(|batch| batch.push(&Change::Counters { id, number }))?;
        if let Some(queue) = inner.ledger {
            sink.push(|batch| batch.push(&Change::Ledger { queue }))?;
        }
        if let Some(position) = inner.held {
            sink.push(|batch| batch.push(&Change::Held { position }))?;
        }
        let deleted = inner
            .deleted
            .iter()
            .filter(|(_, gone)| gone.position > start);
        for (name, &Deleted { id, position }) in deleted {
            let name = name.clone();
            sink.push(|batch| batch.push(&Change::Deleted { name, id, position }))?;
        }
        for topic in inner.by_number.values() {
            write_topic(topic, sink)?;
        }
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<TopicState>> {
        let inner = self.inner.read();
        inner.by_name.get(name).map(|topic| topic.0.clone())
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<TopicState>, StoreError> {
        self.find(name).ok_or_else(|| StoreError::UnknownTopic {
            topic: name.to_owned(),
        })
    }

    /// Adds the topic that `make` describes, from the next free id and queue number, unless one of this name is there.
    /// Only one caller at a time: the store's lock for changes sees to it.
    pub(crate) fn add(
        &self,
        name: &str,
        make: impl FnOnce(u32, QueueNumber) -> Result<(TopicMeta, TopicSettings), StoreError>,
    ) -> Result<Arc<TopicState>, StoreError> {
        let (next_id, next_number) = {
            let inner = self.inner.read();
            if let Some(topic) = inner.by_name.get(name) {
                return Ok(topic.0.clone());
            }
            (inner.next_id, inner.next_number)
        };
        // Appends to other topics go on meanwhile: this waits for the disk.
        let (meta, settings) = make(next_id, next_number)?;
        let (kind, state) = (meta.kind, TopicState::new(meta));
        let mut inner = self.inner.write();
        inner.put(state.clone());
        if settings != TopicSettings::default() {
            // Before anybody can find it.
            inner.reshape(state.meta.first_number, kind, settings);
            self.settings.fetch_add(1, Ordering::AcqRel);
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        Ok(state)
    }

    /// Adds many topics at once, after `keep` has written them down. Only one caller at a time, as for `add`.
    pub(crate) fn add_all(
        &self,
        topics: Vec<TopicMeta>,
        keep: impl FnOnce(&[TopicMeta]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        keep(&topics)?;
        let mut inner = self.inner.write();
        topics
            .into_iter()
            .for_each(|meta| inner.put(TopicState::new(meta)));
        self.changes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Arc<TopicState>> {
        let mut topics: Vec<_> = self.inner.read().by_number.values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
        topics
    }

    /// The queue that lists hidden messages, once there was one.
    pub(crate) fn ledger(&self) -> Option<QueueNumber> {
        self.inner.read().ledger
    }

    /// From where on retention leaves the log alone; `None`: no message was ever hidden.
    pub(crate) fn held(&self) -> Option<u64> {
        self.inner.read().held
    }

    /// All topics, by id.
    pub(crate) fn by_id(&self) -> Vec<Arc<TopicState>> {
        let mut topics: Vec<_> = self.inner.read().by_number.values().cloned().collect();
        topics.sort_by_key(|topic| topic.meta.id);
        topics
    }

    /// Topics that are not lite topics of others, by name.
    pub(crate) fn plain(&self) -> Vec<Arc<TopicState>> {
        let inner = self.inner.read();
        let plain = inner.by_number.values().filter(|topic| !topic.is_lite());
        let mut topics: Vec<_> = plain.cloned().collect();
        drop(inner);
        topics.sort_unstable_by(|a, b| a.meta.name.cmp(&b.meta.name));
        topics
    }

    /// The lite topics of a topic, in no order.
    pub(crate) fn lite(&self, parent: &str) -> Vec<Arc<TopicState>> {
        if self.lite_count(parent) == 0 {
            return Vec::new();
        }
        let is_its = |topic: &&Arc<TopicState>| {
            lite_parts(&topic.meta.name).is_some_and(|(of, _)| of == parent)
        };
        let inner = self.inner.read();
        inner.by_number.values().filter(is_its).cloned().collect()
    }

    /// How many lite topics a topic has.
    pub(crate) fn lite_count(&self, parent: &str) -> usize {
        self.inner.read().lite.get(parent).copied().unwrap_or(0)
    }

    /// The topics that keep their messages for a time, or up to a number of bytes, by the number of queue 0.
    pub(crate) fn limited(&self) -> Vec<Arc<TopicState>> {
        let inner = self.inner.read();
        let topics = inner.limited.iter();
        topics
            .filter_map(|number| inner.by_number.get(number).cloned())
            .collect()
    }

    /// The topic with this number of queue 0.
    pub(crate) fn numbered(&self, number: QueueNumber) -> Option<Arc<TopicState>> {
        self.inner.read().by_number.get(&number).cloned()
    }

    /// The lite topics, from a number on, of these topics; and the number from which on there is none.
    pub(crate) fn lite_from<T>(
        &self,
        first: QueueNumber,
        parents: &HashMap<&str, T>,
    ) -> (Vec<QueueNumber>, QueueNumber) {
        let is_its = |topic: &TopicState| {
            let parts = lite_parts(&topic.meta.name);
            topic.is_lite() && parts.is_some_and(|(of, _)| parents.contains_key(of))
        };
        let inner = self.inner.read();
        let lite = inner.by_number.range(first..);
        let lite = lite.filter(|(_, topic)| is_its(topic));
        (lite.map(|(number, _)| *number).collect(), inner.next_number)
    }

    /// The first free id and queue number.
    pub(crate) fn next(&self) -> (u32, QueueNumber) {
        let inner = self.inner.read();
        (inner.next_id, inner.next_number)
    }

    /// Sets the offset of each queue's next message to where its index ends. `ends` ascends.
    pub(crate) fn set_ends(&self, ends: impl IntoIterator<Item = (QueueNumber, u64)>) -> Ends {
        let inner = self.inner.read();
        let mut topics = inner.by_number.values().peekable();
        let mut odd = Ends::default();
        for (queue, end) in ends {
            while topics
                .next_if(|topic| topic.end_number() <= queue)
                .is_some()
            {}
            let topic = topics
                .peek()
                .filter(|topic| topic.meta.first_number <= queue);
            let found = match topic {
                Some(topic) => Some((&***topic, queue - topic.meta.first_number)),
                None => inner.by_later_number(queue),
            };
            match found {
                Some((topic, place)) => {
                    let next = topic.reaches(place, end);
                    if end < next {
                        odd.short.get_or_insert(Short { queue, end, next });
                    }
                }
                None if inner.ledger == Some(queue) => {}
                None => odd.unknown.push(queue),
            }
        }
        odd
    }

    /// What of it is not known yet, as changes.
    pub(crate) fn newly_emptied(&self, emptied: &[Emptied]) -> Vec<Change> {
        let inner = self.inner.read();
        let news = emptied.iter().filter(|Emptied { queue, next }| {
            let topic = inner.by_number(*queue);
            topic.is_some_and(|(topic, queue)| topic.floor(queue) < *next)
        });
        news.map(|&Emptied { queue, next }| Change::Emptied { queue, next })
            .collect()
    }

    /// Whether the record at `position` belongs to a topic that is deleted.
    pub(crate) fn is_deleted(&self, name: &str, position: u64) -> bool {
        position < self.deleted_at(name)
    }

    /// Below it lie the records of an earlier topic of this name; 0 if there was none.
    pub(crate) fn deleted_at(&self, name: &str) -> u64 {
        let inner = self.inner.read();
        inner.deleted.get(name).map_or(0, |gone| gone.position)
    }

    /// Forgets the deleted topics of which a log that begins at `start` has nothing.
    pub(crate) fn forget_deleted(&self, start: u64) {
        let deleted = &mut self.inner.write().deleted;
        deleted.retain(|_, gone| gone.position > start);
    }
}

impl Inner {
    /// Takes in a change that leaves the topics as they are.
    fn note(&mut self, change: &Change) {
        match change {
            Change::Emptied { queue, next } => {
                if let Some((topic, queue)) = self.by_number(*queue) {
                    topic.emptied(queue, *next);
                }
            }
            Change::Counters { id, number } => {
                self.next_id = self.next_id.max(*id);
                self.next_number = self.next_number.max(*number);
            }
            Change::Ledger { queue } => {
                self.ledger = Some(*queue);
                self.next_number = self.next_number.max(queue.saturating_add(1));
            }
            Change::Held { position } => self.held = self.held.max(Some(*position)),
            Change::Topic(_)
            | Change::Deleted { .. }
            | Change::Settings { .. }
            | Change::Grown { .. }
            | Change::Forgotten { .. }
            | Change::Progress { .. } => {}
        }
    }

    fn insert(&mut self, meta: &TopicMeta) {
        // The state is written again when the log is compacted; what is there may have waiters and counters.
        let there = self.by_name.get(meta.name.as_str());
        if there.is_none_or(|topic| topic.0.meta.id != meta.id) {
            self.put(TopicState::new(meta.clone()));
        }
    }

    fn put(&mut self, state: Arc<TopicState>) {
        self.next_id = self.next_id.max(state.meta.id.saturating_add(1));
        self.next_number = self.next_number.max(state.end_number());
        match self.by_name.replace(ByName(state.clone())) {
            Some(ByName(before)) => self.forget(&before),
            None => self.count_lite(&state.meta.name, true),
        }
        self.by_number.insert(state.meta.first_number, state);
    }

    fn remove(&mut self, name: &str, id: u32, position: u64) {
        self.next_id = self.next_id.max(id.saturating_add(1));
        let there = self.by_name.get(name);
        if there.is_some_and(|topic| topic.0.meta.id == id)
            && let Some(ByName(state)) = self.by_name.take(name)
        {
            self.forget(&state);
            self.count_lite(name, false);
            state.event.notify(usize::MAX);
        }
        self.deleted
            .insert(name.to_owned(), Deleted { id, position });
    }

    fn forget(&mut self, topic: &TopicState) {
        self.by_number.remove(&topic.meta.first_number);
        self.limited.remove(&topic.meta.first_number);
        for span in topic.spans() {
            self.grown.remove(&span.first_number);
        }
    }

    fn reshape(&mut self, queue: QueueNumber, kind: TopicType, settings: TopicSettings) {
        if let Some(topic) = self.by_number.get(&queue) {
            topic.reshape(kind, settings);
            match settings.keep_for.is_some() || settings.keep_bytes.is_some() {
                true => self.limited.insert(queue),
                false => self.limited.remove(&queue),
            };
            // Who waits for messages may not have them any more.
            topic.event.notify(usize::MAX);
        }
    }

    /// A growth that is known already comes again when the state is written as a whole.
    fn grow(&mut self, queue: QueueNumber, from: u32, more: u32, first_number: QueueNumber) {
        let span = Span::new(from, first_number, more);
        self.next_number = self.next_number.max(span.end_number());
        let topic = self.by_number.get(&queue);
        if let Some(topic) = topic.filter(|topic| topic.queues() == from).cloned() {
            topic.grow(span);
            self.grown.insert(first_number, topic);
        }
    }

    fn count_lite(&mut self, name: &str, one_more: bool) {
        let Some((parent, _)) = lite_parts(name) else {
            return;
        };
        let count = self.lite.entry(parent.to_owned()).or_default();
        *count = if one_more {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        if *count == 0 {
            self.lite.remove(parent);
        }
    }

    /// The topic that has this queue, and which of its queues it is.
    fn by_number(&self, number: QueueNumber) -> Option<(&TopicState, u32)> {
        let first = self.by_number.range(..=number).next_back();
        match first.filter(|(_, topic)| number < topic.end_number()) {
            Some((first, topic)) => Some((&**topic, number - first)),
            None => self.by_later_number(number),
        }
    }

    /// The same, of queues that came later.
    fn by_later_number(&self, number: QueueNumber) -> Option<(&TopicState, u32)> {
        let (first, topic) = self.grown.range(..=number).next_back()?;
        let mut spans = topic.spans();
        let span = spans.find(|span| span.first_number == *first)?;
        (number < span.end_number()).then(|| (&**topic, span.first_queue + (number - first)))
    }
}

/// Writes everything that is to be kept of a topic.
fn write_topic(topic: &TopicState, sink: &mut Sink<'_>) -> Result<(), StoreError> {
    sink.push(|batch| batch.topic(&topic.meta))?;
    let queue = topic.meta.first_number;
    for span in topic.spans() {
        let grown = Change::Grown {
            queue,
            from: span.first_queue,
            more: span.queues(),
            first_number: span.first_number,
        };
        sink.push(|batch| batch.push(&grown))?;
    }
    let (kind, settings) = topic.shape();
    if (kind, settings) != (topic.meta.kind, TopicSettings::default()) {
        let settings = Change::Settings {
            queue,
            kind,
            settings,
        };
        sink.push(|batch| batch.push(&settings))?;
    }
    for (queue, next) in topic.floors() {
        sink.push(|batch| batch.push(&Change::Emptied { queue, next }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::MetaLog;
    use crate::topic_settings::Permission;

    fn changes() -> Vec<Change> {
        let topic = |name: &str, id, first_number| {
            Change::Topic(TopicMeta {
                name: name.to_owned(),
                id,
                queues: 2,
                kind: TopicType::Any,
                first_number,
                since: 0,
            })
        };
        let grown = |from, first_number| Change::Grown {
            queue: 0,
            from,
            more: 1,
            first_number,
        };
        let settings = TopicSettings {
            permission: Permission::None,
            ..TopicSettings::default()
        };
        vec![
            topic("a", 0, 0),
            grown(2, 2),
            topic("b", 1, 3),
            grown(3, 5),
            Change::Settings {
                queue: 0,
                kind: TopicType::Fifo,
                settings,
            },
            Change::Emptied { queue: 5, next: 7 },
        ]
    }

    fn check(registry: &Registry) {
        let a = registry.find("a").unwrap();
        assert_eq!((a.queues(), a.shape().0), (4, TopicType::Fifo));
        assert_eq!(a.shape().1.permission, Permission::None);
        let numbers: Vec<_> = (0..4).map(|queue| a.number(queue).unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 5]);
        assert_eq!((a.floor(3), a.floor(2)), (7, 0));
        assert!(a.number(4).is_err() && a.place(4).is_err());
        assert_eq!(registry.next(), (2, 6));
        let ends = [(0, 1), (2, 8), (3, 9), (5, 10), (6, 11)];
        assert_eq!(registry.set_ends(ends).unknown, [6]);
        let next = |topic: &TopicState, queue| {
            let next = topic.next_offset(queue).unwrap();
            next.load(Ordering::Acquire)
        };
        assert_eq!([0, 2, 3].map(|queue| next(&a, queue)), [1, 8, 10]);
        assert_eq!(next(&registry.find("b").unwrap(), 0), 9);
    }

    #[test]
    fn queues_that_came_later_and_settings_are_kept_when_the_state_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::default();
        changes().iter().for_each(|change| registry.apply(change));
        // The state comes again behind what it was made of.
        changes().iter().for_each(|change| registry.apply(change));
        check(&registry);
        let meta = MetaLog::open(dir.path(), |_| {}).unwrap();
        let much = Change::Progress {
            group: "g".repeat(30_000),
            topic: 0,
            queue: 0,
            offset: 0,
        };
        // Enough for the log to be worth it.
        meta.append_all(std::iter::repeat_n(much, 300)).unwrap();
        meta.rewrite(|sink| registry.write(0, sink)).unwrap();
        meta.close().unwrap();
        drop(meta);
        let again = Registry::default();
        MetaLog::open(dir.path(), |change| again.apply(&change)).unwrap();
        check(&again);
        again.apply(&Change::Deleted {
            name: "a".to_owned(),
            id: 0,
            position: 1,
        });
        assert_eq!(again.set_ends([(0, 1), (3, 9), (5, 10)]).unknown, [0, 5]);
    }
}
