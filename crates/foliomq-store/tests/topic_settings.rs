//! Topics that are changed after they were made.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use foliomq_store::{
    Flush, LiteLimits, Message, Options, Permission, Retention, Store, StoreError, TopicOptions,
    TopicSettings, TopicType,
};
use tempfile::TempDir;

use common::copy;

fn options(dir: &Path) -> Options {
    let flush = Flush::Async {
        interval: Duration::from_millis(20),
    };
    let retention = Retention {
        interval: Duration::from_millis(10),
        ..Retention::default()
    };
    let options = Options::new(dir).segment_size(16 << 20).flush(flush);
    options.retention(retention)
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = options(dir.path()).open().unwrap();
    topic(&store, "t", 2);
    (dir, store)
}

fn topic(store: &Store, name: &str, queues: u32) {
    let options = TopicOptions {
        queues,
        ..TopicOptions::default()
    };
    store.create_topic(name, options).unwrap();
}

fn put(store: &Store, queue: u32, body: &str) {
    store
        .append_to("t", queue, &Message::new(body.as_bytes()))
        .unwrap();
}

fn bodies(store: &Store, queue: u32) -> Vec<String> {
    let messages = store.read_many("t", queue, 0, usize::MAX).unwrap();
    let text = |message: &foliomq_store::StoredMessage| {
        String::from_utf8(message.body().to_vec()).unwrap()
    };
    messages.iter().map(text).collect()
}

/// Waits until retention has done its work.
fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < deadline, "retention does nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn settings() -> TopicSettings {
    TopicSettings {
        permission: Permission::Read,
        keep_for: Some(Duration::from_secs(3600)),
        keep_bytes: Some(1 << 30),
        lite: LiteLimits {
            ttl: Some(Duration::from_secs(60)),
            topics: Some(7),
            subscriptions: Some(3),
        },
    }
}

#[test]
fn a_change_is_there_at_once_and_after_a_crash_and_without_indexes() {
    let (dir, store) = store();
    put(&store, 1, "before");
    topic(&store, "other", 3);
    let before = store.topic_changes();
    let changed = store
        .update_topic("t", |topic| {
            topic.queues = 5;
            topic.kind = TopicType::Delay;
            topic.settings = settings();
            topic.id = 99;
        })
        .unwrap();
    assert_eq!(changed, store.topic("t").unwrap());
    assert_eq!((changed.queues, changed.id), (5, 0));
    assert!(store.topic_changes() > before);
    topic(&store, "later", 3);
    store.update_topic("t", |topic| topic.queues = 6).unwrap();
    for queue in 0..6 {
        put(&store, queue, &format!("to {queue}"));
    }
    assert_eq!(bodies(&store, 5), ["to 5"]);
    store.flush().unwrap();
    for lost in [None, Some("consumequeue"), Some("keys")] {
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());
        if let Some(lost) = lost {
            fs::remove_dir_all(crashed.path().join(lost)).unwrap();
        }
        let store = options(crashed.path()).open().unwrap();
        let topic = store.topic("t").unwrap();
        assert_eq!((topic.queues, topic.kind), (6, TopicType::Delay));
        assert_eq!(topic.settings, settings());
        assert_eq!(bodies(&store, 1), ["before", "to 1"]);
        for queue in [0, 2, 3, 4, 5] {
            assert_eq!(bodies(&store, queue), [format!("to {queue}")]);
        }
        put(&store, 5, "again");
        assert_eq!(bodies(&store, 5), ["to 5", "again"]);
        let made = store.create_topic("new", TopicOptions::default()).unwrap();
        assert_eq!(store.offsets("new", made.queues - 1).unwrap(), 0..0);
    }
    drop(store);
    let report = foliomq_store::verify(dir.path()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.compared >= 7);
}

