//! How far each group is.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::meta::Change;

/// Progress of all groups: (group, topic id, queue) -> offset. Every message below it is done.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    offsets: RwLock<BTreeMap<(String, u32, u32), u64>>,
}

impl Progress {
    pub(crate) fn apply(&self, change: &Change) {
        match change {
            Change::Progress {
                group,
                topic,
                queue,
                offset,
            } => {
                self.offsets
                    .write()
                    .insert((group.clone(), *topic, *queue), *offset);
            }
            Change::Deleted { id, .. } => {
                self.offsets.write().retain(|(_, topic, _), _| topic != id)
            }
            Change::Topic(_) | Change::Emptied { .. } | Change::Counters { .. } => {}
        }
    }

    pub(crate) fn offset(&self, group: &str, topic: u32, queue: u32) -> Option<u64> {
        self.offsets
            .read()
            .get(&(group.to_owned(), topic, queue))
            .copied()
    }

    /// All of it, as changes.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let offsets = self.offsets.read();
        let change =
            |((group, topic, queue), offset): (&(String, u32, u32), &u64)| Change::Progress {
                group: group.clone(),
                topic: *topic,
                queue: *queue,
                offset: *offset,
            };
        offsets.iter().map(change).collect()
    }
}
