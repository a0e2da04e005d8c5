//! A disk that fills up and gets room again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use foliomq_store::{
    AppendError, Disk, Flush, Message, Options, Retention, Store, StoreError, TopicOptions, Usage,
};

/// A disk of a hundred bytes.
#[derive(Debug)]
struct Told {
    used: AtomicU64,
}

impl Disk for Told {
    fn usage(&self) -> io::Result<Usage> {
        let used = self.used.load(Ordering::SeqCst);
        Ok(Usage {
            total: 100,
            free: 100 - used,
        })
    }
}

fn append(store: &Store) -> Result<(), StoreError> {
    store.append("t", &Message::new(b"x")).map(|_| ())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("still not: {what}");
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Told {
        used: AtomicU64::new(50),
    });
    let retention = Retention {
        interval: Duration::from_millis(10),
        disk_refuse: 0.9,
        disk: None,
        ..Default::default()
    };
    let flush = Flush::Async {
        interval: Duration::from_millis(100),
    };
    let options = Options::new(dir.path())
        .segment_size(16 << 20)
        .flush(flush)
        .retention(retention)
        .disk(disk.clone());
    let store = options.open().unwrap();
    store.create_topic("t", TopicOptions::default()).unwrap();
    append(&store).unwrap();

    disk.used.store(95, Ordering::SeqCst);
    wait_until("refused", || store.refusing().is_some());
    let error = append(&store).unwrap_err();
    assert!(
        matches!(error, StoreError::Append(AppendError::DiskFull { .. })),
        "{error}"
    );
    assert!(store.read("t", 0, 0).unwrap().is_some(), "reads go on");

    // Below the mark, but not by enough.
    disk.used.store(89, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(50));
    append(&store).unwrap_err();

    disk.used.store(80, Ordering::SeqCst);
    wait_until("taken again", || store.refusing().is_none());
    append(&store).unwrap();
}
