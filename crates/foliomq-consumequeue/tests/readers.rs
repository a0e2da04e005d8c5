//! Readers beside the one who puts: they see whole entries only, and of each queue a stretch without gaps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use foliomq_consumequeue::{ConsumeQueues, Entry};

const QUEUES: u32 = 300;
const PUTS: u64 = 200_000;
/// Bytes of a record in the log.
const SIZE: u64 = 1 << 10;

/// What stands at an offset: every field follows from queue and offset.
fn entry(queue: u32, offset: u64) -> Entry {
    // The queues take turns in the log.
    let index = offset * u64::from(QUEUES) + u64::from(queue);
    Entry {
        position: index * SIZE,
        size: 1 + queue,
        tag_hash: index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        store_time: index,
    }
}

/// Reads a queue once, and checks all that is seen.
fn look(queues: &ConsumeQueues, queue: u32, log_start: &AtomicU64) {
    let (from, before) = (queues.offsets(queue), log_start.load(Ordering::SeqCst));
    let mut entries = Vec::new();
    let found = queues
        .entries(queue, from.start, 100, &mut entries)
        .unwrap() as u64;
    let after = log_start.load(Ordering::SeqCst);
    // The start may have moved on meanwhile, and only the start.
    let first = entries
        .first()
        .map_or(from.start, |first| first.store_time / u64::from(QUEUES));
    assert!(first >= from.start);
    for (offset, found) in (first..).zip(&entries) {
        assert_eq!(
            *found,
            entry(queue, offset),
            "queue {queue}, offset {offset}"
        );
        assert!(found.position >= before, "dropped before it was read");
    }
    let to_end = from.end.saturating_sub(first).min(100);
    assert!(found >= to_end || after > before, "{found} of {to_end}");
    if let Some(last) = from.end.checked_sub(1)
        && let Some(found) = queues.entry(queue, last).unwrap()
    {
        assert_eq!(found, entry(queue, last));
    }
}

#[test]
fn readers_see_whole_entries_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let queues = ConsumeQueues::open(dir.path(), 0).unwrap();
    let (done, log_start) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for reader in 0..3 {
            let (queues, done, log_start) = (&queues, &done, &log_start);
            scope.spawn(move || {
                let mut queue = reader;
                while !done.load(Ordering::SeqCst) {
                    look(queues, queue % QUEUES, log_start);
                    queue += 7;
                }
            });
        }
        scope.spawn(|| {
            // Retention and flushes, with places used again: a freed extent must not be seen under another queue.
            while !done.load(Ordering::SeqCst) {
                let end = queues.offsets(0).end * u64::from(QUEUES) * SIZE;
                let start = end.saturating_sub(64 << 20);
                log_start.store(start, Ordering::SeqCst);
                queues.trim(start);
                queues.flush().unwrap();
            }
        });
        for index in 0..PUTS {
            let (queue, offset) = (index as u32 % QUEUES, index / u64::from(QUEUES));
            queues.put(queue, offset, entry(queue, offset)).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    for queue in 0..QUEUES {
        let last = (PUTS - 1 - u64::from(queue)) / u64::from(QUEUES);
        assert_eq!(queues.offsets(queue).end, last + 1);
        assert_eq!(queues.entry(queue, last).unwrap(), Some(entry(queue, last)));
    }
}
