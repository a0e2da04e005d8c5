//! A disk that fails or is full, and retention.

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{SEGMENT, all, append, messages, open, options};
use foliomq_commitlog::{AppendError, CommitLog, ReadError};
use foliomq_segment::disk::{self, Flush, Operation, Verdict, Watch, Watcher};

#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    full: AtomicBool,
    broken: AtomicBool,
    /// Removals do not reach the device.
    keeps_names: AtomicBool,
}

impl Watcher for Disk {
    fn before(&self, operation: &Operation<'_>) -> Verdict {
        let hit = match operation {
            Operation::Flush(Flush::Records, ..) => self.broken.load(Ordering::SeqCst),
            Operation::FlushFolder(Flush::SegmentsDropped, _) => {
                self.keeps_names.load(Ordering::SeqCst)
            }
            Operation::Allocate(_) => self.full.load(Ordering::SeqCst),
            _ => false,
        };
        match operation {
            _ if !hit || !operation.is_in(&self.folder) => Verdict::Go,
            Operation::Flush(..) | Operation::FlushFolder(..) => {
                Verdict::Fail(io::Error::other("the device is gone"))
            }
            _ => Verdict::Fail(io::ErrorKind::StorageFull.into()),
        }
    }

    fn after(&self, _: &Operation<'_>) {}
}

/// A log on a disk that fails when it is told to, as long as it is watched.
fn on_disk(dir: &Path) -> (CommitLog, Arc<Disk>, Watch) {
    let disk = Arc::new(Disk {
        folder: dir.to_path_buf(),
        full: AtomicBool::new(false),
        broken: AtomicBool::new(false),
        keeps_names: AtomicBool::new(false),
    });
    let watch = disk::watch(disk.clone());
    (CommitLog::open(options(dir)).unwrap().0, disk, watch)
}

/// Appends until an error; returns it.
fn fill(log: &CommitLog, next: &AtomicU64) -> AppendError {
    (0..1000)
        .find_map(|_| append(log, next, &[1; 1000]).err())
        .expect("the disk is full")
}

#[test]
fn a_failed_flush_poisons_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk, _watch) = on_disk(dir.path());
    let next = AtomicU64::new(0);
    let first = append(&log, &next, b"kept").unwrap();
    log.wait_committed(first.end()).unwrap();
    disk.broken.store(true, Ordering::SeqCst);
    let second = append(&log, &next, b"lost?").unwrap();
    let error = log.wait_committed(second.end()).unwrap_err();
    assert!(
        matches!(&error, AppendError::Poisoned { reason } if reason.contains("the device is gone")),
        "{error}"
    );
    disk.broken.store(false, Ordering::SeqCst);
    assert_eq!(append(&log, &next, b"no more").as_ref(), Err(&error));
    assert_eq!(log.wait_committed(second.end()).as_ref(), Err(&error));
    assert_eq!(log.flush().as_ref(), Err(&error));
    assert_eq!(log.refusing().as_ref(), Some(&error));
    assert_eq!(log.watermarks().committed, first.end());
    assert_eq!(
        messages(&log),
        [b"kept"],
        "reads go on, below what was acknowledged"
    );
    assert_eq!(log.close().as_ref(), Err(&error));
}

#[test]
fn a_full_disk_is_an_error_and_clears_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk, _watch) = on_disk(dir.path());
    disk.full.store(true, Ordering::SeqCst);
    let next = AtomicU64::new(0);
    let error = fill(&log, &next);
    assert!(matches!(error, AppendError::DiskFull { .. }), "{error}");
    assert_eq!(log.refusing(), Some(error));
    let sent = next.load(Ordering::SeqCst);
    log.flush().unwrap();
    assert_eq!(
        all(&log).len() as u64,
        sent,
        "what was refused took no queue offset"
    );
    disk.full.store(false, Ordering::SeqCst);
    while let Err(error) = append(&log, &next, &[1; 1000]) {
        assert!(matches!(error, AppendError::DiskFull { .. }), "{error}");
        std::thread::yield_now();
    }
    assert_eq!(log.refusing(), None);
    assert_eq!(next.load(Ordering::SeqCst), sent + 1);
}

#[test]
fn deleting_lets_a_full_log_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk, _watch) = on_disk(dir.path());
    let next = AtomicU64::new(0);
    while log.segments().len() < 3 {
        append(&log, &next, &[1; 1000]).unwrap();
    }
    disk.full.store(true, Ordering::SeqCst);
    fill(&log, &next);
    log.flush().unwrap();
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(log.delete_before(SEGMENT).unwrap(), SEGMENT);
    append(&log, &next, &[1; 1000]).unwrap();
}

#[test]
fn references_outlive_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    append(&log, &next, b"the very first").unwrap();
    while log.segments().len() < 3 {
        append(&log, &next, &[1; 1000]).unwrap();
    }
    log.flush().unwrap();
    let record = log.read(0).unwrap();
    let bytes = record.message_bytes();
    let infos = log.segments();
    assert!(infos[0].sealed && !infos[2].sealed);
    assert!(infos[0].first_store_time > 0 && infos[0].last_store_time >= infos[0].first_store_time);
    assert_eq!(
        log.delete_before(u64::MAX).unwrap(),
        2 * SEGMENT,
        "the active one stays"
    );
    assert!(!infos[0].path.exists() && infos[2].path.exists());
    assert_eq!(&bytes[..], b"the very first");
    assert!(log.is_mapped(&bytes));
    assert!(
        matches!(log.read(0), Err(ReadError::Deleted { position: 0, start }) if start == 2 * SEGMENT)
    );
    assert!(matches!(
        log.records(0).next(),
        Some(Err(ReadError::Deleted { .. }))
    ));
    let left = messages(&log).len();
    drop((log, record, bytes));
    let log = open(dir.path());
    assert_eq!(
        (log.watermarks().start, messages(&log).len()),
        (2 * SEGMENT, left)
    );
}

#[test]
fn the_log_begins_where_it_did_until_a_removal_is_on_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk, _watch) = on_disk(dir.path());
    let next = AtomicU64::new(0);
    while log.segments().len() < 3 {
        append(&log, &next, &[1; 1000]).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(log.start_without(2 * SEGMENT - 1), SEGMENT);
    assert_eq!(log.start_without(u64::MAX), 2 * SEGMENT);
    disk.keeps_names.store(true, Ordering::SeqCst);
    let sent = messages(&log).len();
    let error = log.delete_before(u64::MAX).unwrap_err();
    assert!(error.to_string().contains("the device is gone"), "{error}");
    assert_eq!(log.watermarks().start, 0);
    assert_eq!(messages(&log).len(), sent);
    disk.keeps_names.store(false, Ordering::SeqCst);
    assert_eq!(log.delete_before(u64::MAX).unwrap(), 2 * SEGMENT);
    assert_eq!(log.watermarks().start, 2 * SEGMENT);
}

#[test]
fn what_is_not_durable_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk, _watch) = on_disk(dir.path());
    disk.broken.store(true, Ordering::SeqCst);
    let next = AtomicU64::new(0);
    while log.segments().len() < 2 {
        append(&log, &next, &[1; 1000]).unwrap();
    }
    assert_eq!(log.delete_before(u64::MAX).unwrap(), 0);
}
