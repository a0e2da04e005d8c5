//! Appending and reading back.

mod common;

use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use common::{SEGMENT, all, append, draft, messages, open, options};
use foliomq_commitlog::{
    AppendError, CommitLog, Flush, Kind, Options, Preheat, ReadError, ReadMode,
};

#[test]
fn what_is_appended_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(7);
    let first = log
        .append(&draft(&next, &[b"one ", b"and ", b"two"]))
        .unwrap();
    let second = append(&log, &next, b"").unwrap();
    assert_eq!(first.end(), second.position);
    log.wait_committed(second.end()).unwrap();
    let record = log.read(first.position).unwrap();
    assert_eq!(record.message(), b"one and two");
    assert_eq!(
        (record.topic(), record.queue_id(), record.queue_offset()),
        ("topic", 3, 7)
    );
    assert_eq!(
        (record.size(), record.end(), record.store_time()),
        (first.size, first.end(), first.store_time)
    );
    assert!(record.verify());
    assert_eq!(log.read(second.position).unwrap().queue_offset(), 8);
}

#[test]
fn mapped_records_lie_in_the_page_and_buffered_ones_do_not() {
    for (read_mode, mapped) in [(ReadMode::Mapped, true), (ReadMode::Buffered, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = CommitLog::open(Options {
            read_mode,
            ..options(dir.path())
        })
        .unwrap();
        let appended = append(&log, &AtomicU64::new(0), b"where am I").unwrap();
        log.wait_committed(appended.end()).unwrap();
        let record = log.read(appended.position).unwrap();
        assert_eq!(log.is_mapped(record.message()), mapped);
        assert_eq!(log.is_mapped(&record.message_bytes()), mapped);
        assert_eq!(record.message_bytes().as_ptr(), record.message().as_ptr());
        assert_eq!(messages(&log), [b"where am I"]);
    }
}

#[test]
fn the_log_rolls_and_readers_do_not_notice() {
    for preheat in [
        Preheat::Off,
        Preheat::Segment,
        Preheat::Window { bytes: 16 << 10 },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = CommitLog::open(Options {
            preheat,
            ..options(dir.path())
        })
        .unwrap();
        let next = AtomicU64::new(0);
        let sent: Vec<Vec<u8>> = (0..300).map(|n| vec![n as u8; n * 7 % 3000]).collect();
        let mut records = log.records(0);
        for message in &sent {
            let appended = append(&log, &next, message).unwrap();
            log.wait_committed(appended.end()).unwrap();
            assert_eq!(records.next().unwrap().unwrap().message(), message);
        }
        assert!(records.next().is_none());
        assert!(log.segments().len() > 4);
        assert_eq!(messages(&log), sent);
        drop((log, records));
        let (log, recovery) = CommitLog::open(options(dir.path())).unwrap();
        assert!(recovery.clean);
        assert_eq!(messages(&log), sent);
    }
}

#[test]
fn appends_from_many_threads_leave_no_gap() {
    const THREADS: usize = 8;
    const EACH: usize = 500;
    let dir = tempfile::tempdir().unwrap();
    let flush = Flush::Async {
        interval: Duration::from_millis(5),
    };
    let (log, _) = CommitLog::open(Options {
        flush,
        ..options(dir.path())
    })
    .unwrap();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for id in 0..THREADS {
            let (log, next) = (&log, &next);
            scope.spawn(move || {
                for n in 0..EACH {
                    let text = format!("{id} {n}");
                    if n % 10 == 0 {
                        log.append_batch(&[draft(next, &[text.as_bytes()])])
                            .unwrap();
                    } else {
                        append(log, next, text.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    let records = all(&log);
    assert_eq!(records.len(), THREADS * EACH);
    let mut seen = [0; THREADS];
    for (index, record) in records.iter().enumerate() {
        assert_eq!(
            record.queue_offset(),
            index as u64,
            "queue offsets follow positions"
        );
        let text = String::from_utf8(record.message().to_vec()).unwrap();
        let (id, n) = text.split_once(' ').unwrap();
        let id: usize = id.parse().unwrap();
        assert_eq!(n.parse(), Ok(seen[id]), "the order of each thread");
        seen[id] += 1;
    }
    assert!(
        records
            .windows(2)
            .all(|pair| pair[0].store_time() <= pair[1].store_time())
    );
}

#[test]
fn a_batch_stays_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    let drafts = [
        draft(&next, &[b"a"]),
        draft(&next, &[b"b"]),
        draft(&next, &[b"c"]),
    ];
    let appended = log.append_batch(&drafts).unwrap();
    assert!(
        appended
            .windows(2)
            .all(|pair| pair[0].end() == pair[1].position)
    );
    log.wait_committed(appended[2].end()).unwrap();
    assert_eq!(messages(&log), [b"a", b"b", b"c"]);
    assert!(log.append_batch(&[]).unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_refused_and_takes_no_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    let large = vec![0; SEGMENT as usize];
    assert!(matches!(
        append(&log, &next, &large),
        Err(AppendError::TooLarge { .. })
    ));
    let topic = "t".repeat(256);
    let mut long = draft(&next, &[]);
    long.topic = &topic;
    assert!(matches!(
        log.append(&long),
        Err(AppendError::TooLarge { limit: 255, .. })
    ));
    let mut filler = draft(&next, &[]);
    filler.kind = Kind::Filler;
    assert!(matches!(
        log.append(&filler),
        Err(AppendError::TooLarge { limit: 0, .. })
    ));
    assert_eq!(append(&log, &next, b"fits").unwrap().queue_offset, 0);
}

#[test]
fn a_record_may_fill_the_segment_to_its_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    // Two records of half a segment; header and topic take 69 bytes.
    let half = vec![1; SEGMENT as usize / 2 - 69];
    for _ in 0..6 {
        append(&log, &next, &half).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(log.watermarks().appended, 3 * SEGMENT);
    log.close().unwrap();
    drop(log);
    let log = open(dir.path());
    append(&log, &next, b"next").unwrap();
    log.flush().unwrap();
    assert_eq!(all(&log).last().unwrap().position(), 3 * SEGMENT);
}

#[test]
fn positions_that_hold_no_record_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let appended = append(&log, &AtomicU64::new(0), b"one").unwrap();
    log.flush().unwrap();
    assert!(matches!(log.read(8), Err(ReadError::Invalid { .. })));
    assert!(matches!(
        log.read(appended.end()),
        Err(ReadError::NotCommitted { .. })
    ));
    assert!(matches!(
        log.read(u64::MAX),
        Err(ReadError::NotCommitted { .. })
    ));
}

#[test]
fn a_closed_log_refuses_appends_and_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    append(&log, &next, b"one").unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(append(&log, &next, b"two"), Err(AppendError::Closed));
    assert_eq!(messages(&log), [b"one"]);
    assert_eq!(log.wait_committed(1 << 40), Err(AppendError::Closed));
}

#[test]
fn committed_may_be_awaited_without_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let appended = append(&log, &AtomicU64::new(0), b"one").unwrap();
    let mut future = std::pin::pin!(log.committed(appended.end()));
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    while future.as_mut().poll(&mut context).is_pending() {
        thread::yield_now();
    }
    assert!(log.watermarks().committed >= appended.end());
}

#[test]
fn one_flush_serves_many_and_each_sees_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let appended = append(&log, &next, &[1; 700]).unwrap();
                    log.wait_committed(appended.end()).unwrap();
                    assert!(log.watermarks().durable >= appended.end());
                    assert_eq!(
                        log.read(appended.position).unwrap().queue_offset(),
                        appended.queue_offset
                    );
                }
            });
        }
    });
    assert_eq!(all(&log).len(), 400);
    let marks = log.watermarks();
    assert!(marks.durable == marks.committed && marks.committed <= marks.appended);
}
