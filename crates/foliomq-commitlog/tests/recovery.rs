//! Opening after a crash: torn tails are cut, damage is refused.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use common::{SEGMENT, all, append, messages, open, options};
use foliomq_commitlog::{CommitLog, OpenError, Options};

/// A copy of the folder as a crash at this moment would leave it.
fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match fs::copy(entry.path(), copy.path().join(entry.file_name())) {
            // A segment that was just being made has got its name meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
    copy
}

fn segment(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}"))
}

fn overwrite(dir: &Path, position: u64, bytes: &[u8]) {
    let base = position / SEGMENT * SEGMENT;
    let file = File::options()
        .write(true)
        .open(segment(dir, base))
        .unwrap();
    file.write_all_at(bytes, position - base).unwrap();
}

/// A log of `count` records whose checkpoint is still at 0, and the positions at which they begin and the last ends.
fn unflushed(count: usize) -> (tempfile::TempDir, Vec<Vec<u8>>, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let flush = foliomq_commitlog::Flush::Async {
        interval: std::time::Duration::from_secs(3600),
    };
    let (log, _) = CommitLog::open(Options {
        flush,
        ..options(dir.path())
    })
    .unwrap();
    let next = AtomicU64::new(0);
    let sent: Vec<Vec<u8>> = (0..count)
        .map(|n| vec![b'a' + (n % 26) as u8; n * 37 % 900])
        .collect();
    let mut positions = Vec::new();
    for message in &sent {
        positions.push(append(&log, &next, message).unwrap().position);
    }
    positions.push(log.watermarks().appended);
    (crash(dir.path()), sent, positions)
}

#[test]
fn after_a_kill_everything_is_there_and_a_new_generation_begins() {
    let (dir, sent, positions) = unflushed(200);
    let (log, recovery) = CommitLog::open(options(dir.path())).unwrap();
    assert!(!recovery.clean);
    assert_eq!(recovery.cut, None);
    assert_eq!(recovery.end, *positions.last().unwrap());
    assert_eq!(messages(&log), sent);
    let old = all(&log)[0].header().generation;
    let next = AtomicU64::new(0);
    append(&log, &next, b"after").unwrap();
    log.flush().unwrap();
    let records = all(&log);
    let last = records.last().unwrap();
    assert_ne!(last.header().generation, old);
    assert_eq!(last.position() % SEGMENT, 0, "in a new segment");
    let copy = crash(dir.path());
    let log = open(copy.path());
    assert_eq!(messages(&log).len(), sent.len() + 1);
}

