//! Messages that were leased, and then damaged and given up by a salvage: they hold up nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use foliomq_delivery::Options;

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC};

/// Three messages leased for the first time, of which the second is then lost.
fn leased_and_lost(options: Options) -> Fixture {
    let fixture = Fixture::with(1, options.clone());
    fixture.append_bodies(0, &["a", "b", "c"]);
    assert_eq!(fixture.receive(3).len(), 3);
    let damaged = fixture.store.read(TOPIC, 0, 1).unwrap().unwrap().position();
    fixture.groups.close().unwrap();
    fixture.store.close().unwrap();
    let Fixture {
        dir,
        store,
        groups,
        now,
        ..
    } = fixture;
    drop((groups, store));
    let log = dir.path().join("commitlog");
    let first = log.join(format!("{:020}", 0));
    let segment = File::options().write(true).open(first).unwrap();
    segment.write_all_at(b"?", damaged + 70).unwrap();
    foliomq_commitlog::salvage(&log).unwrap();
    let mut fixture = Fixture::open(dir, options, now);
    fixture.pass(INVISIBLE);
    fixture
}

fn in_flight(fixture: &Fixture) -> u64 {
    fixture.groups.group(GROUP).unwrap().queues[0].in_flight
}

#[test]
fn a_lost_message_is_not_redelivered_for_ever() {
    let fixture = leased_and_lost(Options::default());
    let again = fixture.receive(3);
    let bodies: Vec<&[u8]> = again.iter().map(|found| found.message.body()).collect();
    assert_eq!(bodies, [b"a", b"c"]);
    for delivery in &again {
        fixture.ack(&delivery.handle).unwrap();
    }
    assert_eq!(in_flight(&fixture), 0);
}

#[test]
fn a_lost_message_is_no_dead_letter() {
    let fixture = leased_and_lost(Options {
        max_attempts: 1,
        ..Options::default()
    });
    fixture.groups.tick(fixture.now).unwrap();
    let dead = format!("%DLQ%{GROUP}");
    fixture.wait_for(&dead, 0, 2);
    assert_eq!(fixture.store.read_many(&dead, 0, 0, 9).unwrap().len(), 2);
    assert_eq!(in_flight(&fixture), 0);
}
