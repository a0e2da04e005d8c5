//! A store whose log was damaged in the middle and salvaged: all but what was damaged is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use foliomq_store::{Flush, Message, OpenError, Options, Store, TopicOptions};

const MESSAGES: u64 = 100;
const DAMAGED: u64 = 42;

fn open(dir: &std::path::Path) -> Result<Store, OpenError> {
    let flush = Flush::Async {
        interval: Duration::from_millis(50),
    };
    Options::new(dir).segment_size(16 << 20).flush(flush).open()
}

#[test]
fn what_was_given_up_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let one_queue = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    store.create_topic("t", one_queue).unwrap();
    let append = |n: u64| {
        let body = n.to_le_bytes();
        store.append("t", &Message::new(&body).key("k")).unwrap()
    };
    let appended: Vec<_> = (0..MESSAGES).map(append).collect();
    drop(store);
    let log = dir.path().join("commitlog");
    let segment = File::options()
        .write(true)
        .open(log.join(format!("{:020}", 0)))
        .unwrap();
    segment
        .write_all_at(b"?", appended[DAMAGED as usize].position + 70)
        .unwrap();

    assert!(matches!(open(dir.path()), Err(OpenError::Log(_))));
    foliomq_commitlog::salvage(&log).unwrap();
    check(&open(dir.path()).unwrap());
    for lost in ["consumequeue", "keys"] {
        std::fs::remove_dir_all(dir.path().join(lost)).unwrap();
        check(&open(dir.path()).unwrap());
        check(&open(dir.path()).unwrap());
    }
}

fn check(store: &Store) {
    let expected: Vec<u64> = (0..MESSAGES).filter(|&n| n != DAMAGED).collect();
    let found = store.read_many("t", 0, 0, usize::MAX).unwrap();
    let found: Vec<u64> = found.iter().map(|message| message.queue_offset()).collect();
    assert_eq!(found, expected);
    assert!(store.read("t", 0, DAMAGED).unwrap().is_none());
    assert_eq!(store.offsets("t", 0).unwrap(), 0..MESSAGES);
    assert_eq!(
        store.find_by_key("t", "k", 1000).unwrap().len(),
        expected.len()
    );
    let mut tail = store.tail("t", 0, 0).unwrap();
    for offset in expected {
        assert_eq!(tail.try_next().unwrap().unwrap().queue_offset(), offset);
    }
    assert!(tail.try_next().unwrap().is_none());
}
