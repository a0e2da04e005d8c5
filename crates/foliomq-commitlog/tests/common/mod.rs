//! What the tests share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::sync::atomic::AtomicU64;

use foliomq_commitlog::{AppendError, Appended, CommitLog, Draft, Kind, Options, Preheat, Record};

pub const SEGMENT: u64 = 64 << 10;

/// The smallest segments, without preheat.
pub fn options(dir: &Path) -> Options {
    Options {
        segment_size: SEGMENT,
        preheat: Preheat::Off,
        ..Options::new(dir)
    }
}

pub fn open(dir: &Path) -> CommitLog {
    CommitLog::open(options(dir)).unwrap().0
}

pub fn append(log: &CommitLog, next: &AtomicU64, message: &[u8]) -> Result<Appended, AppendError> {
    log.append(&draft(next, &[message]))
}

pub fn draft<'a>(next_offset: &'a AtomicU64, message: &'a [&'a [u8]]) -> Draft<'a> {
    Draft {
        kind: Kind::Message,
        topic: "topic",
        queue_id: 3,
        next_offset,
        closed: None,
        message,
    }
}

/// All committed records from the log's start.
pub fn all(log: &CommitLog) -> Vec<Record> {
    log.records(log.watermarks().start)
        .map(Result::unwrap)
        .collect()
}

pub fn messages(log: &CommitLog) -> Vec<Vec<u8>> {
    all(log)
        .iter()
        .map(|record| record.message().to_vec())
        .collect()
}
