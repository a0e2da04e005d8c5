//! Finds where each queue ends, after a start.

use crate::entry::QueueNumber;
use crate::extent::{Allocation, Extent};
use crate::files::Files;
use crate::page::try_partition;

/// A queue as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    queue: QueueNumber,
    pub(crate) extents: Vec<Extent>,
    pub(crate) end: u64,
    /// Extents behind the end, to be given back.
    pub(crate) dropped: Vec<Extent>,
}

impl Found {
    /// Finds the end: the first entry that is missing or points at or above `checkpoint`. What lies behind it is zeroed,
    /// so that it cannot pass for an entry once the checkpoint has moved on; extents left empty are dropped, but for
    /// the first. An error if the extents do not follow each other, or if the end cannot be told for a damaged entry.
    pub(crate) fn new(
        allocations: &[Allocation],
        files: &Files,
        checkpoint: u64,
    ) -> Result<Self, String> {
        let mut found = Self {
            queue: allocations.first().map_or(0, |one| one.queue),
            extents: allocations.iter().map(|one| one.extent).collect(),
            end: 0,
            dropped: Vec::new(),
        };
        let follows = |pair: &[Extent]| pair[0].limit() == pair[1].first;
        if !found.extents.windows(2).all(follows) {
            return Err(format!(
                "the extents of queue {} do not follow each other",
                found.queue
            ));
        }
        while let Some(&extent) = found.extents.last() {
            found.end = found.end_in(extent, files, checkpoint)?;
            if found.end > extent.first || found.extents.len() == 1 {
                break;
            }
            found.dropped.extend(found.extents.pop());
        }
        Ok(found)
    }

    fn end_in(&self, extent: Extent, files: &Files, checkpoint: u64) -> Result<u64, String> {
        let Some(words) = files.get(extent.place.file() as usize) else {
            return Ok(extent.first);
        };
        // The entries on both sides of the end are looked at, so it is where it was.
        let end = try_partition(extent.first..extent.limit(), |offset| {
            let damaged = |_| format!("the entry of offset {offset} in queue {}", self.queue);
            let entry = extent.entry(self.queue, words, offset).map_err(damaged)?;
            Ok::<_, String>(entry.is_none_or(|entry| entry.position >= checkpoint))
        })?;
        extent.clear_from(words, end);
        Ok(end)
    }
}
