//! Reads of what is not in memory, and reads by copy.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use foliomq_commitlog::{CommitLog, Draft, Kind, Options, ReadError, ReadMode};
use proptest::prelude::*;

const SEGMENT: u64 = 4 << 20;
const COLD_CACHE: u64 = 3 << 20;

fn open(dir: &Path, read_mode: ReadMode) -> CommitLog {
    let options = Options {
        segment_size: SEGMENT,
        read_mode,
        read_ahead: 256 << 10,
        cold_cache: Some(COLD_CACHE),
        check_on_open: 0,
        ..Options::new(dir)
    };
    CommitLog::open(options).unwrap().0
}

/// Appends messages of these sizes, and returns their positions.
fn fill(log: &CommitLog, sizes: impl IntoIterator<Item = usize>) -> Vec<u64> {
    let next_offset = AtomicU64::new(0);
    let append = |(index, size): (usize, usize)| {
        let body = vec![index as u8; size];
        let draft = Draft {
            kind: Kind::Message,
            topic: "cold",
            queue_id: 0,
            next_offset: &next_offset,
            closed: None,
            message: &[&body],
        };
        log.append(&draft).unwrap().position
    };
    let positions = sizes.into_iter().enumerate().map(append).collect();
    log.flush().unwrap();
    positions
}

fn resident(log: &CommitLog) -> u64 {
    let segments = log.residency(1).unwrap();
    segments.iter().map(|segment| segment.pages.resident).sum()
}

/// Drops the sealed segments' pages.
fn cool(log: &CommitLog) {
    for segment in log.segments() {
        let file = File::open(segment.path).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn by_copy_is_by_reference(sizes in prop::collection::vec(
        prop_oneof![0usize..300, 3900usize..4300, 0usize..200_000], 1..60
    )) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), ReadMode::Mapped);
        let positions = fill(&log, sizes);
        let read = |log: &CommitLog| -> Vec<Vec<u8>> {
            let single = positions.iter().map(|&position| log.read(position).unwrap());
            let scanned = log.records(0).map(|record| record.unwrap());
            single.chain(scanned).map(|record| record.message().to_vec()).collect()
        };
        let mapped = read(&log);
        prop_assert_eq!(mapped.len(), 2 * positions.len());
        log.close().unwrap();
        drop(log);
        prop_assert_eq!(mapped, read(&open(dir.path(), ReadMode::Buffered)));
    }
}

#[test]
fn a_scan_of_history_keeps_no_more_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), ReadMode::Mapped);
    fill(&log, [30_000; 600]);
    log.close().unwrap();
    drop(log);
    let log = open(dir.path(), ReadMode::Mapped);
    cool(&log);
    let before = resident(&log);
    if before > SEGMENT {
        eprintln!("skipped: this file system keeps {before} bytes in memory");
        return;
    }
    assert_eq!(
        log.records(0)
            .filter(|record| record.as_ref().unwrap().verify())
            .count(),
        600
    );
    let kept = resident(&log) - before;
    // The bound, and the active segment, which preheating may have brought in meanwhile.
    assert!(kept <= COLD_CACHE + SEGMENT, "{kept} bytes are kept");
}

#[test]
fn a_cold_read_past_the_end_of_a_file_is_an_error_and_no_signal() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), ReadMode::Mapped);
    let positions = fill(&log, [30_000; 300]);
    log.close().unwrap();
    drop(log);
    let log = open(dir.path(), ReadMode::Mapped);
    cool(&log);
    // What the log never does.
    let first = log.segments()[0].path.clone();
    File::options()
        .write(true)
        .open(first)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    log.read(positions[0]).unwrap();
    let beyond = *positions
        .iter()
        .find(|&&position| position > 2 << 20)
        .unwrap();
    assert!(matches!(log.read(beyond), Err(ReadError::Io { .. })));
    log.warm(beyond, 10).unwrap_err();
    let stopped = log.records(0).find_map(Result::err).unwrap();
    assert!(matches!(stopped, ReadError::Io { .. }));
}

/// However many read at once, and whatever they find: no turn is kept, and the bound is on those at the device.
#[test]
fn many_who_read_history_share_a_few_places() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), ReadMode::Mapped);
    fill(&log, [30_000; 300]);
    log.close().unwrap();
    drop(log);
    let options = Options {
        cold_reads: 2,
        segment_size: SEGMENT,
        check_on_open: 0,
        ..Options::new(dir.path())
    };
    let log = CommitLog::open(options).unwrap().0;
    cool(&log);
    let before = log.cold_reads().reads;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let read = log.records(0).filter(|record| {
                    assert!(log.cold_reads().running <= 2);
                    record.as_ref().unwrap().verify()
                });
                assert_eq!(read.count(), 300);
            });
        }
    });
    let after = log.cold_reads();
    assert_eq!((after.running, after.waiting), (0, 0));
    if after.reads == before {
        eprintln!("skipped: this file system keeps everything in memory");
    }
}
