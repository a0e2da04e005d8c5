//! Delayed messages: not before their time, once, over restarts; recalled before it.

use std::time::Duration;

use foliomq_delivery::{DeliveryError, Options};
use foliomq_store::{Message, TopicOptions};

use crate::fixture::{Fixture, TOPIC, bodies, copy};

const SECOND: Duration = Duration::from_secs(1);

/// Sends a message that is due `delay` from now; returns its recall handle.
fn delay(f: &Fixture, delay: Duration, body: &str) -> String {
    let due = f.now + delay.as_millis() as u64;
    let message = Message::new(body.as_bytes()).id(body);
    let sent = f
        .groups
        .submit_delayed(TOPIC, Some(0), &[(due, message)], f.now);
    let sent = sent.unwrap().remove(0);
    f.store.wait_committed(sent.appended.end()).unwrap();
    f.store.catch_up();
    sent.recall_handle
}

/// What comes now.
fn due(f: &Fixture) -> Vec<String> {
    f.groups.deliver_due(f.now).unwrap();
    f.store.catch_up();
    let deliveries = f.receive(32);
    for delivery in &deliveries {
        f.ack(&delivery.handle).unwrap();
    }
    bodies(&deliveries).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_message_comes_at_its_time_and_not_before() {
    let mut f = Fixture::new(1);
    delay(&f, 5 * SECOND, "b");
    delay(&f, 2 * SECOND, "a");
    delay(&f, Duration::ZERO, "now");
    f.append_bodies(0, &["plain"]);
    assert_eq!(due(&f), ["plain", "now"]);
    f.pass(2 * SECOND - Duration::from_millis(1));
    assert!(due(&f).is_empty());
    let next = f.groups.deliver_due(f.now).unwrap().next.unwrap();
    assert_eq!(next, f.now + 1, "no call is needed before");
    f.pass(Duration::from_millis(1));
    assert_eq!(due(&f), ["a"]);
    f.pass(10 * SECOND);
    assert_eq!(due(&f), ["b"]);
    assert_eq!(f.groups.deliver_due(f.now).unwrap().next, None);
    assert_eq!(f.groups.waiting(), 0);
}

#[test]
fn it_is_found_by_its_id_whatever_became_of_it() {
    let mut f = Fixture::new(1);
    let waits = delay(&f, 50 * SECOND, "waits");
    let comes = delay(&f, SECOND, "comes");
    let recalled = delay(&f, 50 * SECOND, "recalled");
    f.groups.recall(TOPIC, &recalled, f.now).unwrap();
    f.pass(SECOND);
    assert_eq!(due(&f), ["comes"]);
    f.append_bodies(0, &["plain"]);
    for _ in 0..2 {
        let found = |id: &str| f.groups.find_delayed(TOPIC, id).unwrap();
        assert_eq!(found("waits").as_ref(), Some(&waits));
        assert_eq!(found("comes").as_ref(), Some(&comes));
        assert_eq!(found("recalled").as_ref(), Some(&recalled));
        assert_eq!((found("plain"), found("nothing")), (None, None));
        f = f.after_kill();
    }
}

#[test]
fn it_waits_over_a_restart_and_a_kill_and_comes_once() {
    let mut f = Fixture::new(1);
    delay(&f, 5 * SECOND, "a");
    delay(&f, 50 * SECOND, "b");
    let recalled = delay(&f, 5 * SECOND, "c");
    f.groups.recall(TOPIC, &recalled, f.now).unwrap();
    f = f.after_kill();
    assert_eq!(f.groups.waiting(), 2);
    assert!(due(&f).is_empty());
    f.pass(5 * SECOND);
    assert_eq!(f.groups.deliver_due(f.now).unwrap().revealed, 1);
    // Before the group has received it.
    f = f.after_kill();
    assert_eq!(due(&f), ["a"]);
    f = f.after_close();
    assert!(due(&f).is_empty());
    f.pass(45 * SECOND);
    assert_eq!(due(&f), ["b"]);
}

#[test]
fn a_snapshot_has_what_waits() {
    let options = Options {
        snapshot_after: 0,
        ..Options::default()
    };
    let mut f = Fixture::with(1, options);
    // Of a journal that has nothing no snapshot is made.
    f.append(0, &Message::new(b"now"));
    let received = f.receive_one().handle;
    f.ack(&received).unwrap();
    let handle = delay(&f, 5 * SECOND, "a");
    delay(&f, 90 * SECOND, "b");
    let recalled = delay(&f, 90 * SECOND, "c");
    f.groups.recall(TOPIC, &recalled, f.now).unwrap();
    f.store.catch_up();
    let seen = f.store.watermarks().dispatched;
    f.groups.tick(f.now).unwrap();
    let durable = f.store.watermarks().durable;
    assert!(durable >= seen, "a power cut may take what it has seen");
    delay(&f, 5 * SECOND, "d");
    f = f.after_kill();
    assert_eq!(f.groups.waiting(), 3);
    let again = f.groups.recall(TOPIC, &recalled, f.now);
    assert!(matches!(again, Err(DeliveryError::NotWaiting { .. })));
    assert_eq!(f.groups.recall(TOPIC, &handle, f.now).unwrap(), "a");
    f.pass(5 * SECOND);
    assert_eq!(due(&f), ["d"]);
    f.groups.tick(f.now).unwrap();
    f = f.after_close();
    f.pass(90 * SECOND);
    assert_eq!(due(&f), ["b"]);
}

#[test]
fn a_snapshot_that_is_ahead_of_the_log_counts_no_more() {
    let options = Options {
        snapshot_after: 0,
        ..Options::default()
    };
    let ahead = Fixture::with(1, options);
    for _ in 0..9 {
        ahead.append(0, &Message::new(b"lost"));
    }
    ahead.ack(&ahead.receive_one().handle).unwrap();
    delay(&ahead, 5 * SECOND, "lost, too");
    ahead.groups.tick(ahead.now).unwrap();

    let mut f = Fixture::new(1);
    delay(&f, 5 * SECOND, "a");
    f.groups.close().unwrap();
    f.store.close().unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(f.dir.path(), dir.path());
    std::fs::remove_dir_all(dir.path().join("delivery")).unwrap();
    copy(
        &ahead.dir.path().join("delivery"),
        &dir.path().join("delivery"),
    );
    f = Fixture::open(dir, Options::default(), f.now);
    assert_eq!(f.groups.waiting(), 1);
    for _ in 0..5 {
        delay(&f, 5 * SECOND, "b");
    }
    for _ in 0..9 {
        f.append(0, &Message::new(b"plain"));
    }
    f = f.after_kill();
    assert_eq!(f.groups.waiting(), 6);
}

#[test]
fn a_recalled_message_never_comes() {
    let mut f = Fixture::new(1);
    let other = TopicOptions::default();
    f.store.create_topic("other", other).unwrap();
    let handle = delay(&f, 5 * SECOND, "a");
    let elsewhere = f.groups.recall("other", &handle, f.now);
    assert!(matches!(
        elsewhere,
        Err(DeliveryError::InvalidRecall { .. })
    ));
    assert_eq!(f.groups.recall(TOPIC, &handle, f.now).unwrap(), "a");
    let late = delay(&f, 5 * SECOND, "b");
    f.pass(6 * SECOND);
    assert_eq!(due(&f), ["b"]);
    for handle in [&handle, &late] {
        let again = f.groups.recall(TOPIC, handle, f.now);
        assert!(matches!(again, Err(DeliveryError::NotWaiting { .. })));
    }
    let receipt = f.append(0, &Message::new(b"c"));
    assert_eq!(receipt, 1);
    let receipt = f.receive_one().handle;
    for text in ["", "x", &receipt, &format!("{handle}A")] {
        let refused = f.groups.recall(TOPIC, text, f.now);
        assert!(matches!(refused, Err(DeliveryError::InvalidRecall { .. })));
    }
    assert!(f.ack(&late).is_err(), "no receipt handle");
}

#[test]
fn a_time_beyond_the_horizon_and_one_too_many_are_refused() {
    let options = Options {
        max_delay: 60 * SECOND,
        max_delayed: 1,
        ..Options::default()
    };
    let f = Fixture::with(1, options);
    let sent = |delay: u64| {
        let messages = [(f.now + delay, Message::new(b"x"))];
        f.groups.submit_delayed(TOPIC, None, &messages, f.now)
    };
    assert!(matches!(
        sent(60_001),
        Err(DeliveryError::IllegalTime { .. })
    ));
    sent(60_000).unwrap();
    f.groups.deliver_due(f.now).unwrap();
    f.store.flush().unwrap();
    f.store.catch_up();
    f.groups.deliver_due(f.now).unwrap();
    assert!(matches!(sent(60_000), Err(DeliveryError::TooMany { .. })));
}

#[test]
fn a_message_of_a_deleted_topic_is_given_up() {
    let mut f = Fixture::new(1);
    delay(&f, SECOND, "a");
    f.store.delete_topic(TOPIC).unwrap();
    f.pass(SECOND);
    assert_eq!(f.groups.deliver_due(f.now).unwrap().revealed, 0);
    f = f.after_kill();
    assert_eq!(f.groups.deliver_due(f.now).unwrap().next, None);
}
