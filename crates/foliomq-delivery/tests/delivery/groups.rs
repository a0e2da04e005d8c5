//! Groups beside each other, and what an operator does with them.

use foliomq_delivery::{Backoff, DeliveryError, Filter, Groups, Receive, ResetTo, Rules, Start};
use foliomq_store::{Message, StoreError, TopicOptions};

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC, bodies, is_invalid};

#[test]
fn groups_do_not_see_each_other() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    f.ack(&f.receive_one().handle).unwrap();
    let request = Receive {
        group: "h",
        topic: TOPIC,
        filter: &Filter::All,
        most: 9,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    assert_eq!(
        bodies(&f.groups.receive(&request, f.now).unwrap().messages),
        ["a"]
    );
}

#[test]
fn names_and_topics_are_checked() {
    let f = Fixture::new(1);
    let request = |group, topic| Receive {
        group,
        topic,
        filter: &Filter::All,
        most: 1,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    assert!(matches!(
        f.groups.receive(&request("a b", TOPIC), f.now),
        Err(DeliveryError::IllegalGroup { .. })
    ));
    let unknown = f.groups.receive(&request(GROUP, "none"), f.now);
    assert!(matches!(
        unknown,
        Err(DeliveryError::Store(StoreError::UnknownTopic { .. }))
    ));
    assert!(
        f.groups.groups().is_empty(),
        "what was refused left nothing behind"
    );
}

#[test]
fn a_reset_moves_the_group_and_voids_handles() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a", "b", "c"]);
    let held = f.receive(2);
    f.ack(&held[0].handle).unwrap();
    f.groups
        .reset(GROUP, TOPIC, ResetTo::Earliest, f.now)
        .unwrap();
    assert!(is_invalid(&f.ack(&held[1].handle)));
    let again = f.receive(9);
    assert_eq!(bodies(&again), ["a", "b", "c"]);
    assert!(again.iter().all(|delivery| delivery.attempt == 1));
    assert!(is_invalid(&f.ack(&held[1].handle)));
    let latest = f
        .groups
        .reset(GROUP, TOPIC, ResetTo::Latest, f.now)
        .unwrap();
    assert_eq!(
        (latest.queues[0].committed, latest.queues[0].in_flight),
        (3, 0)
    );
    assert!(f.receive(9).is_empty());
    f.groups
        .reset(GROUP, TOPIC, ResetTo::Offset(2), f.now)
        .unwrap();
    assert_eq!(bodies(&f.receive(9)), ["c"]);
    f.groups
        .reset(GROUP, TOPIC, ResetTo::Time(0), f.now)
        .unwrap();
    assert_eq!(f.receive(9).len(), 3);
    let past = f
        .groups
        .reset(GROUP, TOPIC, ResetTo::Offset(99), f.now)
        .unwrap();
    assert_eq!(past.queues[0].next, 3);
    let unknown = f.groups.reset("nobody", TOPIC, ResetTo::Earliest, f.now);
    assert_eq!(
        unknown,
        Err(DeliveryError::UnknownGroup {
            group: "nobody".into()
        })
    );
}

#[test]
fn a_group_begins_where_the_store_says() {
    let f = Fixture::new(2);
    f.append_bodies(0, &["a", "b"]);
    f.append_bodies(1, &["c"]);
    f.store.set_progress(GROUP, TOPIC, 0, 1).unwrap();
    f.store.set_progress(GROUP, TOPIC, 1, 500).unwrap();
    assert_eq!(
        bodies(&f.receive(9)),
        ["b"],
        "progress beyond the end is the end"
    );
}

#[test]
fn a_group_begins_where_its_rules_say() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["old"]);
    f.groups
        .set_rules(GROUP, |rules| rules.start = Start::Latest)
        .unwrap();
    let f = f.after_kill();
    assert!(f.receive(9).is_empty());
    f.append_bodies(0, &["new"]);
    assert_eq!(bodies(&f.receive(9)), ["new"]);
    // A group that has begun stays where it is.
    f.groups
        .set_rules(GROUP, |rules| rules.start = Start::Time(0))
        .unwrap();
    assert!(f.receive(9).is_empty());
}

#[test]
fn rules_survive_a_kill_and_a_close() {
    let f = Fixture::new(1);
    assert_eq!(f.groups.rules(GROUP), Rules::default());
    let set = |f: &Fixture, max| f.groups.set_rules(GROUP, |rules| rules.invisible = 1..=max);
    assert!(set(&f, 43_201).is_err());
    set(&f, 60).unwrap();
    let f = f.after_kill();
    assert_eq!(f.groups.rules(GROUP).invisible, 1..=60);
    let f = f.after_close();
    assert_eq!(f.groups.group(GROUP).unwrap().rules.invisible, 1..=60);
}

