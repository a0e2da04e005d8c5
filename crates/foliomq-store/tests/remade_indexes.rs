//! Indexes that are made anew, where retention has already dropped what the queues held.

mod common;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use foliomq_store::{Message, Options, Retention, Store, TopicOptions};

use common::copy;

/// Messages of the queue, all of which retention drops.
const MESSAGES: u64 = 3;
/// Retention takes 10 ms; so long is given up for.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir).segment_size(Options::MIN_SEGMENT);
    options.max_body = 8 << 10;
    options
}

/// A store whose log holds nothing any more, closed.
fn emptied(dir: &Path) {
    let live = dir.with_extension("live");
    let store = options(&live).open().unwrap();
    let one = TopicOptions {
        queues: 1,
        ..Default::default()
    };
    store.create_topic("t", one).unwrap();
    for _ in 0..MESSAGES {
        store.append_to("t", 0, &Message::new(b"old")).unwrap();
    }
    store.flush().unwrap();
    // After a crash the log goes on in a new segment.
    copy(&live, dir);
    let retention = Retention {
        size: Some(1),
        interval: Duration::from_millis(10),
        ..Default::default()
    };
    let store = options(dir).retention(retention).open().unwrap();
    let begin = Instant::now();
    while store.offsets("t", 0).unwrap().start == 0 {
        assert!(begin.elapsed() < PATIENCE, "retention drops nothing");
        thread::sleep(Duration::from_millis(1));
    }
    store.close().unwrap();
}

fn goes_on(store: &Store) {
    assert_eq!(store.offsets("t", 0).unwrap(), MESSAGES..MESSAGES);
    let appended = store.append_to("t", 0, &Message::new(b"new")).unwrap();
    assert_eq!(appended.queue_offset, MESSAGES);
    let read = store.read("t", 0, MESSAGES).unwrap();
    assert_eq!(
        read.map(|message| message.body().to_vec()),
        Some(b"new".to_vec()),
        "refuses: {:?}",
        store.refusing()
    );
}

/// What is left of indexes that were being made anew when the power went: their checkpoint is gone, their files are not.
#[test]
fn files_without_their_checkpoint_count_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    emptied(&dir);
    fs::remove_file(dir.join("index-checkpoint")).unwrap();
    goes_on(&options(&dir).open().unwrap());
}
