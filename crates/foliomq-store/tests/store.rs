//! The store's whole interface, on real files.

mod common;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use foliomq_store::{
    AppendError, Flush, Message, Options, ReadMode, Retention, Store, StoreError, TopicOptions,
    TopicType,
};
use tempfile::TempDir;

use common::copy;

const SEGMENT: u64 = 16 << 20;

fn options(dir: &Path) -> Options {
    Options::new(dir).segment_size(SEGMENT).flush(Flush::Async {
        interval: Duration::from_millis(200),
    })
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = options(dir.path()).open().unwrap();
    (dir, store)
}

fn topic(store: &Store, name: &str, queues: u32) {
    store
        .create_topic(
            name,
            TopicOptions {
                queues,
                ..Default::default()
            },
        )
        .unwrap();
}

fn bodies(store: &Store, name: &str, queue: u32) -> Vec<String> {
    let messages = store.read_many(name, queue, 0, usize::MAX).unwrap();
    messages
        .iter()
        .map(|message| String::from_utf8(message.body().to_vec()).unwrap())
        .collect()
}

#[test]
fn a_message_comes_back_as_it_went_in() {
    let (_dir, store) = store();
    topic(&store, "t", 1);
    let message = Message::new(b"body \0\xff")
        .tag("A")
        .key("k1")
        .key("k2")
        .id("ID")
        .property("name", "wert ä");
    let appended = store.append("t", &message).unwrap();
    let read = store.read("t", 0, appended.queue_offset).unwrap().unwrap();
    assert_eq!(read.body(), b"body \0\xff");
    assert_eq!(
        (read.topic(), read.queue_id(), read.queue_offset()),
        ("t", 0, 0)
    );
    assert_eq!((read.tag(), read.id().as_ref()), (Some("A"), "ID"));
    assert_eq!(read.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    assert_eq!(read.properties().collect::<Vec<_>>(), [("name", "wert ä")]);
    assert_eq!(
        (read.position(), read.store_time()),
        (appended.position, appended.store_time)
    );
    assert!(store.read("t", 0, 1).unwrap().is_none());
}

#[test]
fn mapped_reads_are_references_and_buffered_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [ReadMode::Mapped, ReadMode::Buffered] {
        let store = options(dir.path()).read_mode(mode).open().unwrap();
        topic(&store, "t", 1);
        let offset = store
            .append("t", &Message::new(&[7; 5000]))
            .unwrap()
            .queue_offset;
        let message = store.read("t", 0, offset).unwrap().unwrap();
        let body = message.body_bytes();
        assert_eq!(
            body.as_ptr(),
            message.body().as_ptr(),
            "the owned body is the same bytes"
        );
        assert_eq!(store.is_mapped(&body), mode == ReadMode::Mapped);
        let delivered = store.delivered();
        let counts = (delivered.by_reference, delivered.copied);
        assert_eq!(
            counts,
            if mode == ReadMode::Mapped {
                (5000, 0)
            } else {
                (0, 5000)
            }
        );
    }
}

#[test]
fn topics() {
    let (_dir, store) = store();
    assert!(matches!(
        store.append("t", &Message::new(b"")),
        Err(StoreError::UnknownTopic { .. })
    ));
    assert!(matches!(
        store.create_topic("a b", TopicOptions::default()),
        Err(StoreError::Illegal { .. })
    ));
    let created = store
        .create_topic(
            "t",
            TopicOptions {
                queues: 0,
                kind: TopicType::Normal,
            },
        )
        .unwrap();
    assert_eq!((created.queues, created.kind), (8, TopicType::Normal));
    assert_eq!(
        store
            .create_topic(
                "t",
                TopicOptions {
                    queues: 8,
                    kind: TopicType::Normal
                }
            )
            .unwrap(),
        created
    );
    assert!(matches!(
        store.create_topic(
            "t",
            TopicOptions {
                queues: 4,
                kind: TopicType::Normal
            }
        ),
        Err(StoreError::TopicExists { .. })
    ));
    assert!(matches!(
        store.create_topic(
            "x",
            TopicOptions {
                queues: 1025,
                ..Default::default()
            }
        ),
        Err(StoreError::Illegal { .. })
    ));
    assert!(matches!(
        store.append_to("t", 8, &Message::new(b"")),
        Err(StoreError::UnknownQueue { .. })
    ));
    assert_eq!(store.topics(), [created]);
}

