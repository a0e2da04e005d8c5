//! The metadata of a store, topics and progress, in a small log of its own.
//!
//! A record holds one or many changes. When the log has grown to a multiple of what it says, the state is written again as
//! a whole and what came before is dropped: a crash in between finds both, and the later one counts.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foliomq_commitlog::{CommitLog, Draft, Flush, Kind, Options, Preheat};
use foliomq_segment::Folder;

use crate::change::{Batch, Change, decode};
use crate::error::{OpenError, StoreError};

/// Bytes of a segment, in a store with few topics and in one with many.
const SEGMENTS: [u64; 2] = [1 << 20, 16 << 20];
/// So many segments in the folder at a start are many.
const MANY: usize = 8;
/// Progress is on the device after this long; topics are before their creation returns.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// The state is written again once the log is larger than so many times the state, and so many bytes beside.
const COMPACT_AT: u64 = 2;
const COMPACT_AFTER: u64 = 8 << 20;

/// The open log.
#[derive(Debug)]
pub(crate) struct MetaLog {
    log: CommitLog,
    next: AtomicU64,
    /// Bytes of log that the whole state took when it was last written or counted.
    state: AtomicU64,
}

impl MetaLog {
    /// Opens or creates it, and tells `apply` of every change in its order.
    pub(crate) fn open(dir: &Path, mut apply: impl FnMut(Change)) -> Result<Self, OpenError> {
        // A folder that is not there yet has none.
        let segments = Folder::bases(dir).map_or(0, |bases| bases.len());
        let options = Options {
            segment_size: SEGMENTS[usize::from(segments >= MANY)],
            flush: Flush::Async {
                interval: FLUSH_EVERY,
            },
            preheat: Preheat::Off,
            ..Options::new(dir)
        };
        let (log, recovery) = CommitLog::open(options)?;
        for record in log.records(recovery.start) {
            let record =
                record.map_err(|error| OpenError::invalid(format!("metadata: {error}")))?;
            for change in decode(record.message()) {
                apply(change.map_err(|error| {
                    OpenError::invalid(format!(
                        "metadata at position {} of {}: {error}",
                        record.position(),
                        dir.display()
                    ))
                })?);
            }
        }
        Ok(Self {
            log,
            next: AtomicU64::new(0),
            state: AtomicU64::new(0),
        })
    }

    /// Adds a change: safe from a crash of the process at once, from a power cut after the next flush.
    pub(crate) fn append(&self, change: &Change) -> Result<(), StoreError> {
        let mut sink = Sink::new(self);
        sink.push(|batch| batch.push(change))?;
        sink.end()
    }

    /// Adds changes, many to a record.
    pub(crate) fn append_all(
        &self,
        changes: impl IntoIterator<Item: Borrow<Change>>,
    ) -> Result<(), StoreError> {
        let mut sink = Sink::new(self);
        for change in changes {
            sink.push(|batch| batch.push(change.borrow()))?;
        }
        sink.end()
    }

    /// Makes all changes durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        Ok(self.log.flush()?)
    }

    /// Whether most of the log may be overruled.
    pub(crate) fn is_large(&self) -> bool {
        self.len() > COMPACT_AFTER + COMPACT_AT * self.state.load(Ordering::Relaxed)
    }

    fn len(&self) -> u64 {
        let watermarks = self.log.watermarks();
        watermarks.appended - watermarks.start
    }

    /// Writes the whole state, which `write` puts into the sink, then drops what came before it: if that is worth it.
    pub(crate) fn rewrite(
        &self,
        write: impl Fn(&mut Sink<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut count = Sink::counting(self);
        write(&mut count)?;
        count.end()?;
        self.state.store(count.written, Ordering::Relaxed);
        if !self.is_large() {
            return Ok(());
        }
        let start = self.log.watermarks().appended;
        let mut sink = Sink::new(self);
        write(&mut sink)?;
        sink.end()?;
        self.flush()?;
        self.log
            .delete_before(start)
            .map_err(|error| StoreError::Read(format!("dropping old metadata: {error}")))?;
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<(), StoreError> {
        Ok(self.log.close()?)
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let draft = Draft {
            kind: Kind::Control,
            topic: "",
            queue_id: 0,
            next_offset: &self.next,
            closed: None,
            message: &[batch.bytes()],
        };
        self.log.append(&draft)?;
        Ok(())
    }
}

/// Takes changes, and writes them many to a record.
pub(crate) struct Sink<'a> {
    log: &'a MetaLog,
    batch: Batch,
    /// Whether nothing is written, only counted.
    counting: bool,
    /// Bytes of content.
    written: u64,
}

impl<'a> Sink<'a> {
    fn new(log: &'a MetaLog) -> Self {
        Self {
            log,
            batch: Batch::default(),
            counting: false,
            written: 0,
        }
    }

    fn counting(log: &'a MetaLog) -> Self {
        Self {
            counting: true,
            ..Self::new(log)
        }
    }

    /// Takes the change that `add` adds.
    pub(crate) fn push(&mut self, add: impl FnOnce(&mut Batch)) -> Result<(), StoreError> {
        add(&mut self.batch);
        if self.batch.is_full() {
            self.write()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.written += self.batch.bytes().len() as u64;
        if !self.counting {
            self.log.write(&self.batch)?;
        }
        self.batch.clear();
        Ok(())
    }
}
