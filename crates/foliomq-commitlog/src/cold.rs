//! Cold reads: pages come into memory before they are handed out, and leave it again in the order they came.
//!
//! A reader of history would otherwise fill the page cache with what nobody reads twice, at the cost of what is read at
//! the head. So what reads have brought in is bounded: past the bound the oldest blocks are given back.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Weak};

use foliomq_segment::{BLOCK, ColdBlock, Folder, Residency, Segment};
use parking_lot::Mutex;

use crate::error::ReadError;
use crate::shared::Shared;

/// However small the bound, what so many reads bring in is kept.
const READS_KEPT: u64 = 4;

/// What reads have brought in, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Fetched(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    blocks: VecDeque<(Weak<Segment>, ColdBlock)>,
    /// Of all blocks together.
    bytes: u64,
}

/// What of one segment is in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentResidency {
    /// Position of its first byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Whether retention has deleted it: readers still hold it, and so its blocks of the disk.
    pub deleted: bool,
    /// Its pages.
    pub pages: Residency,
}

/// What of each segment in the folder `dir` is in memory, each in `parts` parts, looked at from outside: no lock is taken.
/// A segment that is deleted meanwhile is passed over.
pub fn residency(dir: &Path, parts: usize) -> io::Result<Vec<SegmentResidency>> {
    let look = |base| {
        let path = Folder::path_in(dir, base);
        let found = Residency::of_file(&path, parts)
            .and_then(|pages| Ok((std::fs::metadata(&path)?.len(), pages)));
        match found {
            Ok((size, pages)) => Some(Ok(SegmentResidency {
                base,
                size,
                deleted: false,
                pages,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
        }
    };
    Folder::bases(dir)?.into_iter().filter_map(look).collect()
}

impl Fetched {
    fn push(&self, segment: &Arc<Segment>, block: ColdBlock) {
        let mut queue = self.0.lock();
        queue.bytes += block.len();
        queue.blocks.push_back((Arc::downgrade(segment), block));
    }

    /// The oldest, while there are more than `most` bytes.
    fn pop_over(&self, most: u64) -> Option<(Weak<Segment>, ColdBlock)> {
        let mut queue = self.0.lock();
        if queue.bytes <= most {
            return None;
        }
        let oldest = queue.blocks.pop_front()?;
        queue.bytes -= oldest.1.len();
        Some(oldest)
    }
}

impl Shared {
    /// Brings the pages of `positions` into memory, if they are not; an error where a touch would be a signal.
    pub(crate) fn fetch(
        &self,
        segment: &Arc<Segment>,
        positions: Range<u64>,
    ) -> Result<(), ReadError> {
        let position = positions.start;
        let failed = |source| ReadError::Io { position, source };
        let at_once = positions.end - positions.start + self.options.read_ahead + BLOCK;
        let mut place = None;
        let fetched = |block| {
            // Before the first block is read, until all are asked for.
            place.get_or_insert_with(|| self.cold.place());
            self.fetched.push(segment, block);
        };
        segment
            .warm(positions, self.options.read_ahead, fetched)
            .map_err(failed)?;
        if place.take().is_none() {
            return Ok(());
        }
        // Never what this read has just brought in, nor what came for the next.
        let most = self.options.cold_cache;
        let most = most.unwrap_or_else(|| self.memory.share());
        self.give_back(most.max(READS_KEPT * at_once))
    }

    /// Whether a read at committed `positions` would wait for the device.
    pub(crate) fn is_warm(&self, positions: Range<u64>) -> Result<bool, ReadError> {
        let position = positions.start;
        let segment = self.segment_at(position)?;
        let failed = |source| ReadError::Io { position, source };
        segment.is_warm(positions).map_err(failed)
    }

    fn give_back(&self, most: u64) -> Result<(), ReadError> {
        while let Some((segment, block)) = self.fetched.pop_over(most) {
            if let Some(segment) = segment.upgrade() {
                let position = segment.base();
                let failed = |source| ReadError::Io { position, source };
                segment.give_back(block).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(crate) fn residency(&self, parts: usize) -> io::Result<Vec<SegmentResidency>> {
        let held = self.segments.deleted().into_iter().map(|s| (s, true));
        let here = self.segments.all().into_iter().map(|e| (e.segment, false));
        held.chain(here)
            .map(|(segment, deleted)| {
                Ok(SegmentResidency {
                    base: segment.base(),
                    size: segment.size(),
                    deleted,
                    pages: segment.residency(parts)?,
                })
            })
            .collect()
    }
}
