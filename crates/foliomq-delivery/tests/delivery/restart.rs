//! What a stop, a kill and a power cut leave.

use std::time::Duration;

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC, bodies, copy, is_invalid};
use foliomq_delivery::{Delivery, Filter, Groups, Options, Receive};
use foliomq_store::Message;

/// Without the messages, which keep the store's files open.
fn handles(deliveries: Vec<Delivery>) -> Vec<String> {
    deliveries
        .into_iter()
        .map(|delivery| delivery.handle)
        .collect()
}

#[test]
fn acks_leases_attempts_and_handles_survive() {
    for restart in [Fixture::after_close, Fixture::after_kill] {
        let mut f = Fixture::new(1);
        f.groups.update(GROUP, Some(9)).unwrap();
        f.append_bodies(
            0,
            &["acked", "leased", "again", "released", "changed", "new"],
        );
        let held = handles(f.receive(5));
        f.pass(INVISIBLE);
        let again = handles(f.receive(5));
        f.ack(&again[0]).unwrap();
        f.groups.release(&again[3], f.now).unwrap();
        let changed = f.change(&again[4], INVISIBLE * 3).unwrap();

        let mut f = restart(f);
        assert_eq!(f.groups.group(GROUP).unwrap().max_attempts, 9);
        assert!(is_invalid(&f.ack(&held[1])), "of an older delivery");
        f.ack(&again[1]).expect("a handle is good after a restart");
        let now = f.receive(9);
        assert_eq!(bodies(&now), ["released", "new"]);
        assert_eq!((now[0].attempt, now[1].attempt), (2, 1));
        f.pass(INVISIBLE);
        let last = f.receive(9);
        assert_eq!(bodies(&last)[0], "again");
        assert_eq!(last[0].attempt, 3);
        f.ack(&changed).unwrap();
    }
}

#[test]
fn restarts_do_not_add_up() {
    let mut f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    for attempt in 1..6 {
        assert_eq!(f.receive_one().attempt, attempt);
        f.pass(INVISIBLE);
        f = f.after_kill().after_close();
    }
}

#[test]
fn snapshots_keep_the_journal_small_and_the_state_whole() {
    let options = Options {
        snapshot_after: 256 << 10,
        ..Options::default()
    };
    let mut f = Fixture::with(2, options);
    let mut held = Vec::new();
    for round in 0..3000 {
        let body = round.to_string();
        f.append(round % 2, &Message::new(body.as_bytes()));
        let delivery = f.receive_one();
        if round % 10 == 0 {
            held.push((delivery.handle, body));
        } else {
            f.ack(&delivery.handle).unwrap();
        }
        if round % 50 == 0 {
            f.groups.tick(f.now).unwrap();
        }
    }
    let segments = std::fs::read_dir(f.dir.path().join("delivery")).unwrap();
    let journal: u64 = segments
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(journal <= 4 << 20, "{journal} bytes");
    f = f.after_kill();
    let in_flight: u64 = f
        .groups
        .group(GROUP)
        .unwrap()
        .queues
        .iter()
        .map(|queue| queue.in_flight)
        .sum();
    assert_eq!(in_flight, held.len() as u64);
    f.pass(INVISIBLE / 2);
    assert!(f.receive(9).is_empty());
    for (handle, _) in held.drain(..100) {
        f.ack(&handle).unwrap();
    }
    f.pass(INVISIBLE);
    let mut left: Vec<String> = Vec::new();
    loop {
        let batch = f.receive(64);
        if batch.is_empty() {
            break;
        }
        assert!(batch.iter().all(|delivery| delivery.attempt == 2));
        left.extend(bodies(&batch).into_iter().map(String::from));
    }
    left.sort();
    let mut expected: Vec<String> = held.into_iter().map(|(_, body)| body).collect();
    expected.sort();
    assert_eq!(left, expected);
}

/// Receives, acks and changes from several threads while snapshots are taken: the journal has them in the order in which
/// they came true.
#[test]
fn what_threads_do_at_once_is_replayed_as_it_was() {
    const EACH: u64 = 1500;
    let options = Options {
        snapshot_after: 64 << 10,
        ..Options::default()
    };
    let f = Fixture::with(3, options);
    for number in 0..3 * EACH {
        f.store
            .append_to(TOPIC, (number % 3) as u32, &Message::new(b"x"))
            .unwrap();
    }
    (0..3).for_each(|queue| f.wait_for(TOPIC, queue, EACH));
    let consume = |thread: usize| {
        let mut kept = Vec::new();
        for round in 0.. {
            let received = f.receive(1 + (thread + round) % 5);
            if received.is_empty() {
                return kept;
            }
            for (number, handle) in handles(received).into_iter().enumerate() {
                match (round + number) % 4 {
                    0 => kept.push(handle),
                    1 => kept.push(f.change(&handle, INVISIBLE * 2).unwrap()),
                    2 => f.ack(&handle).unwrap(),
                    _ => f
                        .groups
                        .release(&handle, f.now)
                        .unwrap_or_else(|error| panic!("{error}")),
                }
            }
        }
        unreachable!("there is an end of messages")
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let kept: Vec<String> = std::thread::scope(|scope| {
        let ticker = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                f.groups.tick(f.now).unwrap();
            }
        });
        let threads: Vec<_> = (0..4)
            .map(|thread| scope.spawn(move || consume(thread)))
            .collect();
        let kept = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        done.store(true, std::sync::atomic::Ordering::Release);
        ticker.join().unwrap();
        kept
    });
    let before = f.groups.groups();
    let f = f.after_kill();
    assert_eq!(f.groups.groups(), before);
    let in_flight: u64 = before[0].queues.iter().map(|queue| queue.in_flight).sum();
    assert_eq!(in_flight, kept.len() as u64);
    for handle in kept {
        f.ack(&handle).unwrap();
    }
    assert!(f.receive(1).is_empty());
}