#[test]
fn turns_go_over_new_queues_too_and_a_deleted_topic_leaves_nothing() {
    let (_dir, store) = store();
    let appender = store.appender("t").unwrap();
    let mut tail = store.tail("t", 1, 0).unwrap();
    store.update_topic("t", |topic| topic.queues = 4).unwrap();
    for _ in 0..8 {
        appender.append(&Message::new(b"x")).unwrap();
    }
    store.catch_up();
    for queue in 0..4 {
        assert_eq!(store.offsets("t", queue).unwrap(), 0..2, "queue {queue}");
    }
    assert!(tail.try_next().unwrap().is_some());
    store.delete_topic("t").unwrap();
    assert!(appender.append_to(3, &Message::new(b"x")).is_err());
    topic(&store, "t", 4);
    put(&store, 3, "anew");
    assert_eq!(bodies(&store, 3), ["anew"]);
}

#[test]
fn what_cannot_be_changed_is_refused_and_nothing_is_changed() {
    let (_dir, store) = store();
    for (name, kind) in [("lite", TopicType::Lite), ("levels", TopicType::Priority)] {
        store
            .create_topic(name, TopicOptions { queues: 1, kind })
            .unwrap();
    }
    store.create_lite_topics("lite", &["a"]).unwrap();
    let refused = |name: &str, change: &dyn Fn(&mut foliomq_store::Topic)| {
        let before = store.topic(name);
        let error = store.update_topic(name, change).unwrap_err();
        assert_eq!(store.topic(name), before);
        assert!(matches!(error, StoreError::Illegal { .. }), "{error}");
        error.to_string()
    };
    let fewer = refused("t", &|topic| {
        topic.queues = 1;
        topic.settings = settings();
    });
    assert!(fewer.contains("keeps its 2 queues"), "{fewer}");
    store.create_lite_topics("t", &["a", "b"]).unwrap();
    for kind in [TopicType::Normal, TopicType::Fifo, TopicType::Delay] {
        let kept = refused("t", &|topic| topic.kind = kind);
        assert!(kept.contains("2 lite topics"), "{kept}");
    }
    refused("t", &|topic| topic.queues = 1025);
    refused("t", &|topic| topic.kind = TopicType::Lite);
    refused("t", &|topic| topic.kind = TopicType::Priority);
    refused("lite", &|topic| topic.kind = TopicType::Any);
    refused("levels", &|topic| topic.kind = TopicType::Any);
    refused("lite$a", &|topic| topic.settings = settings());
    refused("t", &|topic| topic.settings.keep_bytes = Some(0));
    let unknown = store.update_topic("nowhere", |_| {}).unwrap_err();
    assert!(matches!(unknown, StoreError::UnknownTopic { .. }));
}

