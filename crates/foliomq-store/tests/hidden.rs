//! Messages that are in no queue yet: revealed, cancelled, carried forward, over restarts and crashes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foliomq_store::{
    Awaits, Flush, LedgerEvent, Message, Options, Preheat, Retention, Store, StoreError,
    TopicOptions, verify,
};
use proptest::prelude::*;

use common::copy;

const TOPIC: &str = "t";
const QUEUES: u32 = 2;
const SEGMENT: u64 = 64 << 10;

fn options(dir: &Path) -> Options {
    let interval = Duration::from_millis(100);
    let flush = Flush::Async { interval };
    let options = Options {
        max_body: 30_000,
        ..Options::new(dir).segment_size(SEGMENT)
    };
    options.preheat(Preheat::Off).flush(flush)
}

fn open(options: Options) -> Store {
    let store = options.open().unwrap();
    let queues = QUEUES;
    let options = TopicOptions {
        queues,
        ..TopicOptions::default()
    };
    store.create_topic(TOPIC, options).unwrap();
    store
}

fn hide(store: &Store, queue: Option<u32>, awaits: Awaits, message: Message<'_>) -> u64 {
    let messages = [(awaits, &message)];
    let appended = store.submit_hidden(TOPIC, queue, &messages);
    let appended = appended.unwrap()[0];
    store.wait_committed(appended.end()).unwrap();
    appended.position
}

fn reveal(store: &Store, position: u64) {
    let revealed = store.reveal(&[position]).unwrap();
    assert_eq!((revealed.taken, revealed.refused), (1, vec![]));
    store.wait_committed(revealed.end).unwrap();
}

fn events(store: &Store) -> Vec<LedgerEvent> {
    store.catch_up();
    let mut lines = Vec::new();
    let next = store.ledger(0, usize::MAX, &mut lines).unwrap();
    assert!(next >= lines.len() as u64);
    lines.iter().map(|line| line.event).collect()
}

fn bodies(store: &Store, queue: u32) -> Vec<Vec<u8>> {
    let found = store.read_many(TOPIC, queue, 0, usize::MAX).unwrap();
    let mut cursor = store.cursor(TOPIC, queue, 0).unwrap();
    for message in &found {
        let same = cursor.next().unwrap().unwrap();
        assert_eq!((same.body(), same.tag()), (message.body(), message.tag()));
        assert_eq!(same.queue_offset(), message.queue_offset());
        assert_eq!(same.position(), message.position());
        assert_eq!((same.queue_id(), message.queue_id()), (queue, queue));
    }
    assert!(cursor.next().unwrap().is_none());
    found
        .iter()
        .map(|message| message.body().to_vec())
        .collect()
}

#[test]
fn a_hidden_message_comes_into_its_queue_when_it_is_revealed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let message = Message::new(b"later").tag("a").key("k").id("the id");
    let message = message.property("p", "v");
    let hidden = hide(&store, Some(1), Awaits::Time(77), message);
    store.append_to(TOPIC, 1, &Message::new(b"first")).unwrap();
    assert_eq!(bodies(&store, 1), [b"first"]);
    assert!(store.find_by_key(TOPIC, "k", 9).unwrap().is_empty());
    {
        let found = store.hidden(hidden).unwrap();
        assert_eq!((found.id, found.queue), (hidden, Some(1)));
        assert_eq!(found.awaits, Awaits::Time(77));
    }
    // By its id it is found as what it is, and in no queue.
    let found = |id: &str| store.find_delayed(TOPIC, id).unwrap();
    assert_eq!(found("the id").map(|found| found.id), Some(hidden));
    assert!(found("k").is_none());
    assert!(store.find_by_id(TOPIC, "the id", 9).unwrap().is_empty());

    reveal(&store, hidden);
    store.append_to(TOPIC, 1, &Message::new(b"last")).unwrap();
    assert_eq!(bodies(&store, 1), [&b"first"[..], b"later", b"last"]);
    let read = store.read(TOPIC, 1, 1).unwrap().unwrap();
    assert_eq!((read.tag(), &*read.id()), (Some("a"), "the id"));
    assert_eq!(read.properties().collect::<Vec<_>>(), [("p", "v")]);
    assert!(store.is_mapped(read.body()));
    for found in [
        store.find_by_key(TOPIC, "k", 9).unwrap(),
        store.find_by_id(TOPIC, "the id", 9).unwrap(),
    ] {
        assert_eq!((found.len(), found[0].queue_offset()), (1, 1));
    }
    assert_eq!(found("the id").map(|found| found.id), Some(hidden));
    let times: Vec<u64> = (0..3)
        .map(|offset| store.read(TOPIC, 1, offset).unwrap().unwrap().store_time())
        .collect();
    assert!(times.is_sorted(), "{times:?}");

    let reader = Store::open_reader(dir.path()).unwrap();
    let start = reader.watermarks().start;
    let messages: Result<Vec<_>, _> = reader.messages(start).of_queue(1).collect();
    let messages_of_reader = messages.unwrap();
    let seen: Vec<_> = messages_of_reader
        .iter()
        .map(|message| message.body())
        .collect();
    assert_eq!(seen, [&b"first"[..], b"later", b"last"]);
    let at = reader.read_at(read.position()).unwrap();
    assert_eq!((at.body(), at.queue_offset()), (&b"later"[..], 1));
    drop((read, at, reader, messages_of_reader, store));
    let report = verify(dir.path()).unwrap();
    assert!(report.sound(), "{:?}", report.findings);
    assert_eq!((report.log.messages, report.compared), (3, 3));
}