/// The log as it was earlier, the journal as it is now: what a power cut may leave of a store with `async` flush.
#[test]
fn offsets_that_a_power_cut_took_are_not_acked_when_they_come_again() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a", "b"]);
    let kept = f.receive(1).remove(0);
    let early = tempfile::tempdir().unwrap();
    copy(f.dir.path(), early.path());
    f.append_bodies(0, &["lost-1", "lost-2"]);
    let lost = f.receive(9);
    assert_eq!(bodies(&lost), ["b", "lost-1", "lost-2"]);
    for delivery in &lost {
        f.ack(&delivery.handle).unwrap();
    }
    f.groups.close().unwrap();
    std::fs::remove_dir_all(early.path().join("delivery")).unwrap();
    copy(
        &f.dir.path().join("delivery"),
        &early.path().join("delivery"),
    );

    let g = Fixture::open(early, Options::default(), f.now);
    g.append_bodies(0, &["new-1", "new-2", "new-3"]);
    let g = g.after_kill();
    assert!(
        is_invalid(&g.ack(&lost[1].handle)),
        "the handle is of a message that is gone"
    );
    assert_eq!(bodies(&g.receive(9)), ["new-1", "new-2", "new-3"]);
    assert!(is_invalid(&g.ack(&lost[1].handle)));
    g.ack(&kept.handle).unwrap();
    g.ack(&lost[0].handle).expect("it was acked before");
}

#[test]
fn without_its_journal_a_group_begins_at_its_progress() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a", "b", "c"]);
    let held = f.receive(2);
    f.ack(&held[0].handle).unwrap();
    f.groups.tick(f.now).unwrap();
    f.groups.close().unwrap();
    f.store.close().unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(f.dir.path(), dir.path());
    std::fs::remove_dir_all(dir.path().join("delivery")).unwrap();
    let g = Fixture::open(dir, Options::default(), f.now);
    assert!(is_invalid(&g.ack(&held[1].handle)), "the secret is another");
    assert_eq!(bodies(&g.receive(9)), ["b", "c"]);
}

#[test]
fn a_closed_journal_refuses_and_closing_twice_is_no_error() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a"]);
    f.groups.close().unwrap();
    f.groups.close().unwrap();
    assert!(f.try_receive(&Filter::All, 1, INVISIBLE, false).is_err());
    let store = f.store.clone();
    drop(f.groups);
    let groups = Groups::open(store, Options::default()).unwrap();
    let request = Receive {
        group: GROUP,
        topic: TOPIC,
        filter: &Filter::All,
        most: 1,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    assert_eq!(groups.receive(&request, f.now).unwrap().messages.len(), 1);
}

/// Retention takes whole segments; what was leased in them is forgotten, and the group goes on behind them.
#[test]
fn messages_that_retention_took_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let retention = foliomq_store::Retention {
        size: Some(32 << 20),
        disk: None,
        interval: Duration::from_millis(20),
        ..Default::default()
    };
    let flush = foliomq_store::Flush::Async {
        interval: Duration::from_millis(20),
    };
    let options = foliomq_store::Options::new(dir.path())
        .segment_size(16 << 20)
        .flush(flush)
        .retention(retention);
    let store = options.open().unwrap();
    store
        .create_topic(
            TOPIC,
            foliomq_store::TopicOptions {
                queues: 1,
                ..Default::default()
            },
        )
        .unwrap();
    let groups = Groups::open(store.clone(), Options::default()).unwrap();
    let request = Receive {
        group: GROUP,
        topic: TOPIC,
        filter: &Filter::All,
        most: 1,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    let body = vec![7; 1 << 20];
    store.append(TOPIC, &Message::new(&body)).unwrap();
    let mut held = Vec::new();
    while store.offsets(TOPIC, 0).unwrap().start == 0 {
        store.append(TOPIC, &Message::new(&body)).unwrap();
        held.extend(
            groups
                .receive(&request, 0)
                .unwrap()
                .messages
                .into_iter()
                .map(|delivery| delivery.handle),
        );
    }
    let start = store.offsets(TOPIC, 0).unwrap().start;
    let queue = groups.group(GROUP).unwrap().queues.remove(0);
    assert!(
        queue.committed >= start && queue.in_flight <= queue.next - start,
        "{queue:?}"
    );
    groups
        .ack(GROUP, TOPIC, &held[0], 0)
        .expect("what is gone is done");
    let again = groups
        .receive(&request, INVISIBLE.as_millis() as u64)
        .unwrap()
        .messages
        .remove(0);
    assert!(again.message.queue_offset() >= start);
}
