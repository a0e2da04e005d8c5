//! A cursor finds what `read_many` finds, in either mode, over rolls, and after jumps.

use foliomq_store::{Flush, Message, Options, ReadMode, Store, TopicOptions};

const MESSAGES: u64 = 600;
const SEGMENT: u64 = 16 << 20;

fn body(number: u64) -> Vec<u8> {
    // Three sizes, the largest so large that the log rolls.
    vec![number as u8; [0, 100, 128 << 10][number as usize % 3]]
}

fn filled(mode: ReadMode) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let flush = Flush::Async {
        interval: std::time::Duration::from_secs(1),
    };
    let options = Options::new(dir.path())
        .segment_size(SEGMENT)
        .flush(flush)
        .read_mode(mode);
    let store = options.open().unwrap();
    let topic = TopicOptions {
        queues: 2,
        ..TopicOptions::default()
    };
    store.create_topic("t", topic).unwrap();
    append(&store, 0..MESSAGES);
    (dir, store)
}

fn append(store: &Store, numbers: std::ops::Range<u64>) {
    let last = numbers.end - 1;
    for number in numbers {
        let (body, tag) = (body(number), format!("tag{number}"));
        let message = Message::new(&body).tag(&tag).property("a", "b");
        store.append_to("t", 1, &message).unwrap();
    }
    // A read waits for the index.
    assert!(store.read("t", 1, last).unwrap().is_some());
}

#[test]
fn it_goes_over_all_messages_in_order() {
    for mode in [ReadMode::Mapped, ReadMode::Buffered] {
        let (_dir, store) = filled(mode);
        assert!(store.segments().len() > 1);
        let mut cursor = store.cursor("t", 1, 0).unwrap();
        for number in 0..MESSAGES {
            let stored = store.read("t", 1, number).unwrap().unwrap();
            let message = cursor.next().unwrap().unwrap();
            assert_eq!(message.body(), body(number));
            assert_eq!(message.queue_offset(), number);
            assert_eq!(message.tag(), Some(format!("tag{number}").as_str()));
            assert_eq!((message.topic(), message.queue_id()), ("t", 1));
            assert_eq!(
                (message.position(), message.store_time()),
                (stored.position(), stored.store_time())
            );
            assert!(message.verify());
            let mapped = store.is_mapped(message.body());
            assert!(message.body().is_empty() || mapped == (mode == ReadMode::Mapped));
        }
        assert!(cursor.next().unwrap().is_none());
        assert_eq!(cursor.offset(), MESSAGES);
    }
}

#[test]
fn it_jumps() {
    let (_dir, store) = filled(ReadMode::Mapped);
    let mut cursor = store.cursor("t", 1, 0).unwrap();
    for offset in [599, 0, 300, 301, 7, 599] {
        cursor.seek(offset);
        assert_eq!(cursor.offset(), offset);
        assert_eq!(cursor.next().unwrap().unwrap().queue_offset(), offset);
        if offset < 599 {
            assert_eq!(cursor.next().unwrap().unwrap().queue_offset(), offset + 1);
        }
    }
    cursor.seek(MESSAGES);
    assert!(cursor.next().unwrap().is_none());
}

#[test]
fn it_goes_on_when_there_is_more() {
    let (_dir, store) = filled(ReadMode::Mapped);
    let mut cursor = store.cursor("t", 1, MESSAGES).unwrap();
    assert!(cursor.next().unwrap().is_none());
    append(&store, MESSAGES..MESSAGES + 3);
    for number in MESSAGES..MESSAGES + 3 {
        assert_eq!(cursor.next().unwrap().unwrap().body(), body(number));
    }
    assert!(cursor.next().unwrap().is_none());
}

#[test]
fn what_it_hands_out_is_counted() {
    let (_dir, store) = filled(ReadMode::Mapped);
    let before = store.delivered();
    let mut cursor = store.cursor("t", 1, 1).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().body().len(), 100);
    drop(cursor);
    let after = store.delivered();
    assert_eq!(after.by_reference - before.by_reference, 100);
    assert_eq!(after.copied, before.copied);
}

#[test]
fn a_queue_that_is_not_there_is_refused() {
    let (_dir, store) = filled(ReadMode::Mapped);
    assert!(store.cursor("t", 2, 0).is_err());
    assert!(store.cursor("u", 0, 0).is_err());
    let mut empty = store.cursor("t", 0, 5).unwrap();
    assert!(empty.next().unwrap().is_none());
}
