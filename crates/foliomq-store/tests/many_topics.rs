//! Many topics: made at once, found again after a restart, each with queues of its own.

use foliomq_store::{Message, Options, Store, TopicOptions};

const TOPICS: usize = 10_000;

fn open(dir: &std::path::Path) -> Store {
    Options::new(dir).segment_size(16 << 20).open().unwrap()
}

#[test]
fn many_topics_are_made_at_once_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..TOPICS).map(|n| format!("topic-{n}")).collect();
    let mut asked: Vec<&str> = names.iter().map(String::as_str).collect();
    // One twice.
    asked.push("topic-7");
    let options = TopicOptions {
        queues: 2,
        ..TopicOptions::default()
    };
    let store = open(dir.path());
    assert_eq!(store.create_topics(&asked[..3], options).unwrap(), 3);
    assert_eq!(store.create_topics(&asked, options).unwrap(), TOPICS - 3);
    assert_eq!(store.create_topics(&asked, options).unwrap(), 0);
    assert!(store.create_topics(&["a b"], options).is_err());
    for name in asked.iter().step_by(1000) {
        for queue in [0, 1] {
            let body = format!("{name} {queue}");
            store
                .submit(name, Some(queue), &[Message::new(body.as_bytes())])
                .unwrap();
        }
    }
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.topics().len(), TOPICS);
    for name in asked.iter().step_by(1000) {
        for queue in [0, 1] {
            let message = store
                .read(name, queue, 0)
                .unwrap()
                .expect("it was appended");
            assert_eq!(message.body(), format!("{name} {queue}").as_bytes());
            assert_eq!(store.offsets(name, queue).unwrap(), 0..1);
        }
    }
    assert_eq!(store.offsets("topic-1", 1).unwrap(), 0..0);
    assert_eq!(store.create_topics(&asked, options).unwrap(), 0);
}
