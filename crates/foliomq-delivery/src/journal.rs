//! The journal: every change of a lease, in a small log of its own in the store's folder.
//!
//! It is written before an answer goes out, in mapped pages: a killed process loses none of it. It is flushed every
//! [`FLUSH_INTERVAL`], so a power cut may take back the acks of that long, and those messages come again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event_listener::Listener as _;
use foliomq_commitlog::{AppendError, CommitLog, Draft, Flush, Kind, Options, Preheat, ReadMode};

use crate::DeliveryError;
use crate::lease::Change;
use crate::record::{Record, encode_change};

/// How long a change may stay in memory that a power cut loses.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

const SEGMENT_SIZE: u64 = 1 << 20;

/// A snapshot is due when the journal has grown by this many times the last one, or by what the options say.
const SNAPSHOT_RATIO: u64 = 2;

/// Looks at the log's end before a thread goes to sleep for it: another's record takes well under a microsecond to write.
const SPINS: u32 = 200;

#[derive(Debug)]
pub(crate) struct Journal {
    log: CommitLog,
    /// The log counts the records of a queue; the journal is one.
    count: AtomicU64,
    /// Where the last snapshot ended, and its bytes.
    snapshot_end: AtomicU64,
    snapshot_size: AtomicU64,
}

impl Journal {
    /// Opens or creates the log in `dir`.
    pub fn open(dir: &Path) -> Result<Self, DeliveryError> {
        let options = Options {
            segment_size: SEGMENT_SIZE,
            flush: Flush::Async {
                interval: FLUSH_INTERVAL,
            },
            preheat: Preheat::Off,
            read_mode: ReadMode::Mapped,
            lock_memory: false,
            ..Options::new(dir)
        };
        let (log, recovery) =
            CommitLog::open(options).map_err(|error| DeliveryError::Journal(error.to_string()))?;
        if let Some(cut) = &recovery.cut {
            tracing::warn!(position = cut.position, reason = %cut.reason, "cut the torn end of the delivery journal: acks in it are forgotten");
        }
        let start = AtomicU64::new(recovery.start);
        Ok(Self {
            log,
            count: AtomicU64::new(0),
            snapshot_end: start,
            snapshot_size: AtomicU64::new(0),
        })
    }

    /// Hands over every record, oldest first.
    pub fn replay(&self, mut take: impl FnMut(Record)) -> Result<(), DeliveryError> {
        let mut next_offset = 0;
        for record in self.log.records(self.log.watermarks().start) {
            let record = record.map_err(|error| DeliveryError::Journal(error.to_string()))?;
            next_offset = record.queue_offset() + 1;
            let decoded = Record::decode(record.message()).ok_or_else(|| {
                DeliveryError::Journal(format!(
                    "unknown record at position {}; it may be of a newer version",
                    record.position()
                ))
            })?;
            take(decoded);
        }
        self.count.store(next_offset, Ordering::Relaxed);
        Ok(())
    }

    /// Appends a record; returns its position.
    pub fn append(&self, record: &Record) -> Result<u64, AppendError> {
        let mut bytes = Vec::with_capacity(64);
        record.encode(&mut bytes);
        self.append_bytes(&bytes)
    }

    /// Appends a change of a queue.
    pub fn append_change(
        &self,
        subscription: u32,
        queue: u32,
        change: &Change,
    ) -> Result<u64, AppendError> {
        let mut bytes = Vec::with_capacity(64);
        encode_change(&mut bytes, subscription, queue, change);
        self.append_bytes(&bytes)
    }

    fn append_bytes(&self, bytes: &[u8]) -> Result<u64, AppendError> {
        let draft = Draft {
            kind: Kind::Control,
            topic: "",
            queue_id: 0,
            next_offset: &self.count,
            closed: None,
            message: &[bytes],
        };
        let appended = self.log.append(&draft)?;
        self.wait_appended(appended.end())?;
        Ok(appended.position)
    }

    /// Waits while a record before this one is still being written: a kill now would take both.
    fn wait_appended(&self, end: u64) -> Result<(), AppendError> {
        for _ in 0..SPINS {
            if self.end() >= end {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        while self.end() < end {
            let listener = self.log.listen();
            if let Some(poisoned @ AppendError::Poisoned { .. }) = self.log.refusing() {
                return Err(poisoned);
            }
            if self.end() < end {
                listener.wait();
            }
        }
        Ok(())
    }

    /// The position that the next record gets, or a lower one.
    pub fn end(&self) -> u64 {
        self.log.watermarks().appended
    }

    /// Whether the journal has grown enough for a snapshot.
    pub fn snapshot_due(&self, after: u64) -> bool {
        let grown = self
            .end()
            .saturating_sub(self.snapshot_end.load(Ordering::Relaxed));
        grown > after.max(self.snapshot_size.load(Ordering::Relaxed) * SNAPSHOT_RATIO)
    }

    /// Ends a snapshot that began at `begin`: once it is on the disk, what came before it goes.
    pub fn end_snapshot(&self, begin: u64) -> Result<(), DeliveryError> {
        let end = self.append(&Record::SnapshotEnd { begin })?;
        self.log.flush()?;
        self.log.delete_before(begin).map_err(|error| {
            DeliveryError::Journal(format!("dropping what is in a snapshot: {error}"))
        })?;
        self.snapshot_end.store(end, Ordering::Relaxed);
        self.snapshot_size.store(end - begin, Ordering::Relaxed);
        Ok(())
    }

    /// Makes everything appended so far durable.
    pub fn flush(&self) -> Result<(), AppendError> {
        self.log.flush()
    }

    /// Flushes and closes the log; later appends fail.
    pub fn close(&self) -> Result<(), AppendError> {
        self.log.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(journal: &Journal) -> Vec<Record> {
        let mut records = Vec::new();
        journal.replay(|record| records.push(record)).unwrap();
        records
    }

    fn group(id: u32) -> Record {
        Record::Group {
            id,
            name: "g".into(),
            max_attempts: 3,
        }
    }

    #[test]
    fn records_come_back_after_a_close_and_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        for id in 0..100 {
            journal.append(&group(id)).unwrap();
        }
        let killed = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
        }
        let expected: Vec<Record> = (0..100).map(group).collect();
        assert_eq!(records(&Journal::open(killed.path()).unwrap()), expected);
        journal.close().unwrap();
        assert!(journal.append(&group(0)).is_err());
        drop(journal);
        assert_eq!(records(&Journal::open(dir.path()).unwrap()), expected);
    }

    #[test]
    fn a_snapshot_drops_what_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let mut written = 0;
        while !journal.snapshot_due(3 * SEGMENT_SIZE) {
            journal.append(&group(written)).unwrap();
            written += 1;
        }
        let begin = journal.end();
        journal.append(&group(u32::MAX)).unwrap();
        journal.end_snapshot(begin).unwrap();
        assert!(!journal.snapshot_due(3 * SEGMENT_SIZE));
        let left = records(&journal);
        assert!(
            left.len() < written as usize / 2,
            "{} of {written}",
            left.len()
        );
        assert_eq!(
            left[left.len() - 2..],
            [group(u32::MAX), Record::SnapshotEnd { begin }]
        );
    }
}
