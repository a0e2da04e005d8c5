//! Lite topics: each client gets what it subscribed to, in order, across restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foliomq_delivery::{
    Delivery, DeliveryError, Filter, LiteAction, LiteOptions, LiteStart, LiteSync, Options,
    Receive, ResetTo,
};
use foliomq_store::{Message, lite_name};
use proptest::prelude::*;

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC, bodies};

fn sync(
    fixture: &Fixture,
    client: &str,
    action: LiteAction,
    names: &[&str],
) -> Result<(), DeliveryError> {
    sync_from(fixture, client, action, names, LiteStart::Last)
}

fn sync_from(
    fixture: &Fixture,
    client: &str,
    action: LiteAction,
    names: &[&str],
    start: LiteStart,
) -> Result<(), DeliveryError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let sync = LiteSync {
        group: GROUP,
        topic: TOPIC,
        client,
        action,
        names: &names,
        start,
        version: None,
    };
    fixture.groups.sync_lite(&sync, fixture.now)
}

fn send(fixture: &Fixture, lite: &str, body: &str) {
    let name = fixture.groups.lite_topic(TOPIC, lite, fixture.now).unwrap();
    let appended = fixture
        .store
        .append(&name, &Message::new(body.as_bytes()))
        .unwrap();
    fixture.wait_for(&name, 0, appended.queue_offset + 1);
}

fn receive_attempt(fixture: &Fixture, client: &str, most: usize, attempt: &str) -> Vec<Delivery> {
    let request = Receive {
        group: GROUP,
        topic: TOPIC,
        filter: &Filter::All,
        most,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    let received = fixture
        .groups
        .receive_lite(&request, client, attempt, fixture.now);
    received.unwrap().messages
}

/// The dispatcher tells of a message after it can be read: until then a receive may find nothing.
fn receive(fixture: &Fixture, client: &str, most: usize) -> Vec<Delivery> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let listener = fixture.groups.listen_lite(GROUP, TOPIC, client);
        let received = receive_attempt(fixture, client, most, "");
        if !received.is_empty() {
            return received;
        }
        use event_listener::Listener as _;
        assert!(
            listener.wait_deadline(deadline).is_some(),
            "nothing for {client}"
        );
    }
}

fn none(fixture: &Fixture, client: &str) {
    let received = receive_attempt(fixture, client, 9, "");
    assert!(received.is_empty(), "{:?}", bodies(&received));
}

fn ack_all(fixture: &Fixture, deliveries: &[Delivery]) {
    deliveries
        .iter()
        .for_each(|delivery| fixture.ack(&delivery.handle).unwrap());
}

#[test]
fn a_client_gets_only_what_it_subscribed_to_and_only_it_is_woken() {
    let fixture = Fixture::new(2);
    sync(&fixture, "a", LiteAction::Add, &["one", "two"]).unwrap();
    sync(&fixture, "b", LiteAction::Add, &["three"]).unwrap();
    let mut asleep = fixture.groups.listen_lite(GROUP, TOPIC, "b");
    for (lite, body) in [("one", "1"), ("two", "2"), ("four", "4")] {
        send(&fixture, lite, body);
    }
    let mut got: Vec<String> = Vec::new();
    while got.len() < 2 {
        let received = receive(&fixture, "a", 9);
        got.extend(bodies(&received).iter().map(|body| (*body).to_owned()));
    }
    got.sort_unstable();
    assert_eq!(got, ["1", "2"]);
    none(&fixture, "b");
    let pending = std::pin::Pin::new(&mut asleep).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(pending, Poll::Pending), "woken for nothing");
    send(&fixture, "three", "3");
    assert_eq!(bodies(&receive(&fixture, "b", 9)), ["3"]);
}

#[test]
fn what_is_no_longer_subscribed_to_stops_and_goes_on_where_it_was() {
    let fixture = Fixture::new(1);
    sync(&fixture, "a", LiteAction::Replace, &["one", "two"]).unwrap();
    send(&fixture, "one", "1");
    let first = receive(&fixture, "a", 9);
    ack_all(&fixture, &first);
    sync(&fixture, "a", LiteAction::Remove, &["one"]).unwrap();
    send(&fixture, "one", "2");
    send(&fixture, "two", "3");
    assert_eq!(bodies(&receive(&fixture, "a", 9)), ["3"]);
    none(&fixture, "a");
    sync(&fixture, "a", LiteAction::Replace, &["one"]).unwrap();
    assert_eq!(bodies(&receive(&fixture, "a", 9)), ["2"]);
    sync(&fixture, "a", LiteAction::Clear, &["one"]).unwrap();
    assert!(!fixture.groups.has_lite(GROUP, TOPIC, "a"));
}