#[test]
fn groups_are_described() {
    let f = Fixture::new(2);
    f.append_bodies(0, &["a", "b", "c"]);
    assert_eq!(f.groups.group(GROUP), None);
    let held = f.receive(2);
    f.ack(&held[0].handle).unwrap();
    let group = f.groups.update(GROUP, Some(5)).unwrap();
    assert_eq!((group.name.as_str(), group.max_attempts), (GROUP, 5));
    let first = &group.queues[0];
    assert_eq!(
        (
            first.queue,
            first.committed,
            first.next,
            first.max_offset,
            first.in_flight
        ),
        (0, 1, 2, 3, 1)
    );
    f.groups.update("another", None).unwrap();
    let names: Vec<String> = f
        .groups
        .groups()
        .into_iter()
        .map(|group| group.name)
        .collect();
    assert_eq!(names, ["another", GROUP]);
    assert!(matches!(
        f.groups.update("a b", None),
        Err(DeliveryError::IllegalGroup { .. })
    ));
}

#[test]
fn a_deleted_topic_leaves_nothing() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    let held = f.receive_one();
    f.store.delete_topic(TOPIC).unwrap();
    f.groups.tick(f.now).unwrap();
    assert!(f.groups.group(GROUP).unwrap().queues.is_empty());
    assert!(is_invalid(&f.ack(&held.handle)));
    f.store
        .create_topic(
            TOPIC,
            TopicOptions {
                queues: 1,
                ..Default::default()
            },
        )
        .unwrap();
    f.append_bodies(0, &["b"]);
    assert_eq!(bodies(&f.receive(9)), ["b"]);
}

#[test]
fn many_threads_share_a_group() {
    const MESSAGES: usize = 2000;
    let f = Fixture::new(4);
    let many: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    for (number, body) in many.iter().enumerate() {
        f.store
            .append_to(TOPIC, number as u32 % 4, &Message::new(body.as_bytes()))
            .unwrap();
    }
    (0..4).for_each(|queue| f.wait_for(TOPIC, queue, MESSAGES as u64 / 4));
    let consume = |groups: &Groups| {
        let mut seen = Vec::new();
        loop {
            let request = Receive {
                group: GROUP,
                topic: TOPIC,
                filter: &Filter::All,
                most: 7,
                invisible: INVISIBLE,
                auto_renew: false,
            };
            let received = groups.receive(&request, f.now).unwrap().messages;
            if received.is_empty() {
                return seen;
            }
            for delivery in received {
                groups.ack(GROUP, TOPIC, &delivery.handle, f.now).unwrap();
                seen.push(delivery.message.body().to_vec());
            }
        }
    };
    let mut seen: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| consume(&f.groups))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), MESSAGES);
    assert!(
        f.groups
            .group(GROUP)
            .unwrap()
            .queues
            .iter()
            .all(|queue| queue.committed == queue.max_offset && queue.in_flight == 0)
    );
}

#[test]
fn a_receive_while_the_first_messages_come_passes_over_none() {
    const MESSAGES: usize = 20;
    let f = Fixture::new(1);
    for number in 0..100 {
        let topic = format!("young-{number}");
        let options = TopicOptions {
            queues: 1,
            ..TopicOptions::default()
        };
        f.store.create_topic(&topic, options).unwrap();
        let received = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..MESSAGES {
                    f.store.append(&topic, &Message::new(b"x")).unwrap();
                }
            });
            let request = Receive {
                group: GROUP,
                topic: &topic,
                filter: &Filter::All,
                most: 5,
                invisible: INVISIBLE,
                auto_renew: false,
            };
            let mut offsets = Vec::new();
            while offsets.last() != Some(&(MESSAGES as u64 - 1)) {
                let received = f.groups.receive(&request, f.now).unwrap();
                offsets.extend(
                    received
                        .messages
                        .iter()
                        .map(|delivery| delivery.message.queue_offset()),
                );
            }
            offsets
        });
        assert!(received.into_iter().eq(0..MESSAGES as u64), "{topic}");
    }
}

#[test]
fn pauses_survive_a_kill_and_a_close() {
    let f = Fixture::new(1);
    assert_eq!(f.groups.policy(GROUP), None);
    f.receive(1);
    let (attempts, pauses) = f.groups.policy(GROUP).unwrap();
    assert_eq!((attempts, pauses), (17, Backoff::default()));
    let doubling = Backoff::Exponential {
        initial: 3,
        max: 90,
        thousandths: 2000,
    };
    let described = f.groups.set_backoff(GROUP, doubling.clone()).unwrap();
    assert_eq!(described.backoff, doubling);
    f.groups
        .set_backoff("steps", Backoff::Steps(vec![4, 5]))
        .unwrap();
    assert!(matches!(
        f.groups.set_backoff(GROUP, Backoff::Steps(vec![0])),
        Err(DeliveryError::IllegalSetting { .. })
    ));
    let f = f.after_kill();
    assert_eq!(f.groups.policy(GROUP).unwrap().1, doubling);
    let f = f.after_close().after_close();
    assert_eq!(f.groups.policy(GROUP).unwrap().1, doubling);
    let steps = Backoff::Steps(vec![4, 5]);
    assert_eq!(f.groups.policy("steps").unwrap().1, steps);
}
