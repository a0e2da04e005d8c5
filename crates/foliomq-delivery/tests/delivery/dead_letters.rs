//! Messages that are given up.

use std::time::Duration;

use foliomq_delivery::{DEAD_LETTER_RETRY, DeliveryError, Filter, Options, Receive, Redriven};
use foliomq_store::{Message, TopicOptions};

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC, bodies, is_invalid};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn past_the_last_attempt_a_message_is_a_dead_letter() {
    let mut f = Fixture::with(
        2,
        Options {
            max_attempts: 3,
            ..Options::default()
        },
    );
    let message = Message::new(b"poison")
        .tag("T")
        .key("k")
        .id("ID-1")
        .property("p", "v");
    f.append(1, &message);
    for attempt in 1..=3 {
        assert_eq!(f.receive_one().attempt, attempt);
        f.pass(INVISIBLE);
    }
    assert!(f.receive(9).is_empty());
    let dead = &f.dead_letters(1)[0];
    assert_eq!(
        (dead.body(), dead.tag(), &*dead.id()),
        (&b"poison"[..], Some("T"), "ID-1")
    );
    assert_eq!(dead.properties().collect::<Vec<_>>(), [("p", "v")]);
    let origin = b"\xa2\x01\x0f\x0a\x01t\x12\x04ID-1\xa0\x06\x01\xa8\x06\x00";
    assert!(
        dead.encoded_system_properties().ends_with(origin),
        "{:?}",
        dead.encoded_system_properties()
    );
    assert_eq!(f.groups.group(GROUP).unwrap().queues[1].committed, 1);
    f.pass(INVISIBLE * 100);
    assert!(f.receive(9).is_empty());
    f.dead_letters(1);
}

#[test]
fn a_group_that_nobody_reads_still_has_its_dead_letters() {
    let mut f = Fixture::new(1);
    f.groups.update(GROUP, Some(1)).unwrap();
    f.append_bodies(0, &["a", "b"]);
    assert_eq!(f.receive(2).len(), 2);
    f.groups.tick(f.now).unwrap();
    f.dead_letters(0);
    f.pass(INVISIBLE);
    f.groups.tick(f.now).unwrap();
    f.dead_letters(2);
    f.groups.tick(f.now).unwrap();
    assert_eq!(f.store.progress(GROUP, TOPIC, 0), Some(2));
}

#[test]
fn a_lower_maximum_counts_for_leases_that_ended_before() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    f.receive_one();
    f.pass(INVISIBLE);
    f.groups.tick(f.now).unwrap();
    f.pass(SECOND);
    f.groups.tick(f.now).unwrap();
    f.dead_letters(0);
    f.groups.update(GROUP, Some(1)).unwrap();
    f.groups.tick(f.now).unwrap();
    f.dead_letters(1);
}

#[test]
fn a_client_may_give_a_message_up() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    f.bury(&first.handle).unwrap();
    f.bury(&first.handle).expect("a second time is no error");
    assert_eq!(f.dead_letters(1)[0].body(), b"a");
    f.pass(INVISIBLE * 9);
    assert!(f.receive(1).is_empty());
    assert!(is_invalid(&f.bury("x")));
}