#[test]
fn queues_take_turns_and_a_batch_stays_together() {
    let (_dir, store) = store();
    topic(&store, "t", 3);
    for n in 0..6 {
        store
            .append("t", &Message::new(format!("{n}").as_bytes()))
            .unwrap();
    }
    let messages = [Message::new(b"a"), Message::new(b"b"), Message::new(b"c")];
    let submitted = store.submit("t", Some(2), &messages).unwrap();
    store.wait_committed(submitted.end()).unwrap();
    assert_eq!(
        submitted
            .appended
            .iter()
            .map(|a| a.queue_offset)
            .collect::<Vec<_>>(),
        [2, 3, 4]
    );
    assert_eq!(submitted.appended[0].end(), submitted.appended[1].position);
    assert_eq!(bodies(&store, "t", 2), ["2", "5", "a", "b", "c"]);
    assert!(matches!(
        store.submit("t", None, &[]),
        Err(StoreError::Illegal { .. })
    ));
}

#[test]
fn a_body_past_the_limit_is_refused() {
    let (_dir, store) = store();
    topic(&store, "t", 1);
    let body = vec![1; (4 << 20) + 1];
    assert!(matches!(
        store.append("t", &Message::new(&body)),
        Err(StoreError::BodyTooLarge { .. })
    ));
    store.append("t", &Message::new(&body[1..])).unwrap();
    assert_eq!(
        store.read("t", 0, 0).unwrap().unwrap().body().len(),
        4 << 20
    );
}

#[test]
fn a_deleted_topic_is_gone_and_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(dir.path()).open().unwrap();
    topic(&store, "t", 1);
    store.append("t", &Message::new(b"old").key("k")).unwrap();
    store.set_progress("g", "t", 0, 1).unwrap();
    store.delete_topic("t").unwrap();
    assert!(store.topic("t").is_none());
    assert!(matches!(
        store.delete_topic("t"),
        Err(StoreError::UnknownTopic { .. })
    ));
    topic(&store, "t", 1);
    let check = |store: &Store| {
        assert_eq!(bodies(store, "t", 0), [""; 0]);
        assert_eq!(store.progress("g", "t", 0), None);
        assert!(store.find_by_key("t", "k", 9).unwrap().is_empty());
    };
    check(&store);
    drop(store);
    check(&options(dir.path()).open().unwrap());
}

#[test]
fn no_progress_lies_past_a_queue_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(dir.path()).open().unwrap();
    topic(&store, "other", 3);
    topic(&store, "t", 3);
    for _ in 0..3 {
        store.append_to("t", 1, &Message::new(b"m")).unwrap();
    }
    for (queue, offset) in [(0, 7), (1, 7), (2, 0)] {
        store.set_progress("g", "t", queue, offset).unwrap();
    }
    store.set_progress("others", "t", 1, 2).unwrap();
    drop(store);
    // The second start finds what the first has set back.
    for _ in 0..2 {
        let store = options(dir.path()).open().unwrap();
        let progress = |group, queue| store.progress(group, "t", queue).unwrap();
        assert_eq!([0, 1, 2].map(|queue| progress("g", queue)), [0, 3, 0]);
        assert_eq!(progress("others", 1), 2);
        // Of a queue whose messages are lost, the next one is not taken for read.
        assert!(store.append_to("t", 0, &Message::new(b"m")).is_ok());
    }
}

#[test]
fn messages_are_found_by_key_id_and_time() {
    let (_dir, store) = store();
    topic(&store, "t", 1);
    topic(&store, "other", 1);
    for n in 0..50 {
        let id = format!("ID{n}");
        store
            .append(
                "t",
                &Message::new(format!("{n}").as_bytes()).key("even").id(&id),
            )
            .unwrap();
        store
            .append("other", &Message::new(b"x").key("even"))
            .unwrap();
    }
    let found = store.find_by_key("t", "even", 3).unwrap();
    assert_eq!(
        found.iter().map(|m| m.queue_offset()).collect::<Vec<_>>(),
        [49, 48, 47]
    );
    assert_eq!(store.find_by_id("t", "ID7", 9).unwrap()[0].body(), b"7");
    let anonymous = store.read("other", 0, 4).unwrap().unwrap();
    assert_eq!(anonymous.id().len(), 34);
    assert_eq!(
        store.find_by_id("other", &anonymous.id(), 9).unwrap()[0].queue_offset(),
        4
    );
    assert!(
        store
            .find_by_id("t", &anonymous.id(), 9)
            .unwrap()
            .is_empty()
    );
    let time = store.read("t", 0, 30).unwrap().unwrap().store_time();
    let offset = store.offset_at("t", 0, time).unwrap();
    assert!(offset <= 30 && store.read("t", 0, offset).unwrap().unwrap().store_time() == time);
    assert_eq!(store.offset_at("t", 0, u64::MAX).unwrap(), 50);
}

