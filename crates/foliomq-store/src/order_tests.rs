//! What others can build on is on the device before they see it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foliomq_consumequeue::Emptied;
use foliomq_segment::disk::{self, Flush, Operation, Verdict, Watch, Watcher};
use parking_lot::Mutex;

use crate::change::Change;
use crate::hidden::Awaits;
use crate::message::Message;
use crate::options::Options;
use crate::store::Store;
use crate::topic::TopicOptions;

/// Looks at the store whenever its metadata goes to the device.
struct Onlooker {
    store: Store,
    look: fn(&Store) -> u64,
    seen: Mutex<Vec<u64>>,
}

impl Watcher for Onlooker {
    fn before(&self, operation: &Operation<'_>) -> Verdict {
        let is_flush = matches!(operation, Operation::Flush(Flush::Records, ..));
        if is_flush && operation.is_in(&self.store.options().dir.join("meta")) {
            self.seen.lock().push((self.look)(&self.store));
        }
        Verdict::Go
    }

    fn after(&self, _: &Operation<'_>) {}
}

/// A store with topic `t`.
fn store(dir: &Path) -> Store {
    let store = Options::new(dir).segment_size(16 << 20).open().unwrap();
    store.create_topic("t", TopicOptions::default()).unwrap();
    store
}

/// Looks from now on.
fn watch(store: &Store, look: fn(&Store) -> u64) -> (Arc<Onlooker>, Watch) {
    let onlooker = Arc::new(Onlooker {
        store: store.clone(),
        look,
        seen: Mutex::default(),
    });
    (onlooker.clone(), disk::watch(onlooker))
}

fn floor(store: &Store) -> u64 {
    store.shared().registry.get("t").unwrap().floor(0)
}

#[test]
fn where_an_emptied_queue_begins() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (onlooker, _watch) = watch(&store, floor);
    let queue = store.shared().registry.get("t").unwrap().meta.first_number;
    let emptied = Emptied { queue, next: 3 };
    store.shared().keep_offsets(&[emptied]).unwrap();
    assert_eq!(floor(&store), 3);
    assert_eq!(*onlooker.seen.lock(), [0]);
}

#[test]
fn that_a_topic_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (onlooker, _watch) = watch(&store, |store| u64::from(store.topic("t").is_some()));
    store.delete_topic("t").unwrap();
    assert!(store.topic("t").is_none());
    assert_eq!(*onlooker.seen.lock(), [1]);
}

#[test]
fn the_topic_of_a_hidden_message_that_somebody_else_is_making() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let hide = |topic| {
        let message = Message::new(b"later");
        let hidden = [(Awaits::Time(u64::MAX / 2), &message)];
        store.submit_hidden(topic, None, &hidden).unwrap()
    };
    hide("t");
    let shared = store.shared();
    let made = shared
        .registry
        .add("new", |id, first_number| {
            let mut meta = shared.registry.get("t")?.meta.clone();
            (meta.name, meta.id, meta.first_number) = ("new".to_owned(), id, first_number);
            shared.meta.append(&Change::Topic(meta.clone()))?;
            Ok((meta, Default::default()))
        })
        .unwrap();
    let is_settled = || shared.settled.load(Ordering::Acquire) > made.meta.id;
    assert!(!is_settled());
    hide("new");
    assert!(is_settled());
    let (onlooker, _watch) = watch(&store, |_| 0);
    hide("new");
    assert_eq!(*onlooker.seen.lock(), [], "once is enough");
}
