//! Looking at a log from outside, and repairing it.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use common::{SEGMENT, all, append, messages, open, options};
use foliomq_commitlog::{CommitLog, OpenError, inspect, salvage, verify};

/// A closed log over several segments; the positions of its records.
fn closed(dir: &Path) -> Vec<u64> {
    let log = open(dir);
    let next = AtomicU64::new(0);
    let positions = (0..300u32)
        .map(|n| append(&log, &next, &vec![n as u8; 900]).unwrap().position)
        .collect();
    log.close().unwrap();
    positions
}

fn overwrite(dir: &Path, position: u64, bytes: &[u8]) {
    let path = dir.join(format!("{:020}", position / SEGMENT * SEGMENT));
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, position % SEGMENT).unwrap();
}

#[test]
fn an_open_log_may_be_inspected() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    for _ in 0..100 {
        append(&log, &next, &[1; 1000]).unwrap();
    }
    log.flush().unwrap();
    let survey = inspect(dir.path()).unwrap();
    assert!(survey.sound());
    assert_eq!(
        survey
            .segments
            .iter()
            .map(|segment| segment.messages)
            .sum::<u64>(),
        100
    );
    assert!(survey.segments[0].first_store_time > 0);
    assert_eq!(survey.end(), log.watermarks().appended);
    assert_eq!(verify(dir.path()).unwrap(), inspect(dir.path()).unwrap());
}

#[test]
fn a_damaged_record_is_lost_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let positions = closed(dir.path());
    overwrite(dir.path(), positions[10] + 500, &[0xff; 8]);
    overwrite(dir.path(), positions[150] + 3, &[0xff]);
    assert!(matches!(
        CommitLog::open(options(dir.path())),
        Err(OpenError::Corrupt { .. })
    ));
    let survey = verify(dir.path()).unwrap();
    assert!(!survey.sound());
    let found: Vec<(u64, u64)> = survey
        .damage
        .iter()
        .map(|damage| (damage.position, damage.end))
        .collect();
    assert_eq!(
        found,
        [
            (positions[10], positions[11]),
            (positions[150], positions[151])
        ]
    );
    assert_eq!(salvage(dir.path()).unwrap(), survey.damage);
    assert!(verify(dir.path()).unwrap().sound());
    let log = open(dir.path());
    let mut expected = positions;
    expected.remove(150);
    expected.remove(10);
    assert_eq!(
        all(&log)
            .iter()
            .map(|record| record.position())
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn the_last_record_may_be_the_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let positions = closed(dir.path());
    overwrite(dir.path(), positions[299] + 100, &[0xff; 8]);
    salvage(dir.path()).unwrap();
    let log = open(dir.path());
    assert_eq!(all(&log).len(), 299);
    append(&log, &AtomicU64::new(300), b"on").unwrap();
    log.flush().unwrap();
    assert_eq!(all(&log).len(), 300);
}

#[test]
fn a_missing_or_short_segment_is_filled() {
    for missing in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let positions = closed(dir.path());
        let path = dir.path().join(format!("{SEGMENT:020}"));
        if missing {
            fs::remove_file(path).unwrap();
        } else {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(5000)
                .unwrap();
        }
        let error = CommitLog::open(options(dir.path())).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert!(!salvage(dir.path()).unwrap().is_empty());
        let log = open(dir.path());
        let lost = |&&position: &&u64| {
            let readable = if missing {
                SEGMENT
            } else {
                SEGMENT + 5000 - 969
            };
            (readable..2 * SEGMENT).contains(&position)
        };
        assert_eq!(
            all(&log).len(),
            positions.len() - positions.iter().filter(lost).count()
        );
    }
}

#[test]
fn a_lost_checkpoint_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let positions = closed(dir.path());
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(!verify(dir.path()).unwrap().sound());
    salvage(dir.path()).unwrap();
    assert_eq!(all(&open(dir.path())).len(), positions.len());
}

#[test]
fn an_open_log_is_not_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    salvage(dir.path()).unwrap_err();
}

#[test]
fn a_segment_cut_short_just_behind_a_record_is_salvaged() {
    const CUT: u64 = 16 << 10;
    // Less than a header, and so than the smallest filler.
    const LEFT: u64 = 48;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    let small = append(&log, &next, &[1; 40]).unwrap();
    let room = CUT - LEFT - small.end();
    let around = u64::from(small.size) - 40;
    let last = append(&log, &next, &vec![2; (room - around) as usize]).unwrap();
    assert_eq!(last.end(), CUT - LEFT);
    while log.watermarks().appended < 2 * SEGMENT {
        append(&log, &next, &[3; 1000]).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let path = dir.path().join(format!("{:020}", 0));
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(CUT)
        .unwrap();
    salvage(dir.path()).unwrap();
    let (log, _) = CommitLog::open(options(dir.path())).unwrap();
    let kept = messages(&log);
    assert_eq!(kept[..2], [vec![1; 40], vec![2; (room - around) as usize]]);
    assert!(verify(dir.path()).unwrap().sound());
}