#[test]
fn a_tail_follows_across_threads() {
    let (_dir, store) = store();
    topic(&store, "t", 1);
    let mut tail = store.tail("t", 0, 0).unwrap();
    assert!(
        tail.next_timeout(Duration::from_millis(10))
            .unwrap()
            .is_none()
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..1000u32)
                .for_each(|n| _ = store.append("t", &Message::new(&n.to_le_bytes())).unwrap())
        });
        for n in 0..1000u32 {
            let message = tail.next_timeout(Duration::from_secs(10)).unwrap().unwrap();
            assert_eq!(message.body(), n.to_le_bytes());
        }
    });
    let waiting = thread::spawn(move || tail.next_timeout(Duration::from_secs(60)));
    store.close().unwrap();
    let ended = waiting.join().unwrap();
    assert!(
        matches!(
            ended,
            Err(StoreError::Append(AppendError::Closed)) | Ok(None)
        ),
        "{ended:?}"
    );
}

#[test]
fn everything_is_there_after_a_clean_close() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = options(dir.path()).flush(Flush::Sync).open().unwrap();
        topic(&store, "t", 2);
        for n in 0..10 {
            store
                .append(
                    "t",
                    &Message::new(format!("{round} {n}").as_bytes()).key("k"),
                )
                .unwrap();
        }
        store.set_progress("g", "t", 1, round).unwrap();
        store.close().unwrap();
        assert!(matches!(
            store.append("t", &Message::new(b"")),
            Err(StoreError::Append(AppendError::Closed))
        ));
    }
    let store = options(dir.path()).open().unwrap();
    assert!(store.recovery().clean);
    assert_eq!(store.offsets("t", 0).unwrap(), 0..15);
    assert_eq!(bodies(&store, "t", 1)[14], "2 9");
    assert_eq!(store.progress("g", "t", 1), Some(2));
    assert_eq!(store.find_by_key("t", "k", 100).unwrap().len(), 30);
}

#[test]
fn everything_acknowledged_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(&dir.path().join("0")).open().unwrap();
    topic(&store, "t", 4);
    let mut store = store;
    for round in 0..4u64 {
        for n in 0..500 {
            store
                .append(
                    "t",
                    &Message::new(format!("{round} {n}").as_bytes()).key("k"),
                )
                .unwrap();
        }
        store.set_progress("g", "t", 3, round).unwrap();
        if round % 2 == 0 {
            store.flush().unwrap();
        }
        let image = dir.path().join(format!("{}", round + 1));
        copy(store.options().dir.as_path(), &image);
        store = options(&image).open().unwrap();
        for queue in 0..4 {
            let found = bodies(&store, "t", queue);
            assert_eq!(found.len() as u64, (round + 1) * 125);
            assert_eq!(store.offsets("t", queue).unwrap(), 0..(round + 1) * 125);
        }
        assert_eq!(store.progress("g", "t", 3), Some(round));
        assert_eq!(
            store.find_by_key("t", "k", usize::MAX).unwrap().len() as u64,
            (round + 1) * 500
        );
    }
}

#[test]
fn lost_indexes_and_metadata_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(dir.path()).open().unwrap();
    topic(&store, "t", 12);
    for n in 0..1000 {
        store
            .append("t", &Message::new(format!("{n}").as_bytes()).key("k"))
            .unwrap();
    }
    store.close().unwrap();
    drop(store);
    for lost in ["consumequeue", "keys", "index-checkpoint", "meta"] {
        let path = dir.path().join(lost);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        let store = options(dir.path()).open().unwrap();
        let all: usize = (0..12).map(|queue| bodies(&store, "t", queue).len()).sum();
        assert_eq!(all, 1000, "without {lost}");
        assert_eq!(
            store.find_by_key("t", "k", usize::MAX).unwrap().len(),
            1000,
            "without {lost}"
        );
    }
}

