//! Transactions: nothing before the commit, nothing after a rollback, questions in between.

use std::time::Duration;

use foliomq_delivery::{DeliveryError, Options, Resolution};
use foliomq_store::Message;

use crate::fixture::{Fixture, TOPIC, bodies};

const SECOND: Duration = Duration::from_secs(1);

fn half(f: &Fixture, after: Option<Duration>, body: &str) -> String {
    let message = Message::new(body.as_bytes()).id(body);
    let sent = f
        .groups
        .submit_half(TOPIC, Some(0), &[(after, message)], f.now);
    let sent = sent.unwrap().remove(0);
    f.store.wait_committed(sent.appended.end()).unwrap();
    f.store.catch_up();
    sent.transaction_id
}

fn end(f: &Fixture, id: &str, resolution: Resolution) -> Result<(), DeliveryError> {
    f.groups.end_transaction(TOPIC, id, resolution)
}

fn is_invalid(result: Result<(), DeliveryError>) -> bool {
    matches!(result, Err(DeliveryError::InvalidTransaction { .. }))
}

fn received(f: &Fixture) -> Vec<String> {
    f.store.catch_up();
    let deliveries = f.receive(32);
    for delivery in &deliveries {
        f.ack(&delivery.handle).unwrap();
    }
    bodies(&deliveries).into_iter().map(str::to_owned).collect()
}

/// The bodies that are asked about now; somebody is there to ask if `there`.
fn asked(f: &Fixture, there: bool) -> Vec<String> {
    let mut asked = Vec::new();
    let ask = |question: foliomq_delivery::Question| {
        asked.push(String::from_utf8(question.message.body().to_vec()).unwrap());
        there
    };
    f.groups.ask(f.now, ask).unwrap();
    asked
}

#[test]
fn a_commit_delivers_and_a_rollback_does_not() {
    let f = Fixture::new(1);
    let (a, b) = (half(&f, None, "a"), half(&f, None, "b"));
    assert!(received(&f).is_empty());
    end(&f, &a, Resolution::Commit).unwrap();
    end(&f, &b, Resolution::Rollback).unwrap();
    assert_eq!(received(&f), ["a"]);
    for (id, first, second) in [
        (&a, Resolution::Commit, Resolution::Rollback),
        (&b, Resolution::Rollback, Resolution::Commit),
    ] {
        end(&f, id, first).expect("the same again is OK");
        assert!(is_invalid(end(&f, id, second)));
    }
    let f = f.after_kill();
    end(&f, &a, Resolution::Commit).expect("after a kill too");
    assert!(is_invalid(end(&f, &b, Resolution::Commit)));
    assert!(received(&f).is_empty());
}

#[test]
fn an_id_that_is_none_is_refused() {
    let f = Fixture::new(1);
    let id = half(&f, None, "a");
    f.append_bodies(0, &["plain"]);
    let receipt = f.receive_one().handle;
    for text in ["", "x", &receipt, &id[1..]] {
        assert!(is_invalid(end(&f, text, Resolution::Commit)), "{text}");
    }
    let recall = f.groups.recall(TOPIC, &id, f.now);
    assert!(matches!(recall, Err(DeliveryError::InvalidRecall { .. })));
}

#[test]
fn a_half_message_waits_over_restarts() {
    let f = Fixture::with(
        1,
        Options {
            snapshot_after: 0,
            ..Options::default()
        },
    );
    let (a, b) = (half(&f, None, "a"), half(&f, None, "b"));
    f.groups.tick(f.now).unwrap();
    let f = f.after_kill().after_close();
    assert_eq!(f.groups.transactions(), 2);
    end(&f, &a, Resolution::Commit).unwrap();
    let f = f.after_kill();
    assert_eq!(f.groups.transactions(), 1);
    assert_eq!(received(&f), ["a"]);
    end(&f, &b, Resolution::Commit).unwrap();
    assert_eq!(received(&f), ["b"]);
}

#[test]
fn somebody_is_asked_after_6_s_then_every_30_s_15_times_then_it_is_rolled_back() {
    let mut f = Fixture::new(1);
    half(&f, None, "a");
    half(&f, Some(60 * SECOND), "later");
    f.pass(6 * SECOND - Duration::from_millis(1));
    assert!(asked(&f, true).is_empty());
    f.pass(Duration::from_millis(1));
    assert_eq!(asked(&f, true), ["a"]);
    for count in 2..=15 {
        if count == 9 {
            f = f.after_kill();
        }
        f.pass(30 * SECOND - Duration::from_millis(1));
        assert!(!asked(&f, true).contains(&"a".to_owned()), "{count}");
        f.pass(Duration::from_millis(1));
        assert!(asked(&f, true).contains(&"a".to_owned()), "{count}");
    }
    f.pass(30 * SECOND);
    assert!(!asked(&f, true).contains(&"a".to_owned()));
    assert_eq!(f.groups.transactions(), 1);
    f.pass(300 * SECOND);
    let f = f.after_kill();
    assert_eq!(f.groups.transactions(), 1);
    assert!(received(&f).is_empty());
}

#[test]
fn a_question_that_reaches_nobody_does_not_count() {
    let options = Options {
        max_checks: 1,
        ..Options::default()
    };
    let mut f = Fixture::with(1, options);
    let id = half(&f, None, "a");
    for _ in 0..20 {
        f.pass(60 * SECOND);
        assert_eq!(asked(&f, false), ["a"]);
    }
    assert_eq!(asked(&f, true), ["a"]);
    end(&f, &id, Resolution::Commit).unwrap();
    f.pass(60 * SECOND);
    assert!(asked(&f, true).is_empty());
    assert_eq!(received(&f), ["a"]);
}

#[test]
fn nobody_there_for_three_days_rolls_it_back() {
    let mut f = Fixture::new(1);
    let id = half(&f, None, "a");
    // The store's clock is the real one, so the message is as old as this clock is ahead of it.
    f.now = f.store.hidden(0).unwrap().message.store_time();
    f.pass(73 * 3600 * SECOND);
    assert!(asked(&f, false).is_empty());
    assert!(is_invalid(end(&f, &id, Resolution::Commit)));
}

#[test]
fn one_too_many_is_refused() {
    let options = Options {
        max_transactions: 1,
        ..Options::default()
    };
    let f = Fixture::with(1, options);
    half(&f, None, "a");
    assert!(asked(&f, true).is_empty());
    let messages = [(None, Message::new(b"b"))];
    let refused = f.groups.submit_half(TOPIC, None, &messages, f.now);
    assert!(matches!(refused, Err(DeliveryError::TooMany { .. })));
}