#[test]
fn a_lite_topic_is_read_in_order_and_an_unacked_batch_holds_it_back() {
    let mut fixture = Fixture::new(1);
    sync(&fixture, "a", LiteAction::Add, &["one", "two"]).unwrap();
    for body in ["1", "2", "3"] {
        send(&fixture, "one", body);
    }
    let first = receive(&fixture, "a", 2);
    assert_eq!(bodies(&first), ["1", "2"]);
    send(&fixture, "two", "other");
    let other = receive(&fixture, "a", 9);
    assert_eq!(bodies(&other), ["other"]);
    ack_all(&fixture, &first[..1]);
    none(&fixture, "a");
    let handle = fixture
        .groups
        .suspend(
            GROUP,
            TOPIC,
            &first[1].handle,
            Duration::from_secs(5),
            fixture.now,
        )
        .unwrap();
    assert_ne!(handle, first[1].handle);
    fixture.pass(Duration::from_secs(5));
    let again = receive(&fixture, "a", 9);
    assert_eq!(bodies(&again), ["2", "3"]);
    assert_eq!(
        again[0].attempt, 1,
        "what was suspended counts as no attempt"
    );
    fixture.pass(INVISIBLE);
    assert_eq!(receive(&fixture, "a", 1)[0].attempt, 2);
}

#[test]
fn the_same_attempt_gets_its_batch_again() {
    let fixture = Fixture::new(1);
    sync(&fixture, "a", LiteAction::Add, &["one"]).unwrap();
    send(&fixture, "one", "1");
    let mut first = Vec::new();
    while first.is_empty() {
        first = receive_attempt(&fixture, "a", 9, "x");
    }
    assert!(receive_attempt(&fixture, "a", 9, "y").is_empty());
    // The name was replaced by the newer one: the lease stands.
    assert!(receive_attempt(&fixture, "a", 9, "x").is_empty());
    ack_all(&fixture, &first);
    send(&fixture, "one", "2");
    let mut second = Vec::new();
    while second.is_empty() {
        second = receive_attempt(&fixture, "a", 9, "z");
    }
    let again = receive_attempt(&fixture, "a", 9, "z");
    assert_eq!((bodies(&again), again[0].attempt), (vec!["2"], 1));
    assert_ne!(again[0].handle, second[0].handle);
}

#[test]
fn a_restart_forgets_neither_subscriptions_nor_progress_nor_leases() {
    let fixture = Fixture::new(1);
    sync(&fixture, "a", LiteAction::Add, &["one", "two", "gone"]).unwrap();
    sync(&fixture, "a", LiteAction::Remove, &["gone"]).unwrap();
    sync(&fixture, "b", LiteAction::Add, &["two"]).unwrap();
    fixture.groups.forget_lite_client("b").unwrap();
    for (lite, body) in [("one", "done"), ("one", "held"), ("gone", "x")] {
        send(&fixture, lite, body);
    }
    let first = receive(&fixture, "a", 1);
    ack_all(&fixture, &first);
    assert_eq!(bodies(&receive(&fixture, "a", 1)), ["held"]);
    let mut fixture = fixture.after_kill();
    assert_eq!(fixture.groups.lite_clients(), ["a".into()]);
    none(&fixture, "a");
    send(&fixture, "two", "new");
    assert_eq!(bodies(&receive(&fixture, "a", 9)), ["new"]);
    fixture.pass(INVISIBLE);
    let again = receive(&fixture, "a", 9);
    let held = again
        .iter()
        .find(|delivery| delivery.message.body() == b"held");
    assert_eq!(held.map(|delivery| delivery.attempt), Some(2));
    drop(again);
    fixture = fixture.after_close();
    fixture.pass(INVISIBLE);
    assert_eq!(bodies(&receive(&fixture, "a", 9)).len(), 2);
}

