//! The metadata of a store, topics and progress, in a small log of its own.
//!
//! Each change is one control record with a JSON content. When the log has grown, the state is written again as a whole
//! and what came before is dropped: a crash in between finds both, and the later one counts.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foliomq_commitlog::{CommitLog, Draft, Flush, Kind, Options, Preheat};
use serde::{Deserialize, Serialize};

use crate::error::{OpenError, StoreError};
use crate::topic::TopicType;

/// Bytes of a segment.
const SEGMENT: u64 = 1 << 20;
/// Progress is on the device after this long; topics are before their creation returns.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Bytes of log after which the state is written again.
const COMPACT_AFTER: u64 = 8 * SEGMENT;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// A topic was created.
    Topic(TopicMeta),
    /// A topic was deleted when the commit log had reached `position`: what lies below belongs to nobody.
    Deleted {
        name: String,
        id: u32,
        position: u64,
    },
    /// A group has done everything below `offset`.
    Progress {
        group: String,
        topic: u32,
        queue: u32,
        offset: u64,
    },
    /// Retention has emptied a queue; its next message gets this offset.
    Emptied { topic: u32, queue: u32, next: u64 },
    /// The id and the queue number of the next topic: those of deleted topics are not given again.
    Counters { id: u32, number: u32 },
}

/// A topic as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicMeta {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) queues: u32,
    pub(crate) kind: TopicType,
    /// Number of queue 0 in the consume queues; the others follow.
    pub(crate) first_number: u32,
    /// Records below this position of the commit log belong to an earlier topic of the same name.
    pub(crate) since: u64,
}

/// The open log.
#[derive(Debug)]
pub(crate) struct MetaLog {
    log: CommitLog,
    next: AtomicU64,
}

impl MetaLog {
    /// Opens or creates it, and returns all changes in their order.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Change>), OpenError> {
        let options = Options {
            segment_size: SEGMENT,
            flush: Flush::Async {
                interval: FLUSH_EVERY,
            },
            preheat: Preheat::Off,
            ..Options::new(dir)
        };
        let (log, recovery) = CommitLog::open(options)?;
        let mut changes = Vec::new();
        for record in log.records(recovery.start) {
            let record =
                record.map_err(|error| OpenError::invalid(format!("metadata: {error}")))?;
            let change = serde_json::from_slice(record.message()).map_err(|error| {
                OpenError::invalid(format!(
                    "metadata at position {} of {}: {error}",
                    record.position(),
                    dir.display()
                ))
            })?;
            changes.push(change);
        }
        Ok((
            Self {
                log,
                next: AtomicU64::new(0),
            },
            changes,
        ))
    }

    /// Adds a change: safe from a crash of the process at once, from a power cut after the next flush.
    pub(crate) fn append(&self, change: &Change) -> Result<(), StoreError> {
        let content = serde_json::to_vec(change)
            .map_err(|error| StoreError::illegal(format!("metadata: {error}")))?;
        let draft = Draft {
            kind: Kind::Control,
            topic: "",
            queue_id: 0,
            next_offset: &self.next,
            closed: None,
            message: &[&content],
        };
        self.log.append(&draft)?;
        Ok(())
    }

    /// Makes all changes durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        Ok(self.log.flush()?)
    }

    /// Whether it is time to [`rewrite`](Self::rewrite).
    pub(crate) fn is_large(&self) -> bool {
        let watermarks = self.log.watermarks();
        watermarks.appended - watermarks.start > COMPACT_AFTER
    }

    /// Writes the whole state, then drops what came before it.
    pub(crate) fn rewrite(&self, state: &[Change]) -> Result<(), StoreError> {
        let start = self.log.watermarks().appended;
        state.iter().try_for_each(|change| self.append(change))?;
        self.flush()?;
        self.log
            .delete_before(start)
            .map_err(|error| StoreError::Read(format!("dropping old metadata: {error}")))?;
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<(), StoreError> {
        Ok(self.log.close()?)
    }
}
