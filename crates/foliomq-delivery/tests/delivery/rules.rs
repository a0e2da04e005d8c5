//! Leases and handles, rule by rule.

use std::time::Duration;

use event_listener::Listener as _;
use foliomq_delivery::{Filter, Options, ResetTo};

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC, bodies, is_invalid};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_message_is_delivered_once_while_it_is_leased() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a", "b"]);
    let first = f.receive_one();
    assert_eq!((first.message.body(), first.attempt), (&b"a"[..], 1));
    assert_eq!(first.visible_at, f.now + INVISIBLE.as_millis() as u64);
    assert_eq!(bodies(&f.receive(32)), ["b"]);
    assert!(f.receive(32).is_empty());
    f.ack(&first.handle).unwrap();
}

#[test]
fn an_expired_lease_comes_again_with_another_attempt_and_handle() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    f.pass(INVISIBLE);
    assert!(
        is_invalid(&f.ack(&first.handle)),
        "expired, though not delivered again"
    );
    let second = f.receive_one();
    assert_eq!(second.attempt, 2);
    assert_ne!(first.handle, second.handle);
    assert!(is_invalid(&f.ack(&first.handle)), "of an older delivery");
    f.ack(&second.handle).unwrap();
    f.ack(&second.handle).expect("a second ack is no error");
    f.pass(INVISIBLE * 10);
    assert!(f.receive(32).is_empty());
}

#[test]
fn expired_leases_come_before_new_messages() {
    let mut f = Fixture::new(4);
    f.append_bodies(2, &["old"]);
    f.receive_one();
    for queue in 0..4 {
        f.append_bodies(queue, &["new"]);
    }
    f.pass(INVISIBLE);
    assert_eq!(bodies(&f.receive(3)), ["old", "new", "new"]);
}

#[test]
fn next_visible_is_when_the_first_lease_ends() {
    let mut f = Fixture::new(3);
    let empty = f.try_receive(&Filter::All, 1, SECOND, false).unwrap();
    assert_eq!(empty.next_visible, None);
    f.append_bodies(0, &["a"]);
    f.append_bodies(1, &["b"]);
    f.try_receive(&Filter::All, 1, 9 * SECOND, false).unwrap();
    f.try_receive(&Filter::All, 1, 5 * SECOND, false).unwrap();
    let nothing = f.try_receive(&Filter::All, 1, SECOND, false).unwrap();
    assert_eq!(nothing.next_visible, Some(f.now + 5000));
    f.pass(5 * SECOND);
    assert_eq!(f.receive(9).len(), 1);
}

#[test]
fn no_queue_starves() {
    let f = Fixture::new(4);
    for queue in 0..4 {
        let many: Vec<String> = (0..50).map(|number| format!("{queue}-{number}")).collect();
        f.append_bodies(queue, &many.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut queues: Vec<u32> = (0..4).map(|_| f.receive_one().message.queue_id()).collect();
    queues.sort_unstable();
    assert_eq!(queues, [0, 1, 2, 3]);
}

#[test]
fn changed_invisible_time_makes_a_new_handle() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    let longer = f.change(&first.handle, 100 * SECOND).unwrap();
    assert!(is_invalid(&f.ack(&first.handle)), "replaced");
    assert!(is_invalid(&f.change(&first.handle, SECOND)));
    f.pass(99 * SECOND);
    assert!(f.receive(1).is_empty());
    let at_once = f.change(&longer, Duration::ZERO).unwrap();
    let second = f.receive_one();
    assert_eq!(second.attempt, 2);
    assert!(is_invalid(&f.ack(&at_once)));
    f.ack(&second.handle).unwrap();
    assert!(is_invalid(&f.change(&second.handle, SECOND)), "it is done");
}

#[test]
fn a_change_whose_answer_was_lost_is_said_again() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let again = |f: &Fixture, handle: &str, time| {
        f.groups
            .change_invisible_again(GROUP, TOPIC, handle, time, f.now)
    };
    let first = f.receive_one();
    let lost = again(&f, &first.handle, 50 * SECOND).unwrap();
    f.pass(SECOND);
    let second = again(&f, &first.handle, 50 * SECOND).unwrap();
    assert_ne!(lost, second, "the time counts from now");
    assert!(
        is_invalid(&f.ack(&first.handle)),
        "only a change is said again"
    );
    assert!(is_invalid(&f.change(&first.handle, SECOND)));
    f.pass(INVISIBLE);
    assert!(f.receive(1).is_empty(), "it is extended");
    let over = again(&f, &lost, Duration::ZERO).unwrap();
    assert!(is_invalid(&again(&f, &lost, SECOND)), "it is given back");
    let other = f.receive_one();
    for old in [&first.handle, &lost, &second, &over] {
        assert!(is_invalid(&again(&f, old, SECOND)), "of an older delivery");
    }
    f.ack(&other.handle).unwrap();
    assert!(is_invalid(&again(&f, &other.handle, SECOND)), "it is done");
}

