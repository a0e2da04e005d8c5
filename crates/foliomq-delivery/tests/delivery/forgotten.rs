//! Groups that are forgotten, or what they have of a topic.

use std::time::{Duration, Instant};

use event_listener::Listener as _;
use foliomq_delivery::{
    DeliveryError, Filter, LiteAction, LiteStart, LiteSync, Receive, Rules, Start,
};
use foliomq_store::{Message, TopicOptions, lite_name};

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC, bodies};

const OTHER: &str = "other";

fn request(topic: &str) -> Receive<'_> {
    Receive {
        group: GROUP,
        topic,
        filter: &Filter::All,
        most: 32,
        invisible: INVISIBLE,
        auto_renew: false,
    }
}

/// What comes of a topic; it is done then.
fn receive(f: &Fixture, topic: &str) -> Vec<String> {
    let received = f.groups.receive(&request(topic), f.now).unwrap().messages;
    for one in &received {
        f.groups.ack(GROUP, topic, &one.handle, f.now).unwrap();
    }
    bodies(&received).into_iter().map(str::to_owned).collect()
}

/// A group with a rule of its own that has read two topics.
fn read() -> Fixture {
    let f = Fixture::new(1);
    let one = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    f.store.create_topic(OTHER, one).unwrap();
    f.append_bodies(0, &["a", "b"]);
    f.store.append_to(OTHER, 0, &Message::new(b"c")).unwrap();
    f.store.catch_up();
    let latest = |rules: &mut Rules| rules.start = Start::Latest;
    assert_eq!(receive(&f, TOPIC), ["a", "b"]);
    assert_eq!(receive(&f, OTHER), ["c"]);
    f.groups.set_rules(GROUP, latest).unwrap();
    f.groups.tick(f.now).unwrap();
    f
}

#[test]
fn a_group_that_is_forgotten_begins_anew_also_after_a_kill() {
    for kill in [false, true] {
        let mut f = read();
        f.groups.forget(GROUP, None).unwrap();
        f.groups.tick(f.now).unwrap();
        if kill {
            f = f.after_kill();
        }
        assert!(f.groups.group(GROUP).is_none());
        assert_eq!(f.store.progress(GROUP, TOPIC, 0), None);
        let again = f.groups.forget(GROUP, None);
        assert!(matches!(again, Err(DeliveryError::UnknownGroup { .. })));
        // Without the rule that it had.
        assert_eq!(receive(&f, TOPIC), ["a", "b"]);
        f = f.after_close();
        assert!(receive(&f, TOPIC).is_empty());
        assert_eq!(receive(&f, OTHER), ["c"]);
    }
}

#[test]
fn a_topic_that_is_forgotten_leaves_the_rest_of_the_group() {
    for kill in [false, true] {
        let mut f = read();
        let before = f.groups.rules(GROUP);
        f.groups.forget(GROUP, Some(TOPIC)).unwrap();
        f.groups.tick(f.now).unwrap();
        if kill {
            f = f.after_kill();
        }
        assert_eq!(f.groups.rules(GROUP), before);
        let queues = f.groups.group(GROUP).unwrap().queues;
        let topics: Vec<_> = queues.iter().map(|queue| &*queue.topic).collect();
        assert_eq!(topics, [OTHER]);
        // By its rule from the end on.
        assert!(receive(&f, TOPIC).is_empty());
        f.append_bodies(0, &["d"]);
        assert_eq!(receive(&f, TOPIC), ["d"]);
        assert!(receive(&f, OTHER).is_empty());
    }
    read().groups.forget(GROUP, Some("nowhere")).unwrap_err();
}

#[test]
fn what_was_leased_of_it_is_void() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let leased = f.receive_one();
    f.groups.forget(GROUP, Some(TOPIC)).unwrap();
    assert!(f.ack(&leased.handle).is_err());
    let again = f.receive_one();
    assert_eq!(again.attempt, 1);
    f.ack(&again.handle).unwrap();
    f.empty();
}

fn subscribe(f: &Fixture) {
    let sync = LiteSync {
        group: GROUP,
        topic: TOPIC,
        client: "c",
        action: LiteAction::Add,
        names: &["l".to_owned()],
        start: LiteStart::Last,
        version: None,
    };
    f.groups.sync_lite(&sync, f.now).unwrap();
}

/// How many come of the lite topics that the client subscribes to; they are done then.
fn receive_lite(f: &Fixture) -> usize {
    let received = f.groups.receive_lite(&request(TOPIC), "c", "", f.now);
    let received = received.unwrap().messages;
    for one in &received {
        f.groups.ack(GROUP, TOPIC, &one.handle, f.now).unwrap();
    }
    received.len()
}

/// The same, once the dispatcher has told of a message: it does so after that can be read.
fn await_lite(f: &Fixture) -> usize {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let listener = f.groups.listen_lite(GROUP, TOPIC, "c");
        let received = receive_lite(f);
        if received > 0 || listener.wait_deadline(deadline).is_none() {
            return received;
        }
    }
}

#[test]
fn lite_topics_go_with_their_topic() {
    let mut f = Fixture::new(1);
    subscribe(&f);
    let lite = lite_name(TOPIC, "l");
    f.store.append_to(&lite, 0, &Message::new(b"x")).unwrap();
    assert_eq!((await_lite(&f), receive_lite(&f)), (1, 0));
    for kill in [false, true] {
        f.groups.forget(GROUP, Some(TOPIC)).unwrap();
        f.groups.tick(f.now).unwrap();
        if kill {
            f = f.after_kill();
        }
        assert_eq!(receive_lite(&f), 0, "it subscribes to nothing any more");
        subscribe(&f);
        assert_eq!((receive_lite(&f), receive_lite(&f)), (1, 0));
    }
}