#[test]
fn messages_older_than_the_topic_keeps_them_are_no_longer_read() {
    let (dir, store) = store();
    topic(&store, "other", 1);
    store.create_lite_topics("t", &["a"]).unwrap();
    for name in ["other", "t$a"] {
        store.append(name, &Message::new(b"old")).unwrap();
    }
    let old = Message::new(b"old").key("k").id("ID");
    store.append_to("t", 0, &old).unwrap();
    put(&store, 0, "old");
    let keep = |store: &Store, time| {
        let change = |topic: &mut foliomq_store::Topic| topic.settings.keep_for = Some(time);
        store.update_topic("t", change).unwrap();
    };
    keep(&store, Duration::from_secs(3600));
    put(&store, 1, "new");
    store.catch_up();
    assert_eq!(store.offsets("t", 0).unwrap(), 0..2);
    keep(&store, Duration::from_secs(1));
    until(|| store.offsets("t", 0).unwrap() == (2..2));
    until(|| store.offsets("t$a", 0).unwrap() == (1..1));
    assert_eq!(store.floor("t", 0).unwrap(), 2);
    assert_eq!(store.offsets("other", 0).unwrap(), 0..1);
    assert!(bodies(&store, 0).is_empty());
    assert!(store.find_by_key("t", "k", 9).unwrap().is_empty());
    assert!(store.find_by_id("t", "ID", 9).unwrap().is_empty());
    assert!(store.tail("t", 0, 0).unwrap().try_next().unwrap().is_none());
    let mut cursor = store.cursor("t", 0, 0).unwrap();
    assert!(cursor.next().unwrap().is_none());
    assert_eq!(cursor.offset(), 2);
    drop(cursor);
    assert_eq!(store.offset_at("t", 0, 0).unwrap(), 2);
    let keep_all = |topic: &mut foliomq_store::Topic| topic.settings.keep_for = None;
    store.update_topic("t", keep_all).unwrap();
    put(&store, 0, "after");
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    fs::remove_dir_all(crashed.path().join("consumequeue")).unwrap();
    for store in [store, options(crashed.path()).open().unwrap()] {
        assert_eq!(bodies(&store, 0), ["after"]);
        assert_eq!(store.offsets("t", 0).unwrap(), 2..3);
        assert_eq!(cursor_bodies(&store), ["after"]);
        store.close().unwrap();
    }
    let report = foliomq_store::verify(dir.path()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

fn cursor_bodies(store: &Store) -> Vec<String> {
    let mut cursor = store.cursor("t", 0, 0).unwrap();
    let mut found = Vec::new();
    while let Some(message) = cursor.next().unwrap() {
        found.push(String::from_utf8(message.body().to_vec()).unwrap());
    }
    found
}

#[test]
fn above_its_bytes_a_topic_loses_its_oldest_messages_whichever_queue_they_are_in() {
    let (_dir, store) = store();
    let body = "x".repeat(1000);
    // The first ten are all in queue 0.
    for n in 0..20 {
        put(&store, u32::from(n >= 10), &body);
    }
    let size = u64::from(store.read("t", 0, 0).unwrap().unwrap().size());
    let change = |bytes| {
        let change = |topic: &mut foliomq_store::Topic| topic.settings.keep_bytes = Some(bytes);
        store.update_topic("t", change).unwrap();
    };
    change(15 * size);
    until(|| store.offsets("t", 0).unwrap() == (5..10));
    assert_eq!(store.offsets("t", 1).unwrap(), 0..10);
    let mut entries = Vec::new();
    let read = store.entries("t", 0, 2, 3, &mut entries).unwrap();
    assert_eq!(
        (read, entries.len()),
        (5..8, 3),
        "they begin where the queue does"
    );
    // It goes on with what comes.
    for _ in 0..8 {
        put(&store, 0, &body);
    }
    until(|| store.offsets("t", 1).unwrap() == (3..10));
    assert_eq!(store.offsets("t", 0).unwrap(), 10..18);
    change(1);
    until(|| store.offsets("t", 0).unwrap() == (18..18));
    assert_eq!(store.offsets("t", 1).unwrap(), 10..10);
}

#[test]
fn a_new_topic_has_its_settings_at_once_and_after_a_crash() {
    let (dir, store) = store();
    let options = TopicOptions {
        queues: 3,
        kind: TopicType::Fifo,
    };
    let changes = store.topic_settings_changes();
    let set = |own: &mut TopicSettings| *own = settings();
    let made = store.create_topic_with("set", options, set).unwrap();
    assert_eq!((made.settings, made.kind), (settings(), TopicType::Fifo));
    assert!(store.topic_settings_changes() > changes);
    assert_eq!(store.topic_permission("set"), Some(Permission::Read));
    // What is not asked for may be as it is.
    store.create_topic_with("set", options, set).unwrap();
    store.create_topic("set", options).unwrap();
    let other = |own: &mut TopicSettings| own.keep_bytes = Some(1);
    let refused = store.create_topic_with("set", options, other);
    assert!(matches!(refused, Err(StoreError::TopicExists { .. })));
    let none = |own: &mut TopicSettings| own.keep_bytes = Some(0);
    let refused = store.create_topic_with("senseless", options, none);
    assert!(matches!(refused, Err(StoreError::Illegal { .. })));
    assert_eq!(store.topic("senseless"), None);
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let store = reopened(crashed.path());
    assert_eq!(store.topic("set"), Some(made));
}

fn reopened(dir: &Path) -> Store {
    options(dir).open().unwrap()
}

#[test]
fn a_new_topic_that_keeps_little_loses_the_rest() {
    let (_dir, store) = store();
    let one = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    let little = |own: &mut TopicSettings| own.keep_bytes = Some(1);
    store.create_topic_with("little", one, little).unwrap();
    store.append("little", &Message::new(b"x")).unwrap();
    until(|| store.offsets("little", 0).unwrap() == (1..1));
}
