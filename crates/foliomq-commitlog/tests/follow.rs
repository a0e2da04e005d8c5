//! A log that is followed through its control file.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use common::{SEGMENT, append, open, options};
use foliomq_commitlog::{
    CommitLog, FollowedRecords, LogReader, OpenError, Options, ReaderError, Record, State, Wait,
    WriterKind,
};
use proptest::prelude::*;

const LONG: Duration = Duration::from_secs(60);

fn follow(dir: &Path) -> Arc<LogReader> {
    Arc::new(LogReader::open(dir, Wait::Sleep).unwrap())
}

fn append_committed(log: &CommitLog, next: &AtomicU64, message: &[u8]) -> u64 {
    let appended = append(log, next, message).unwrap();
    log.wait_committed(appended.end()).unwrap();
    appended.position
}

#[test]
fn retention_takes_what_a_reader_has_not_read_and_leaves_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (log, next) = (open(dir.path()), AtomicU64::new(0));
    let reader = follow(dir.path());
    let mut records = reader.records(0);
    let kept = vec![7; SEGMENT as usize / 3];
    for _ in 0..9 {
        append_committed(&log, &next, &kept);
    }
    let held = records.next().unwrap().unwrap();
    let start = log.delete_before(3 * SEGMENT).unwrap();
    assert_eq!(start, 3 * SEGMENT);
    assert_eq!(held.message(), kept, "its pages stay");
    assert!(held.verify());
    assert_eq!(reader.watermarks().start, start);
    let rest_of_segment = records.by_ref().take_while(Result::is_ok).count();
    assert_eq!(rest_of_segment, 1, "of the segment that was open");
    for _ in 0..2 {
        let error = records.next().unwrap().unwrap_err();
        let ReaderError::Expired { position, start: s } = error else {
            panic!("{error}");
        };
        assert_eq!((position, s), (SEGMENT, start));
    }
    assert_eq!(reader.records(start).map(Result::unwrap).count(), 3);
}

#[test]
fn damage_is_an_error_and_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (log, next) = (open(dir.path()), AtomicU64::new(0));
    append_committed(&log, &next, b"good");
    let bad = append_committed(&log, &next, b"to be damaged");
    let file = std::fs::File::options()
        .write(true)
        .open(dir.path().join(format!("{:020}", 0)))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", bad + 70).unwrap();
    let mut records = follow(dir.path()).records(0);
    assert_eq!(records.next().unwrap().unwrap().message(), b"good");
    for _ in 0..2 {
        let error = records.next().unwrap().unwrap_err();
        assert!(matches!(error, ReaderError::Invalid { position, .. } if position == bad));
    }
}

#[test]
fn a_log_that_nobody_has_open_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = |dir: &Path| {
        let error = LogReader::open(dir, Wait::Sleep).unwrap_err();
        assert!(matches!(error, OpenError::NoWriter { .. }), "{error}");
    };
    nobody(dir.path());
    drop(open(dir.path()));
    nobody(dir.path());
    std::fs::write(dir.path().join("control"), [0; 8192]).unwrap();
    let error = LogReader::open(dir.path(), Wait::Sleep).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    std::fs::write(dir.path().join("control"), b"short").unwrap();
    LogReader::open(dir.path(), Wait::Sleep).unwrap_err();
    // The next writer does not care what it finds.
    let _log = open(dir.path());
    follow(dir.path());
}

#[test]
fn a_position_that_a_restart_gave_up_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let (log, next) = (open(dir.path()), AtomicU64::new(0));
    let reader = follow(dir.path());
    for _ in 0..3 {
        append_committed(&log, &next, b"soon gone");
    }
    let mut records = reader.records(0);
    assert_eq!(records.by_ref().map(Result::unwrap).count(), 3);
    drop(log);
    assert_eq!(reader.state().unwrap(), State::Closed);
    // Somebody puts an older copy of the folder in its place, say.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let log = open(dir.path());
    append_committed(&log, &next, b"new");
    let error = records.next_timeout(LONG).unwrap_err();
    assert!(
        matches!(error, ReaderError::Rewound { end, .. } if end < 3 * 80),
        "{error}"
    );
    assert_eq!(reader.records(0).map(Result::unwrap).count(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Flush,
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..20_000_usize).prop_map(Step::Append),
        3 => Just(Step::Flush),
        1 => any::<u8>().prop_map(Step::Delete),
    ]
}

/// Reads all there is; the positions after each record.
fn drain(records: &mut FollowedRecords) -> Vec<u64> {
    let end = |record: Result<Record, ReaderError>| record.unwrap().end();
    records.map(end).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In sync mode: what is appended and not flushed is in the pages already, and no reader gets it.
    #[test]
    fn nothing_is_read_before_it_is_committed(
        steps in prop::collection::vec(step(), 1..60),
        staged in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let writer = if staged { WriterKind::Staged } else { WriterKind::Mapped };
        let options = Options { writer: Some(writer), ..options(dir.path()) };
        let (log, next) = (CommitLog::open(options).unwrap().0, AtomicU64::new(0));
        let reader = follow(dir.path());
        let mut records = reader.records(0);
        let (mut pending, mut committed) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Append(len) => pending.push(append(&log, &next, &vec![1; len]).unwrap().end()),
                Step::Flush => {
                    log.flush().unwrap();
                    prop_assert_eq!(drain(&mut records), std::mem::take(&mut pending));
                    committed = records.next_position();
                }
                // Only of what was read.
                Step::Delete(share) => {
                    log.delete_before(committed * u64::from(share) / 256).unwrap();
                }
            }
            prop_assert!(records.next().is_none(), "{} is not committed", records.next_position());
            let (theirs, ours) = (reader.watermarks(), log.watermarks());
            prop_assert_eq!(theirs, ours);
            prop_assert!(!reader.wait_past(theirs.committed, Duration::ZERO).unwrap());
        }
    }
}
