//! Topics that change while they are read.

use std::time::Duration;

use foliomq_delivery::{LiteAction, LiteSync, Start};
use foliomq_store::Topic;

use crate::fixture::{Fixture, GROUP, TOPIC, bodies};

fn change(fixture: &Fixture, change: impl FnOnce(&mut Topic)) {
    fixture.store.update_topic(TOPIC, change).unwrap();
}

#[test]
fn a_group_reads_new_queues_from_their_beginning_and_remembers_what_is_done_in_them() {
    let mut fixture = Fixture::new(1);
    let latest = |rules: &mut foliomq_delivery::Rules| rules.start = Start::Latest;
    fixture.groups.set_rules(GROUP, latest).unwrap();
    assert!(fixture.receive(1).is_empty());
    change(&fixture, |topic| topic.queues = 3);
    fixture.append_bodies(2, &["a", "b", "c"]);
    let received = fixture.receive(10);
    assert_eq!(bodies(&received), ["a", "b", "c"]);
    fixture.ack(&received[1].handle).unwrap();
    for round in 0..3 {
        fixture = match round {
            0 => fixture.after_kill(),
            1 => fixture.after_close(),
            _ => fixture,
        };
        let group = fixture.groups.group(GROUP).unwrap();
        let queues: Vec<_> = group.queues.iter().map(|queue| queue.in_flight).collect();
        assert_eq!(queues, [0, 0, 2], "round {round}");
        fixture.groups.tick(fixture.now).unwrap();
    }
    // Settled by handles from before, and again after more queues.
    fixture.ack(&received[2].handle).unwrap();
    change(&fixture, |topic| topic.queues = 4);
    fixture.append_bodies(3, &["d"]);
    fixture.pass(Duration::from_secs(60));
    let again = fixture.receive(10);
    assert_eq!(bodies(&again), ["a", "d"]);
    assert_eq!(again[0].attempt, 2);
    let fixture = fixture.after_kill();
    for delivery in &again {
        fixture.ack(&delivery.handle).unwrap();
    }
    let group = fixture.groups.group(GROUP).unwrap();
    assert!(group.queues.iter().all(|queue| queue.in_flight == 0));
    assert_eq!(group.queues.len(), 4);
}

#[test]
fn offsets_of_a_new_queue_are_there_before_anybody_receives() {
    let fixture = Fixture::new(1);
    assert!(fixture.receive(1).is_empty());
    change(&fixture, |topic| topic.queues = 2);
    assert_eq!(fixture.groups.offset(GROUP, TOPIC, 1).unwrap(), Some(0));
}

#[test]
fn what_is_in_a_new_queue_counts_before_anybody_receives() {
    let fixture = Fixture::new(1);
    assert!(fixture.receive(1).is_empty());
    change(&fixture, |topic| topic.queues = 2);
    fixture.append_bodies(1, &["a", "b"]);
    let one = fixture.groups.group(GROUP).unwrap();
    for group in [one, fixture.groups.groups().remove(0)] {
        let places = group
            .queues
            .iter()
            .map(|queue| (queue.next, queue.max_offset));
        assert_eq!(places.collect::<Vec<_>>(), [(0, 0), (0, 2)]);
        assert_eq!((group.queues[1].queue, group.queues[1].committed), (1, 0));
    }
}

#[test]
fn what_a_topic_no_longer_keeps_does_not_come_again() {
    let mut fixture = Fixture::new(1);
    fixture.append_bodies(0, &["held", "unread"]);
    let held = fixture.receive_one();
    fixture.empty();
    assert_eq!(fixture.store.floor(TOPIC, 0).unwrap(), 2);
    let group = fixture.groups.group(GROUP).unwrap();
    assert_eq!(
        (group.queues[0].in_flight, group.queues[0].committed),
        (0, 2)
    );
    fixture.pass(Duration::from_secs(3600));
    assert!(fixture.receive(10).is_empty());
    assert!(fixture.ack(&held.handle).is_ok(), "it is done anyway");
    let fixture = fixture.after_kill();
    fixture.append_bodies(0, &["new"]);
    assert_eq!(bodies(&fixture.receive(10)), ["new"]);
}

fn subscribe(fixture: &Fixture, names: &[&str]) -> bool {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let sync = LiteSync {
        group: GROUP,
        topic: TOPIC,
        client: "c",
        action: LiteAction::Add,
        names: &names,
        start: Default::default(),
        version: None,
    };
    fixture.groups.sync_lite(&sync, fixture.now).is_ok()
}

#[test]
fn bounds_of_lite_topics_are_the_topic_s_own() {
    let fixture = Fixture::new(1);
    change(&fixture, |topic| {
        topic.settings.lite.topics = Some(3);
        topic.settings.lite.subscriptions = Some(2);
    });
    assert!(!subscribe(&fixture, &["a", "b", "c"]));
    assert!(subscribe(&fixture, &["a", "b"]));
    assert!(!subscribe(&fixture, &["c"]));
    let lite = |lite| fixture.groups.lite_topic(TOPIC, lite, fixture.now);
    lite("c").unwrap();
    lite("d").unwrap_err();
    change(&fixture, |topic| topic.settings.lite = Default::default());
    lite("d").unwrap();
    assert!(subscribe(&fixture, &["c", "d"]));
}

#[test]
fn another_time_to_live_holds_at_once_and_begins_anew() {
    let mut fixture = Fixture::new(1);
    fixture.groups.lite_topic(TOPIC, "a", fixture.now).unwrap();
    let count = |fixture: &Fixture| {
        fixture.groups.tick(fixture.now).unwrap();
        fixture.store.lite_count(TOPIC)
    };
    let ttl = |fixture: &Fixture, ttl| {
        change(fixture, |topic| topic.settings.lite.ttl = ttl);
    };
    fixture.pass(Duration::from_secs(3600));
    assert_eq!(count(&fixture), 1);
    ttl(&fixture, Some(Duration::from_secs(60)));
    assert_eq!(count(&fixture), 1);
    let mut fixture = fixture.after_kill();
    ttl(&fixture, Some(Duration::from_secs(30)));
    assert_eq!(count(&fixture), 1);
    fixture.pass(Duration::from_secs(29));
    assert_eq!(count(&fixture), 1);
    fixture.pass(Duration::from_secs(2));
    assert_eq!(count(&fixture), 0);
}
