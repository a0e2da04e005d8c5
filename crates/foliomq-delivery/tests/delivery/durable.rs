//! What is on the device before others build on it, in async mode too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foliomq_delivery::{LiteAction, LiteStart, LiteSync, ResetTo, Rules, Start};
use foliomq_segment::disk::{self, Flush, Operation, Verdict, Watch, Watcher};
use foliomq_store::{TopicOptions, TopicType};

use crate::fixture::{Fixture, GROUP};

/// Counts the flushes of the journal.
struct Flushes {
    journal: PathBuf,
    count: AtomicUsize,
}

impl Watcher for Flushes {
    fn before(&self, _: &Operation<'_>) -> Verdict {
        Verdict::Go
    }

    fn after(&self, operation: &Operation<'_>) {
        let is_flush = matches!(operation, Operation::Flush(Flush::Records, ..));
        if is_flush && operation.is_in(&self.journal) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn watch(fixture: &Fixture) -> (Arc<Flushes>, Watch) {
    let flushes = Arc::new(Flushes {
        journal: fixture.dir.path().join("delivery"),
        count: AtomicUsize::new(0),
    });
    (flushes.clone(), disk::watch(flushes))
}

#[test]
fn a_dead_letter_before_its_message_is_done() {
    let fixture = Fixture::new(1);
    fixture.append_bodies(0, &["a"]);
    let delivery = fixture.receive_one();
    fixture.bury(&delivery.handle).unwrap();
    let watermarks = fixture.store.watermarks();
    assert_eq!(watermarks.durable, watermarks.appended);
}

#[test]
fn where_a_new_group_begins_that_skips_what_is_there() {
    let fixture = Fixture::new(1);
    let latest = |rules: &mut Rules| rules.start = Start::Latest;
    fixture.groups.set_rules(GROUP, latest).unwrap();
    let (flushes, _watch) = watch(&fixture);
    assert!(fixture.receive(1).is_empty());
    assert!(flushes.count.load(Ordering::SeqCst) > 0);
}

#[test]
fn where_a_lite_topic_is_begun_that_skips_what_is_there() {
    let fixture = Fixture::new(1);
    let lite = TopicOptions {
        queues: 1,
        kind: TopicType::Lite,
    };
    fixture.store.create_topic("rooms", lite).unwrap();
    let (flushes, _watch) = watch(&fixture);
    let sync = LiteSync {
        group: GROUP,
        topic: "rooms",
        client: "c",
        action: LiteAction::Add,
        names: &["one".to_owned()],
        start: LiteStart::At(ResetTo::Latest),
        version: None,
    };
    fixture.groups.sync_lite(&sync, fixture.now).unwrap();
    assert!(flushes.count.load(Ordering::SeqCst) > 0);
}