#[test]
fn a_message_of_a_topic_that_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let hidden = hide(&store, None, Awaits::Decision(9), Message::new(b"x"));
    store.delete_topic(TOPIC).unwrap();
    let gone = |store: &Store| match &store.reveal(&[hidden]).unwrap().refused[..] {
        [(position, StoreError::UnknownTopic { .. })] => *position == hidden,
        _ => false,
    };
    assert!(gone(&store));
    store.create_topic(TOPIC, TopicOptions::default()).unwrap();
    assert!(gone(&store), "the topic of this name is another one");
    assert!(store.hidden(hidden + 8).is_err());
}

/// Keeps four segments at most, looked at all the time.
fn small(dir: &Path) -> Options {
    let retention = Retention {
        size: Some(4 * SEGMENT),
        interval: Duration::from_millis(20),
        ..Retention::default()
    };
    options(dir).retention(retention)
}

fn fill(store: &Store, segments: u64) {
    for _ in 0..segments * 4 {
        store
            .append_to(TOPIC, 0, &Message::new(&[1; 20_000]))
            .unwrap();
    }
}

fn await_that(what: &str, done: impl Fn() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}");
}

#[test]
fn retention_leaves_hidden_messages_alone_until_they_are_carried_forward() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(small(dir.path()));
    fill(&store, 1);
    let awaits = Awaits::Time(1 << 50);
    let first = hide(&store, Some(1), awaits, Message::new(b"kept").id("i"));
    fill(&store, 8);
    await_that("held back", || store.held_back().is_some());
    assert!(store.watermarks().start <= first);
    let wanted = store.held_back().unwrap();
    assert!(wanted > first);

    let carried = store.carry(first).unwrap();
    store.wait_committed(carried.end()).unwrap();
    store.keep_from(wanted).unwrap();
    await_that("dropped", || store.watermarks().start > first);
    assert!(matches!(
        store.hidden(first),
        Err(StoreError::Deleted { .. })
    ));
    let found = store.hidden(carried.position).unwrap();
    assert_eq!((found.id, found.awaits), (first, awaits));
    drop((found, store));
    let store = open(small(dir.path()));
    assert_eq!(events(&store), [LedgerEvent::Carried]);
    reveal(&store, carried.position);
    assert_eq!(bodies(&store, 1), [b"kept"]);
    assert_eq!(events(&store)[1], LedgerEvent::Revealed { id: first });
}

#[test]
fn what_leaves_soon_is_carried_forward_when_it_is_revealed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(small(dir.path()));
    let first = hide(&store, Some(1), Awaits::Time(0), Message::new(b"old"));
    fill(&store, 3);
    reveal(&store, first);
    store.keep_from(u64::MAX).unwrap();
    fill(&store, 1);
    await_that("dropped", || store.watermarks().start > first);
    assert_eq!(bodies(&store, 1), [b"old"]);
}

#[test]
fn a_revealed_message_whose_segment_is_gone_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(small(dir.path()));
    let first = hide(&store, Some(1), Awaits::Time(0), Message::new(b"old"));
    fill(&store, 1);
    reveal(&store, first);
    store.append_to(TOPIC, 1, &Message::new(b"next")).unwrap();
    store.keep_from(u64::MAX).unwrap();
    // One segment more than retention leaves: the first goes, the one with the control record stays.
    while store.watermarks().start <= first && store.segments().len() <= 4 {
        store
            .append_to(TOPIC, 0, &Message::new(&[1; 20_000]))
            .unwrap();
    }
    await_that("dropped", || store.watermarks().start > first);
    let offsets = store.offsets(TOPIC, 1).unwrap();
    assert_eq!(offsets, 0..2, "its place in the queue is still there");
    let read = store.read_many(TOPIC, 1, 0, 9).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].body(), read[0].queue_offset()), (&b"next"[..], 1));
    let mut cursor = store.cursor(TOPIC, 1, 0).unwrap();
    assert_eq!(cursor.next().unwrap().unwrap().body(), b"next");
    let mut tail = store.tail(TOPIC, 1, 0).unwrap();
    assert_eq!(tail.try_next().unwrap().unwrap().body(), b"next");
}

