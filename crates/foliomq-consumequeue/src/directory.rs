//! What the extent log leaves standing.

use crate::extent::{Allocation, Place};
use crate::extent_log::Change;

/// The extents of all queues, and the places that belong to nobody.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// By queue, then by first offset.
    pub(crate) extents: Vec<Allocation>,
    pub(crate) free: Vec<Place>,
}

impl Directory {
    /// The last change of a place counts. An error if two places overlap.
    pub(crate) fn replay(changes: &[Change]) -> Result<Self, String> {
        let mut order: Vec<(Place, u32)> = changes
            .iter()
            .zip(0..)
            .map(|(change, index)| (change.place(), index))
            .collect();
        order.sort_unstable();
        let is_last = |at: usize| order.get(at + 1).is_none_or(|next| next.0 != order[at].0);
        let mut directory = Self::default();
        let mut before: Option<Place> = None;
        for (_, &(place, index)) in order.iter().enumerate().filter(|(at, _)| is_last(*at)) {
            let overlaps =
                |before: Place| before.file() == place.file() && before.end() > place.slot();
            if before.replace(place).is_some_and(overlaps) {
                return Err(format!("two extents overlap at {place:?}"));
            }
            match changes[index as usize] {
                Change::Allocated(allocation) => directory.extents.push(allocation),
                Change::Freed(place) => directory.free.push(place),
            }
        }
        let by_queue = |allocation: &Allocation| (allocation.queue, allocation.extent.first);
        directory.extents.sort_unstable_by_key(by_queue);
        Ok(directory)
    }

    /// Records that it takes to say all this.
    pub(crate) fn len(&self) -> usize {
        self.free.len() + self.extents.len()
    }

    /// All this as changes.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let allocated = self.extents.iter().copied().map(Change::Allocated);
        let freed = self.free.iter().copied().map(Change::Freed);
        allocated.chain(freed).collect()
    }

    /// The extents of each queue, ascending.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &[Allocation]> {
        self.extents.chunk_by(|one, next| one.queue == next.queue)
    }
}