#[test]
fn retention_drops_old_segments_and_references_stay_valid() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        size: Some(3 * SEGMENT),
        interval: Duration::from_millis(20),
        ..Default::default()
    };
    let store = options(dir.path()).retention(retention).open().unwrap();
    topic(&store, "t", 1);
    let body = vec![42; 1 << 20];
    store.append("t", &Message::new(&body)).unwrap();
    let held = store.read("t", 0, 0).unwrap().unwrap();
    let mut appended = 1;
    while store.watermarks().start == 0 {
        store.append("t", &Message::new(&body)).unwrap();
        appended += 1;
        assert!(appended < 10_000, "nothing is dropped");
    }
    assert_eq!(held.body(), body);
    // The indexes are trimmed right after the log.
    while store.offsets("t", 0).unwrap().start == 0 {
        thread::yield_now();
    }
    assert!(store.read("t", 0, 0).unwrap().is_none());
    // One more may be dropped between the two calls.
    let first = (0..500).find_map(|_| {
        let start = store.offsets("t", 0).unwrap().start;
        let first = store.read("t", 0, start).unwrap();
        first.or_else(|| {
            thread::sleep(Duration::from_millis(10));
            None
        })
    });
    assert_eq!(first.unwrap().body(), body);
    drop(held);
    store.close().unwrap();
    drop(store);
    let store = options(dir.path()).open().unwrap();
    assert_eq!(store.offsets("t", 0).unwrap().end, appended);
}

#[test]
fn a_second_opener_is_told() {
    let (dir, _store) = store();
    let error = options(dir.path()).open().unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn many_threads_append() {
    for flush in [
        Flush::Sync,
        Flush::Async {
            interval: Duration::from_millis(50),
        },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = options(dir.path()).flush(flush).open().unwrap();
        topic(&store, "t", 4);
        thread::scope(|scope| {
            for writer in 0..8u32 {
                let store = store.clone();
                scope.spawn(move || {
                    for n in 0..200u32 {
                        let body = [writer.to_le_bytes(), n.to_le_bytes()].concat();
                        store
                            .append_to("t", writer % 4, &Message::new(&body))
                            .unwrap();
                    }
                });
            }
        });
        for queue in 0..4 {
            let messages = store.read_many("t", queue, 0, usize::MAX).unwrap();
            assert_eq!(messages.len(), 400);
            let mut last = [None; 8];
            for (offset, message) in messages.iter().enumerate() {
                assert_eq!(message.queue_offset(), offset as u64);
                let word =
                    |at: usize| u32::from_le_bytes(message.body()[at..at + 4].try_into().unwrap());
                let (writer, n) = (word(0) as usize, word(4));
                assert!(last[writer] < Some(n), "the order of one sender holds");
                last[writer] = Some(n);
            }
        }
    }
}

#[test]
fn a_topic_may_be_deleted_and_made_anew_while_others_append_to_it() {
    let (dir, store) = store();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    match store.append("t", &Message::new(b"x")) {
                        Ok(_) | Err(StoreError::UnknownTopic { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for n in 0..50 {
            topic(&store, "t", 1 + n % 4);
            store.delete_topic("t").unwrap();
        }
    });
    topic(&store, "t", 2);
    let appended = store.append_to("t", 1, &Message::new(b"last")).unwrap();
    assert_eq!(appended.queue_offset, 0);
    assert_eq!(bodies(&store, "t", 1), ["last"]);
    assert_eq!(store.refusing(), None);
    store.close().unwrap();
    drop(store);
    let store = options(dir.path()).open().unwrap();
    assert_eq!(store.topics().len(), 1);
    assert_eq!(bodies(&store, "t", 1), ["last"]);
}

#[test]
fn a_queue_begins_at_0_while_its_first_messages_arrive() {
    let (_dir, store) = store();
    for n in 0..200 {
        let name = format!("t{n}");
        topic(&store, &name, 1);
        thread::scope(|scope| {
            scope.spawn(|| store.append(&name, &Message::new(b"x")).unwrap());
            while store.offsets(&name, 0).unwrap() != (0..1) {
                assert_eq!(store.offsets(&name, 0).unwrap().start, 0);
            }
        });
    }
}
