//! Hidden messages that outlive retention: carried forward, a part of them in each tick.

use std::path::Path;
use std::time::{Duration, Instant};

use foliomq_delivery::{Filter, Groups, Options, Receive, Resolution};
use foliomq_store::{
    Flush, Message, Options as StoreOptions, Preheat, Retention, Store, TopicOptions,
};

const TOPIC: &str = "t";
const SEGMENT: u64 = 1 << 20;
const NOW: u64 = 1_790_000_000_000;
const DAY: u64 = 24 * 3600 * 1000;
const DELAYED: u64 = 40;

fn open(dir: &Path) -> (Store, Groups) {
    let retention = Retention {
        size: Some(3 * SEGMENT),
        interval: Duration::from_millis(20),
        ..Retention::default()
    };
    let flush = Flush::Async {
        interval: Duration::from_millis(20),
    };
    let mut options = StoreOptions::new(dir)
        .segment_size(SEGMENT)
        .preheat(Preheat::Off)
        .flush(flush)
        .retention(retention);
    options.max_body = 256 << 10;
    let store = options.open().unwrap();
    let topic = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    store.create_topic(TOPIC, topic).unwrap();
    store.create_topic("other", topic).unwrap();
    let groups = Groups::open(store.clone(), Options::default()).unwrap();
    (store, groups)
}

/// Ticks while others write, until the log begins after `position`.
fn carry_past(store: &Store, groups: &Groups, position: u64) {
    let begin = Instant::now();
    while store.watermarks().start <= position {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "nothing is let go"
        );
        store.append("other", &Message::new(&[1; 60_000])).unwrap();
        groups.tick(NOW).unwrap();
    }
}

/// The bodies of what the group gets now, acknowledged.
fn receive(store: &Store, groups: &Groups, now: u64) -> Vec<String> {
    store.catch_up();
    let request = Receive {
        group: "g",
        topic: TOPIC,
        filter: &Filter::All,
        most: 100,
        invisible: Duration::from_secs(30),
        auto_renew: false,
    };
    let received = groups.receive(&request, now).unwrap().messages;
    let body = |message: &[u8]| String::from_utf8(message.to_vec()).unwrap();
    for delivery in &received {
        groups.ack("g", TOPIC, &delivery.handle, now).unwrap();
    }
    let bodies = received
        .iter()
        .map(|delivery| body(delivery.message.body()));
    bodies.collect()
}

#[test]
fn what_waits_longer_than_retention_keeps_comes_once_and_at_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (store, groups) = open(dir.path());
    let bodies: Vec<String> = (0..DELAYED).map(|n| format!("{n:02}")).collect();
    let messages: Vec<_> = (0..)
        .zip(&bodies)
        .map(|(n, body)| {
            (
                NOW + DAY + n % 7 * DAY / 3,
                Message::new(body.as_bytes()).id(body),
            )
        })
        .collect();
    let sent = groups.submit_delayed(TOPIC, None, &messages, NOW).unwrap();
    let half = Message::new(b"half").id("half");
    let half = groups.submit_half(TOPIC, None, &[(None, half)], NOW);
    let half = half.unwrap().remove(0);
    store.wait_committed(half.appended.end()).unwrap();
    groups.recall(TOPIC, &sent[3].recall_handle, NOW).unwrap();

    carry_past(&store, &groups, half.appended.end());
    // Twice: what was carried is carried again.
    let position = store.watermarks().appended;
    carry_past(&store, &groups, position);
    drop((store, groups));
    let (store, groups) = open(dir.path());
    assert_eq!(groups.waiting(), DELAYED as usize - 1);
    assert_eq!(groups.transactions(), 1);
    groups.recall(TOPIC, &sent[4].recall_handle, NOW).unwrap();
    let id = &half.transaction_id;
    groups
        .end_transaction(TOPIC, id, Resolution::Commit)
        .unwrap();
    assert_eq!(receive(&store, &groups, NOW), ["half"]);
    assert_eq!(groups.deliver_due(NOW + DAY - 1).unwrap().revealed, 0);
    groups.deliver_due(NOW + 10 * DAY).unwrap();
    let mut came = receive(&store, &groups, NOW + 10 * DAY);
    came.sort_unstable();
    let recalled = ["03", "04"];
    let expected = bodies.iter().filter(|body| !recalled.contains(&&body[..]));
    assert!(came.iter().eq(expected), "{came:?}");
}