#[test]
fn the_first_origin_of_a_dead_letter_stays() {
    let mut f = Fixture::new(1);
    f.append(0, &Message::new(b"a").id("ID"));
    f.bury(&f.receive_one().handle).unwrap();
    f.dead_letters(1);
    let dead = format!("%DLQ%{GROUP}");
    let request = Receive {
        group: "second",
        topic: &dead,
        filter: &Filter::All,
        most: 1,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    let delivery = f
        .groups
        .receive(&request, f.now)
        .unwrap()
        .messages
        .remove(0);
    let before = delivery.message.encoded_system_properties().to_vec();
    f.groups
        .dead_letter("second", &dead, &delivery.handle, f.now)
        .unwrap();
    f.wait_for("%DLQ%second", 0, 1);
    let again = f.store.read("%DLQ%second", 0, 0).unwrap().unwrap();
    assert_eq!(again.encoded_system_properties(), before);
    f.pass(SECOND);
}

/// The topic of dead letters takes nothing for a while, as on a full disk.
#[test]
fn a_dead_letter_that_cannot_be_stored_waits() {
    let mut f = Fixture::with(
        1,
        Options {
            max_attempts: 1,
            ..Options::default()
        },
    );
    f.append_bodies(0, &["a body", "another"]);
    f.receive_one();
    f.pass(INVISIBLE);
    let mut f = f.after_close_with_max_body(3);
    assert_eq!(
        bodies(&f.receive(9)),
        ["another"],
        "others are delivered meanwhile"
    );
    f.pass(INVISIBLE / 2);
    let given_up = f.receive(9);
    assert!(given_up.is_empty());
    f.dead_letters(0);
    assert_eq!(f.groups.group(GROUP).unwrap().queues[0].in_flight, 2);
    let mut f = f.after_close();
    f.pass(DEAD_LETTER_RETRY);
    f.groups.tick(f.now).unwrap();
    f.dead_letters(2);
}

#[test]
fn a_message_that_cannot_be_given_up_stays_with_its_client() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a body"]);
    let handle = f.receive_one().handle;
    let f = f.after_close_with_max_body(3);
    assert!(
        f.bury(&handle)
            .is_err_and(|error| !is_invalid(&Err::<(), _>(error)))
    );
    f.dead_letters(0);
    f.ack(&handle).expect("the handle is as good as before");
}

#[test]
fn dead_letters_go_back_to_their_group_alone_and_in_their_places() {
    let mut f = Fixture::new(2);
    f.groups.update(GROUP, Some(1)).unwrap();
    f.append(0, &Message::new(b"fine"));
    f.append(1, &Message::new(b"poison").id("P"));
    f.append(1, &Message::new(b"worse"));
    let all = f.receive(9);
    let fine = all
        .iter()
        .find(|delivery| delivery.message.body() == b"fine");
    f.ack(&fine.unwrap().handle).unwrap();
    f.pass(INVISIBLE);
    assert!(f.receive(9).is_empty());
    f.dead_letters(2);
    let other = Receive {
        group: "other",
        topic: TOPIC,
        filter: &Filter::All,
        most: 9,
        invisible: SECOND,
        auto_renew: false,
    };
    assert_eq!(f.groups.receive(&other, f.now).unwrap().messages.len(), 3);

    let one = f.groups.redrive(GROUP, 1, f.now).unwrap();
    assert_eq!(one, Redriven { back: 1, kept: 0 });
    let mut f = f.after_kill();
    let again = f.receive(9);
    assert_eq!((bodies(&again), again[0].attempt), (vec!["poison"], 1));
    f.ack(&again[0].handle).unwrap();
    let rest = f.groups.redrive(GROUP, 99, f.now).unwrap();
    assert_eq!(rest, Redriven { back: 1, kept: 0 });
    assert_eq!(bodies(&f.receive(9)), ["worse"]);
    let none = f.groups.redrive(GROUP, 99, f.now).unwrap();
    assert_eq!(none, Redriven::default());
    f.pass(INVISIBLE);
    assert!(f.receive(9).is_empty());
    f.dead_letters(3);
}

#[test]
fn a_dead_letter_whose_topic_is_gone_stays() {
    for anew in [false, true] {
        let mut f = Fixture::new(1);
        f.groups.update(GROUP, Some(1)).unwrap();
        f.append_bodies(0, &["a"]);
        f.receive(1);
        f.pass(INVISIBLE);
        f.receive(1);
        f.dead_letters(1);
        f.store.delete_topic(TOPIC).unwrap();
        if anew {
            // Another one of its name, which the group reads, has nothing at that offset.
            let topic = TopicOptions::default();
            f.store.create_topic(TOPIC, topic).unwrap();
            assert!(f.receive(1).is_empty());
        }
        let redriven = f.groups.redrive(GROUP, 9, f.now).unwrap();
        assert_eq!(redriven, Redriven { back: 0, kept: 1 });
        assert!(matches!(
            f.groups.redrive("nobody", 9, f.now),
            Err(DeliveryError::UnknownGroup { .. })
        ));
    }
}
