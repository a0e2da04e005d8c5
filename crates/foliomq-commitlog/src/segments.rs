//! The segments of an open log, in order.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use foliomq_segment::Segment;
use parking_lot::RwLock;

use crate::header::{HEADER, Header};

/// One segment as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Position of its first byte.
    pub base: u64,
    /// Its file.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Bytes of the device that it occupies.
    pub allocated: u64,
    /// Unix milliseconds of the first record; 0 for an empty one.
    pub first_store_time: u64,
    /// Unix milliseconds of the last record; 0 for an empty one.
    pub last_store_time: u64,
    /// Whether it is full: it may be deleted, and nothing is written to it.
    pub sealed: bool,
}

/// A segment of the log, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) segment: Arc<Segment>,
    /// Unix milliseconds of the last record; meaningful once sealed.
    pub(crate) last_store_time: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Ascending, without gaps.
    entries: Vec<Entry>,
    /// Deleted, but perhaps still referenced by readers.
    deleted: Vec<Weak<Segment>>,
}

/// The segments from the log's start to the active one.
#[derive(Debug, Default)]
pub(crate) struct Segments(RwLock<Inner>);

impl Segments {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self(RwLock::new(Inner {
            entries,
            deleted: Vec::new(),
        }))
    }

    /// The first position that is still there.
    pub(crate) fn start(&self) -> u64 {
        self.0
            .read()
            .entries
            .first()
            .map_or(0, |entry| entry.segment.base())
    }

    /// The segment that holds `position`.
    pub(crate) fn find(&self, position: u64) -> Option<Arc<Segment>> {
        let inner = self.0.read();
        let after = inner
            .entries
            .partition_point(|entry| entry.segment.base() <= position);
        let entry = inner.entries.get(after.checked_sub(1)?)?;
        (position < entry.segment.end()).then(|| entry.segment.clone())
    }

    /// Adds the new active segment; the one before is sealed, with its last record at `store_time`.
    pub(crate) fn roll(&self, segment: Arc<Segment>, store_time: u64) {
        let mut inner = self.0.write();
        if let Some(sealed) = inner.entries.last_mut() {
            sealed.last_store_time = store_time;
        }
        inner.entries.push(Entry {
            segment,
            last_store_time: 0,
        });
    }

    /// The segments that overlap `[start, end)`.
    pub(crate) fn overlapping(&self, start: u64, end: u64) -> Vec<Arc<Segment>> {
        let inner = self.0.read();
        let overlaps = |entry: &&Entry| entry.segment.base() < end && start < entry.segment.end();
        inner
            .entries
            .iter()
            .filter(overlaps)
            .map(|entry| entry.segment.clone())
            .collect()
    }

    /// Those that retention has removed while readers still hold them.
    pub(crate) fn deleted(&self) -> Vec<Arc<Segment>> {
        let inner = self.0.read();
        inner.deleted.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn all(&self) -> Vec<Entry> {
        self.0.read().entries.clone()
    }

    /// The sealed segments that end at or below `position`.
    pub(crate) fn ending_by(&self, position: u64) -> Vec<Arc<Segment>> {
        let inner = self.0.read();
        let sealed = inner
            .entries
            .split_last()
            .map_or(&[][..], |(_, sealed)| sealed);
        sealed
            .iter()
            .map(|entry| &entry.segment)
            .take_while(|segment| segment.end() <= position)
            .cloned()
            .collect()
    }

    /// Takes out the first segment, which is the one at `base`. Readers keep what they hold.
    pub(crate) fn forget_first(&self, base: u64) {
        let mut inner = self.0.write();
        if inner
            .entries
            .first()
            .is_some_and(|entry| entry.segment.base() == base)
        {
            let entry = inner.entries.remove(0);
            inner.deleted.retain(|segment| segment.strong_count() > 0);
            inner.deleted.push(Arc::downgrade(&entry.segment));
        }
    }

    /// Whether `bytes` lies in the mapping of any segment, deleted ones that are still referenced included.
    pub(crate) fn contains(&self, bytes: &[u8]) -> bool {
        let inner = self.0.read();
        inner
            .entries
            .iter()
            .any(|entry| entry.segment.contains(bytes))
            || inner
                .deleted
                .iter()
                .filter_map(Weak::upgrade)
                .any(|segment| segment.contains(bytes))
    }
}

impl Entry {
    /// What an operator sees. `active` is the time of the log's last record, for the segment that is still written.
    pub(crate) fn info(&self, active: Option<u64>) -> SegmentInfo {
        let segment = &self.segment;
        let first_store_time = self.first_store_time();
        let last_store_time = if first_store_time == 0 {
            0
        } else {
            active.unwrap_or(self.last_store_time)
        };
        SegmentInfo {
            base: segment.base(),
            path: segment.path().to_path_buf(),
            size: segment.size(),
            // Only a figure to show: a file that does not answer counts as full.
            allocated: segment.allocated().unwrap_or(segment.size()),
            first_store_time,
            last_store_time,
            sealed: active.is_none(),
        }
    }

    /// Unix milliseconds of the first record; 0 for an empty segment.
    pub(crate) fn first_store_time(&self) -> u64 {
        let segment = &self.segment;
        let mut first = [0; HEADER];
        match segment.read_at(segment.base(), &mut first) {
            Ok(()) => Header::parse(&first, segment.base(), segment.size())
                .map_or(0, |header| header.store_time),
            Err(_) => 0,
        }
    }
}