#[test]
fn recovery_ends_where_it_ended_before() {
    let (dir, sent, positions) = unflushed(20);
    overwrite(dir.path(), positions[15] + 20, &[0xee]);
    for round in 0..4 {
        let log = open(dir.path());
        assert_eq!(messages(&log), sent[..15], "round {round}");
        let copy = crash(dir.path());
        drop(log);
        for entry in fs::read_dir(copy.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_tail_cut_at_any_byte_keeps_what_is_whole() {
    let (dir, sent, positions) = unflushed(6);
    let end = *positions.last().unwrap();
    for cut in positions[3]..end {
        let copy = crash(dir.path());
        overwrite(copy.path(), cut, &vec![0; (end - cut) as usize]);
        let (log, recovery) = CommitLog::open(options(copy.path())).unwrap();
        let mut whole = positions[1..].iter().filter(|&&end| end <= cut).count();
        // Bytes that were zero anyway (an empty message, padding) are no loss.
        if messages(&log).len() > whole {
            whole += 1;
        }
        assert_eq!(messages(&log), sent[..whole], "cut at {cut}");
        assert_eq!(recovery.end, positions[whole]);
        assert_eq!(
            recovery.cut.is_some(),
            cut > positions[whole] && whole < sent.len(),
            "cut at {cut}"
        );
    }
}

#[test]
fn garbage_in_the_tail_is_cut_with_its_position_and_reason() {
    let (dir, sent, positions) = unflushed(10);
    overwrite(dir.path(), positions[8], &[0xa5; 100]);
    let (log, recovery) = CommitLog::open(options(dir.path())).unwrap();
    let cut = recovery.cut.unwrap();
    assert_eq!(cut.position, positions[8]);
    assert_eq!(cut.segment, segment(dir.path(), 0));
    assert!(cut.reason.contains("magic"), "{}", cut.reason);
    assert_eq!(messages(&log), sent[..8]);
}

#[test]
fn nothing_beyond_a_hole_is_served() {
    let (dir, sent, positions) = unflushed(400);
    assert!(*positions.last().unwrap() > 2 * SEGMENT);
    overwrite(dir.path(), positions[50], &[0; 64]);
    let (log, recovery) = CommitLog::open(options(dir.path())).unwrap();
    assert_eq!(recovery.end, positions[50]);
    assert!(recovery.cut.is_some());
    assert_eq!(messages(&log), sent[..50]);
    assert_eq!(log.segments().len(), 2);
    append(&log, &AtomicU64::new(0), b"after").unwrap();
    log.close().unwrap();
    drop(log);
    assert_eq!(messages(&open(dir.path())).len(), 51);
}

#[test]
fn a_missing_segment_beyond_the_durable_position_is_a_hole() {
    let (dir, sent, positions) = unflushed(400);
    fs::remove_file(segment(dir.path(), SEGMENT)).unwrap();
    let log = open(dir.path());
    let kept = positions
        .iter()
        .filter(|&&position| position < SEGMENT)
        .count();
    assert_eq!(messages(&log), sent[..kept]);
}

/// A cleanly closed log of 20 records, and their positions.
fn closed() -> (tempfile::TempDir, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    let mut positions = Vec::new();
    for n in 0..20 {
        positions.push(append(&log, &next, &[n; 50]).unwrap().position);
    }
    log.close().unwrap();
    (dir, positions)
}

#[test]
fn a_flipped_bit_below_the_durable_position_stops_the_start() {
    let (dir, positions) = closed();
    let before = fs::read(segment(dir.path(), 0)).unwrap();
    let at = positions[7] as usize;
    for (byte, &sound) in before.iter().enumerate().skip(at).take(120) {
        overwrite(dir.path(), byte as u64, &[sound ^ 4]);
        let damaged = fs::read(segment(dir.path(), 0)).unwrap();
        let error = CommitLog::open(options(dir.path())).unwrap_err();
        let OpenError::Corrupt {
            position,
            segment: path,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((*position, path), (at as u64, &segment(dir.path(), 0)));
        let text = error.to_string();
        assert!(
            text.contains(&format!("position {at}")) && text.contains("foliomq verify --salvage"),
            "{text}"
        );
        assert_eq!(
            fs::read(segment(dir.path(), 0)).unwrap(),
            damaged,
            "nothing is changed"
        );
        overwrite(dir.path(), byte as u64, &[sound]);
    }
    assert_eq!(messages(&open(dir.path())).len(), 20);
}

#[test]
fn after_a_clean_close_the_tail_goes_on() {
    let (dir, positions) = closed();
    let (log, recovery) = CommitLog::open(options(dir.path())).unwrap();
    assert!(recovery.clean);
    let appended = append(&log, &AtomicU64::new(20), b"next").unwrap();
    assert_eq!(
        (appended.position, recovery.end),
        (positions[19] + 120, positions[19] + 120)
    );
    log.flush().unwrap();
    let records = all(&log);
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].header().generation == pair[1].header().generation)
    );
}

#[test]
fn the_size_of_new_segments_may_change() {
    let (dir, _) = closed();
    let larger = Options {
        segment_size: 4 * SEGMENT,
        ..options(dir.path())
    };
    let (log, _) = CommitLog::open(larger).unwrap();
    let next = AtomicU64::new(20);
    append(&log, &next, &vec![1; 2 * SEGMENT as usize]).unwrap();
    log.close().unwrap();
    assert_eq!(
        log.segments()
            .iter()
            .map(|info| info.size)
            .collect::<Vec<_>>(),
        [SEGMENT, 4 * SEGMENT]
    );
    drop(log);
    assert_eq!(messages(&open(dir.path())).len(), 21);
}

#[test]
fn a_log_without_its_checkpoint_is_refused() {
    let (dir, _) = closed();
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let error = CommitLog::open(options(dir.path())).unwrap_err();
    assert!(error.to_string().contains("--salvage"), "{error}");
}

#[test]
fn a_folder_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    assert!(matches!(
        CommitLog::open(options(dir.path())),
        Err(OpenError::Locked { .. })
    ));
}

#[test]
fn a_senseless_segment_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for segment_size in [0, 4096, 100_000, 8 << 30] {
        let result = CommitLog::open(Options {
            segment_size,
            ..options(dir.path())
        });
        assert!(matches!(result, Err(OpenError::Invalid { .. })));
    }
}

/// The checkpoint points at it, and recovery goes on from there.
#[test]
fn the_durable_watermark_stands_where_a_record_ends() {
    let dir = tempfile::tempdir().unwrap();
    let flush = foliomq_commitlog::Flush::Async {
        interval: std::time::Duration::from_millis(2),
    };
    let (log, _) = CommitLog::open(Options {
        flush,
        segment_size: 32 << 20,
        ..options(dir.path())
    })
    .unwrap();
    let next = AtomicU64::new(0);
    let (mut ends, mut seen) = (BTreeSet::from([0]), BTreeSet::new());
    while log.watermarks().appended < 16 << 20 {
        ends.insert(append(&log, &next, &[7; 1111]).unwrap().end());
        seen.insert(log.watermarks().durable);
    }
    assert!(
        seen.is_subset(&ends),
        "within a record: {:?}",
        &seen - &ends
    );
}
