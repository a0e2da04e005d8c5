//! How far each group is.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::change::Change;
use crate::error::StoreError;
use crate::meta::Sink;

/// Progress of one group: (topic id, queue) -> offset. Every message below it is done.
type Offsets = BTreeMap<(u32, u32), u64>;

/// Progress of all groups: some 25 bytes for each queue that a group has read.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    groups: RwLock<BTreeMap<String, Offsets>>,
}

impl Progress {
    pub(crate) fn apply(&self, change: &Change) {
        match change {
            Change::Progress {
                group,
                topic,
                queue,
                offset,
            } => self.set(group, (*topic, *queue), *offset),
            Change::Deleted { id, .. } => self.forget(*id),
            Change::Forgotten { group, topic } => self.forget_group(group, *topic),
            Change::Topic(_)
            | Change::Emptied { .. }
            | Change::Counters { .. }
            | Change::Ledger { .. }
            | Change::Held { .. }
            | Change::Settings { .. }
            | Change::Grown { .. } => {}
        }
    }

    fn set(&self, group: &str, queue: (u32, u32), offset: u64) {
        let mut groups = self.groups.write();
        match groups.get_mut(group) {
            Some(offsets) => _ = offsets.insert(queue, offset),
            None => _ = groups.insert(group.to_owned(), Offsets::from([(queue, offset)])),
        }
    }

    /// Forgets the queues of a deleted topic.
    fn forget(&self, topic: u32) {
        let queues = (topic, 0)..=(topic, u32::MAX);
        self.groups.write().retain(|_, offsets| {
            while let Some((&queue, _)) = offsets.range(queues.clone()).next() {
                offsets.remove(&queue);
            }
            !offsets.is_empty()
        });
    }

    /// Forgets a group, or what it has of one topic.
    fn forget_group(&self, group: &str, topic: Option<u32>) {
        let mut groups = self.groups.write();
        if let (Some(topic), Some(offsets)) = (topic, groups.get_mut(group)) {
            offsets.retain(|(of, _), _| *of != topic);
        }
        let is_empty = |offsets: &Offsets| offsets.is_empty();
        if topic.is_none() || groups.get(group).is_some_and(is_empty) {
            groups.remove(group);
        }
    }

    pub(crate) fn offset(&self, group: &str, topic: u32, queue: u32) -> Option<u64> {
        self.groups.read().get(group)?.get(&(topic, queue)).copied()
    }

    /// What lies past the end of its queue, set back to it. `end` knows of each queue (topic id, queue) where it ends, if
    /// it is there.
    pub(crate) fn past(&self, end: impl Fn(u32, u32) -> Option<u64>) -> Vec<Change> {
        let mut past = Vec::new();
        for (group, offsets) in self.groups.read().iter() {
            for (&(topic, queue), &offset) in offsets {
                past.extend(end(topic, queue).filter(|&end| end < offset).map(|end| {
                    Change::Progress {
                        group: group.clone(),
                        topic,
                        queue,
                        offset: end,
                    }
                }));
            }
        }
        past
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.read().is_empty()
    }

    /// Writes all of it.
    pub(crate) fn write(&self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        for (group, offsets) in self.groups.read().iter() {
            for (&(topic, queue), &offset) in offsets {
                sink.push(|batch| batch.progress(group, topic, queue, offset))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_topic_is_forgotten_and_no_other() {
        let progress = Progress::default();
        for topic in [1, 2, 3] {
            progress.set("one", (topic, 7), 10);
            progress.set("one", (topic, u32::MAX), 11);
        }
        progress.set("two", (2, 0), 12);
        let (name, position) = (String::new(), 0);
        let id = 2;
        progress.apply(&Change::Deleted { name, id, position });
        assert_eq!(progress.offset("one", 1, u32::MAX), Some(11));
        assert_eq!(progress.offset("one", 3, 7), Some(10));
        assert_eq!(progress.offset("one", 2, 7), None);
        assert_eq!(progress.groups.read().len(), 1);
        let forget = |group: &str, topic| {
            let group = group.to_owned();
            progress.apply(&Change::Forgotten { group, topic });
        };
        forget("one", Some(1));
        forget("other", None);
        assert_eq!(progress.offset("one", 1, 7), None);
        assert_eq!(progress.offset("one", 3, 7), Some(10));
        forget("one", None);
        assert!(progress.is_empty());
    }
}