#[test]
fn a_snapshot_of_the_journal_keeps_the_subscriptions() {
    let options = Options {
        snapshot_after: 1 << 20,
        ..Options::default()
    };
    let fixture = Fixture::with(1, options);
    sync(&fixture, "a", LiteAction::Add, &["one", "two"]).unwrap();
    sync(&fixture, "a", LiteAction::Remove, &["two"]).unwrap();
    let many: Vec<String> = (0..1000).map(|number| format!("lite-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for _ in 0..20 {
        sync(&fixture, "b", LiteAction::Replace, &many).unwrap();
        sync(&fixture, "b", LiteAction::Clear, &[]).unwrap();
        for _ in 0..60 {
            fixture.groups.update("padding", Some(3)).unwrap();
        }
    }
    let folder = fixture.dir.path().join("delivery");
    let before = std::fs::read_dir(&folder).unwrap().count();
    for _ in 0..30_000 {
        fixture.groups.update("padding", Some(3)).unwrap();
    }
    fixture.groups.tick(fixture.now).unwrap();
    assert!(
        std::fs::read_dir(&folder).unwrap().count() <= before + 1,
        "no snapshot"
    );
    let fixture = fixture.after_kill();
    assert_eq!(fixture.groups.lite_clients(), ["a".into()]);
    send(&fixture, "two", "2");
    send(&fixture, "one", "1");
    assert_eq!(bodies(&receive(&fixture, "a", 9)), ["1"]);
}

#[test]
fn quotas_and_names() {
    let lite = LiteOptions {
        topics: 3,
        subscriptions: 2,
        ..LiteOptions::default()
    };
    let options = Options {
        lite,
        ..Options::default()
    };
    let fixture = Fixture::with(1, options);
    let refused = sync(&fixture, "a", LiteAction::Add, &["1", "2", "3"]);
    assert!(
        matches!(refused, Err(DeliveryError::LiteSubscriptionQuota { .. })),
        "{refused:?}"
    );
    assert_eq!(fixture.store.lite_count(TOPIC), 0, "nothing was made");
    sync(&fixture, "a", LiteAction::Add, &["1", "2"]).unwrap();
    let refused = sync(&fixture, "a", LiteAction::Add, &["3"]);
    assert!(
        matches!(refused, Err(DeliveryError::LiteSubscriptionQuota { .. })),
        "{refused:?}"
    );
    sync(&fixture, "a", LiteAction::Replace, &["2", "3"]).unwrap();
    let refused = sync(&fixture, "b", LiteAction::Add, &["4"]);
    assert!(
        matches!(refused, Err(DeliveryError::LiteTopicQuota { .. })),
        "{refused:?}"
    );
    for bad in ["", " ", "a\n", &"x".repeat(65)] {
        let refused = sync(&fixture, "b", LiteAction::Add, &[bad]);
        assert!(
            matches!(refused, Err(DeliveryError::IllegalLiteTopic { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        fixture.store.topics().len(),
        1,
        "lite topics are no topics of the list"
    );
}

#[test]
fn a_new_subscription_begins_where_it_says() {
    let fixture = Fixture::new(1);
    for lite in ["min", "max", "tail", "at"] {
        for body in ["1", "2", "3"] {
            send(&fixture, lite, body);
        }
    }
    for (lite, start, expected) in [
        ("min", LiteStart::Last, vec!["1", "2", "3"]),
        ("tail", LiteStart::Tail(2), vec!["2", "3"]),
        ("at", LiteStart::At(ResetTo::Offset(2)), vec!["3"]),
        ("max", LiteStart::At(ResetTo::Latest), vec![]),
    ] {
        sync_from(&fixture, lite, LiteAction::Add, &[lite], start).unwrap();
        let received = receive_attempt(&fixture, lite, 9, "");
        assert_eq!(bodies(&received), expected, "{lite}");
    }
}

#[test]
fn without_traffic_a_lite_topic_goes_and_its_readers_are_told() {
    let lite = LiteOptions {
        ttl: Duration::from_secs(60),
        ..LiteOptions::default()
    };
    let options = Options {
        lite,
        ..Options::default()
    };
    let mut fixture = Fixture::with(1, options);
    // The store's own clock tells when a message came.
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    fixture.now = clock.as_millis() as u64;
    sync(&fixture, "a", LiteAction::Add, &["idle", "busy"]).unwrap();
    send(&fixture, "old", "x");
    fixture.groups.tick(fixture.now).unwrap();
    fixture.pass(Duration::from_secs(59));
    sync(&fixture, "b", LiteAction::Add, &["busy"]).unwrap();
    fixture.groups.tick(fixture.now).unwrap();
    assert_eq!(fixture.store.lite_count(TOPIC), 3);
    fixture.pass(Duration::from_secs(20));
    fixture.groups.tick(fixture.now).unwrap();
    assert!(fixture.store.topic(&lite_name(TOPIC, "idle")).is_none());
    assert!(fixture.store.topic(&lite_name(TOPIC, "old")).is_none());
    let lost = fixture.groups.take_unsubscribed();
    let lost: Vec<_> = lost
        .iter()
        .map(|lost| (&*lost.client, lost.lite.as_str()))
        .collect();
    assert!(lost.contains(&("a", "idle")), "{lost:?}");
    assert!(fixture.groups.take_unsubscribed().is_empty());
    let fixture = fixture.after_kill();
    assert!(fixture.store.topic(&lite_name(TOPIC, "old")).is_none());
    // It can come again, empty.
    sync(&fixture, "a", LiteAction::Add, &["old"]).unwrap();
    none(&fixture, "a");
}

#[test]
fn a_dead_letter_names_the_topic_and_comes_back_to_its_lite_topic() {
    let fixture = Fixture::new(1);
    sync(&fixture, "a", LiteAction::Add, &["one"]).unwrap();
    send(&fixture, "one", "bad");
    let bad = receive(&fixture, "a", 1).remove(0);
    fixture.bury(&bad.handle).unwrap();
    assert_eq!(fixture.dead_letters(1)[0].body(), b"bad");
    let redriven = fixture.groups.redrive(GROUP, 9, fixture.now).unwrap();
    assert_eq!(redriven.back, 1);
    assert_eq!(bodies(&receive(&fixture, "a", 9)), ["bad"]);
}

#[test]
fn deleting_a_topic_takes_its_lite_topics_with_it() {
    let fixture = Fixture::new(1);
    sync(&fixture, "a", LiteAction::Add, &["one", "two"]).unwrap();
    send(&fixture, "one", "1");
    fixture.store.delete_topic(TOPIC).unwrap();
    fixture.groups.tick(fixture.now).unwrap();
    assert_eq!(
        (
            fixture.store.lite_count(TOPIC),
            fixture.groups.take_unsubscribed().len()
        ),
        (0, 2)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Send(u8),
    Add(u8, u8),
    Remove(u8, u8),
    Receive(u8),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8).prop_map(Step::Send),
        3 => (0..3u8, 0..4u8).prop_map(|(client, lite)| Step::Add(client, lite)),
        2 => (0..3u8, 0..4u8).prop_map(|(client, lite)| Step::Remove(client, lite)),
        4 => (0..3u8).prop_map(Step::Receive),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    /// Nobody gets what it does not read; each message of a lite topic comes once and in order; nothing is left over.
    #[test]
    fn as_a_naive_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut fixture = Fixture::new(1);
        let mut reads: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        let mut sent: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        let mut got: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        let name = |number: u8| format!("n{number}");
        let mut take = |fixture: &Fixture, client: u8, reads: &BTreeMap<u8, BTreeSet<u8>>| {
            let received = receive_attempt(fixture, &name(client), 4, "");
            for delivery in &received {
                let body = std::str::from_utf8(delivery.message.body()).unwrap().to_owned();
                let lite: u8 = body.split(':').next().unwrap().parse().unwrap();
                assert!(reads.get(&client).is_some_and(|reads| reads.contains(&lite)), "{body}");
                assert_eq!(delivery.attempt, 1, "{body}");
                got.entry(lite).or_default().push(body);
            }
            ack_all(fixture, &received);
            !received.is_empty()
        };
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(lite) => {
                    let body = format!("{lite}:{number}");
                    send(&fixture, &name(lite), &body);
                    sent.entry(lite).or_default().push(body);
                }
                Step::Add(client, lite) => {
                    sync(&fixture, &name(client), LiteAction::Add, &[&name(lite)]).unwrap();
                    reads.entry(client).or_default().insert(lite);
                }
                Step::Remove(client, lite) => {
                    sync(&fixture, &name(client), LiteAction::Remove, &[&name(lite)]).unwrap();
                    reads.entry(client).or_default().remove(&lite);
                }
                Step::Receive(client) => {
                    take(&fixture, client, &reads);
                }
                Step::Kill => fixture = fixture.after_kill(),
            }
        }
        for lite in 0..4 {
            sync(&fixture, &name(0), LiteAction::Add, &[&name(lite)]).unwrap();
            reads.entry(0).or_default().insert(lite);
        }
        fixture = fixture.after_kill();
        while take(&fixture, 0, &reads) {}
        prop_assert_eq!(got, sent);
    }
}