#[test]
fn a_renewed_lease_keeps_its_handle() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let first = f.receive_renewed();
    assert_eq!(f.groups.is_auto_renewed(&first.handle), Some(true));
    for _ in 0..5 {
        f.pass(INVISIBLE / 2);
        f.groups.renew(&first.handle, INVISIBLE, f.now).unwrap();
        assert!(f.receive(1).is_empty());
    }
    f.pass(INVISIBLE);
    assert!(
        is_invalid(&f.groups.renew(&first.handle, INVISIBLE, f.now)),
        "too late"
    );
    assert!(is_invalid(&f.ack(&first.handle)));
    let second = f.receive_renewed();
    f.pass(INVISIBLE / 2);
    f.groups.renew(&second.handle, INVISIBLE, f.now).unwrap();
    f.ack(&second.handle).unwrap();
    assert!(
        is_invalid(&f.groups.renew(&second.handle, INVISIBLE, f.now)),
        "done"
    );
}

#[test]
fn only_auto_renewed_leases_are_renewed() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    assert_eq!(f.groups.is_auto_renewed(&first.handle), Some(false));
    assert_eq!(f.groups.is_auto_renewed("x"), None);
    assert!(is_invalid(&f.groups.renew(&first.handle, INVISIBLE, f.now)));
}

#[test]
fn a_released_delivery_did_not_happen() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    f.groups.release(&first.handle, f.now).unwrap();
    assert!(is_invalid(&f.ack(&first.handle)));
    let again = f.receive_one();
    assert_eq!(again.attempt, 1);
    f.ack(&again.handle).unwrap();
}

#[test]
fn who_lost_the_answer_to_a_change_settles_by_the_old_handle() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a", "b"]);
    let [first, second] = f.receive(2).try_into().unwrap();
    let again = |handle: &str| {
        let mut results = f.groups.ack_all_again(GROUP, TOPIC, &[handle], f.now);
        results.pop().unwrap()
    };
    f.change(&first.handle, 2 * INVISIBLE).unwrap();
    assert!(is_invalid(&f.ack(&first.handle)), "not with an ack of v2");
    again(&first.handle).unwrap();
    f.change(&second.handle, 2 * INVISIBLE).unwrap();
    f.groups.release(&second.handle, f.now).unwrap();
    assert!(is_invalid(&again(&second.handle)), "it is given back");
    let third = f.receive_one();
    assert_eq!((third.message.queue_offset(), third.attempt), (1, 1));
    assert!(is_invalid(&again(&second.handle)), "of an older delivery");
    again(&third.handle).unwrap();
}

#[test]
fn handles_of_others_and_forged_ones_are_refused() {
    let f = Fixture::new(1);
    f.store.create_topic("other", Default::default()).unwrap();
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    assert!(is_invalid(&f.groups.ack("h", TOPIC, &first.handle, f.now)));
    assert!(is_invalid(&f.groups.ack(
        GROUP,
        "other",
        &first.handle,
        f.now
    )));
    for forged in [
        "",
        "x",
        &first.handle[1..],
        &first.handle.replace(&first.handle[..1], "_"),
        "ä".repeat(24).as_str(),
    ] {
        assert!(is_invalid(&f.ack(forged)), "{forged}");
        assert!(is_invalid(&f.groups.release(forged, f.now)));
    }
    f.ack(&first.handle).unwrap();
}

#[test]
fn too_many_unacknowledged_messages_stop_new_ones() {
    let f = Fixture::with(
        1,
        Options {
            max_in_flight: 2,
            ..Options::default()
        },
    );
    f.append_bodies(0, &["a", "b", "c"]);
    let held = f.receive(9);
    assert_eq!(bodies(&held), ["a", "b"]);
    assert!(f.receive(9).is_empty());
    let listener = f.groups.listen(GROUP, TOPIC);
    f.ack(&held[0].handle).unwrap();
    assert!(
        listener.wait_timeout(Duration::from_secs(30)).is_some(),
        "room again"
    );
    assert_eq!(bodies(&f.receive(9)), ["c"]);
}

#[test]
fn listeners_wake_when_a_message_becomes_visible() {
    let f = Fixture::new(1);
    let patience = Duration::from_secs(30);
    let before_it_is_known = f.groups.listen(GROUP, TOPIC);
    f.append_bodies(0, &["a"]);
    let first = f.receive_one();
    assert!(before_it_is_known.wait_timeout(patience).is_some());
    let listener = f.groups.listen(GROUP, TOPIC);
    let other = f.groups.listen("other", TOPIC);
    let handle = f.change(&first.handle, SECOND).unwrap();
    assert!(listener.wait_timeout(patience).is_some());
    let listener = f.groups.listen(GROUP, TOPIC);
    f.groups.release(&handle, f.now).unwrap();
    assert!(listener.wait_timeout(patience).is_some());
    let listener = f.groups.listen(GROUP, TOPIC);
    f.groups
        .reset(GROUP, TOPIC, ResetTo::Earliest, f.now)
        .unwrap();
    assert!(listener.wait_timeout(patience).is_some());
    assert!(
        other.wait_timeout(Duration::ZERO).is_none(),
        "another group is not woken"
    );
}