#[derive(Debug, Clone)]
enum Step {
    Append(u32),
    /// To this queue, or any.
    Hide(u32, bool),
    /// The hidden message of this number, of those that are left.
    Reveal(usize),
    Cancel(usize),
    Carry(usize),
    Flush,
    Reopen,
    /// The files as the kernel has them are opened elsewhere.
    Crash,
    LoseIndexes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..QUEUES).prop_map(Step::Append),
        8 => (0..QUEUES, any::<bool>()).prop_map(|(queue, decision)| Step::Hide(queue, decision)),
        6 => (0..9usize).prop_map(Step::Reveal),
        2 => (0..9usize).prop_map(Step::Cancel),
        2 => (0..9usize).prop_map(Step::Carry),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
        1 => Just(Step::LoseIndexes),
    ]
}

/// What should be there.
#[derive(Default)]
struct Model {
    count: u32,
    queues: [Vec<Vec<u8>>; QUEUES as usize],
    /// Id, where it lies, queue, body.
    hidden: Vec<(u64, u64, u32, Vec<u8>)>,
    events: Vec<LedgerEvent>,
}

impl Model {
    fn body(&mut self) -> Vec<u8> {
        self.count += 1;
        vec![self.count as u8; 1000 + 97 * (self.count as usize % 50)]
    }

    fn step(&mut self, store: &Store, step: &Step) {
        let left = self.hidden.len().max(1);
        match *step {
            Step::Append(queue) => {
                let body = self.body();
                store.append_to(TOPIC, queue, &Message::new(&body)).unwrap();
                self.queues[queue as usize].push(body);
            }
            Step::Hide(queue, decision) => {
                let body = self.body();
                let awaits = match decision {
                    true => Awaits::Decision(u64::from(self.count)),
                    false => Awaits::Time(u64::from(self.count)),
                };
                let id = hide(store, Some(queue), awaits, Message::new(&body).tag("x"));
                self.events.push(LedgerEvent::Hidden(awaits));
                self.hidden.push((id, id, queue, body));
            }
            _ if self.hidden.is_empty() => {}
            Step::Reveal(n) => {
                let (id, position, queue, body) = self.hidden.remove(n % left);
                reveal(store, position);
                self.events.push(LedgerEvent::Revealed { id });
                self.queues[queue as usize].push(body);
            }
            Step::Cancel(n) => {
                let (id, position, ..) = self.hidden.remove(n % left);
                store
                    .wait_committed(store.cancel(id, position).unwrap())
                    .unwrap();
                self.events.push(LedgerEvent::Cancelled { id });
            }
            Step::Carry(n) => {
                let one = &mut self.hidden[n % left];
                let carried = store.carry(one.1).unwrap();
                store.wait_committed(carried.end()).unwrap();
                one.1 = carried.position;
                self.events.push(LedgerEvent::Carried);
            }
            _ => {}
        }
    }

    fn check(&self, store: &Store) {
        for (queue, expected) in (0..).zip(&self.queues) {
            assert_eq!(&bodies(store, queue), expected);
        }
        assert_eq!(events(store), self.events);
        for (id, position, queue, body) in &self.hidden {
            let found = store.hidden(*position).unwrap();
            assert_eq!((found.id, found.queue), (*id, Some(*queue)));
            assert_eq!(found.message.body(), body);
        }
    }
}

fn lose_indexes(dir: &Path) {
    fs::remove_dir_all(dir.join("consumequeue")).unwrap();
    fs::remove_dir_all(dir.join("keys")).unwrap();
    fs::remove_file(dir.join("index-checkpoint")).unwrap();
}

fn reopen(store: Store, dir: &Path, lose: bool) -> Store {
    drop(store);
    let report = verify(dir).unwrap();
    assert!(report.sound(), "{:?}", report.findings);
    if lose {
        lose_indexes(dir);
    }
    open(options(dir))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_the_model_holds(steps in proptest::collection::vec(step(), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let mut dir: PathBuf = root.path().join("0");
        let mut store = open(options(&dir));
        let mut model = Model::default();
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Flush => store.flush().unwrap(),
                Step::Reopen => store = reopen(store, &dir, false),
                Step::LoseIndexes => store = reopen(store, &dir, true),
                Step::Crash => {
                    let image = root.path().join(format!("{}", n + 1));
                    copy(&dir, &image);
                    dir = image;
                    store = open(options(&dir));
                }
                step => model.step(&store, step),
            }
            model.check(&store);
        }
    }
}
