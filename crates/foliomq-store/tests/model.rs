//! Appends, closings, crashes and progress against a model in memory.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foliomq_store::{Flush, Message, Options, Preheat, Store, TopicOptions};
use proptest::prelude::*;

use common::copy;

const QUEUES: u32 = 3;
const TOPICS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Step {
    /// To a topic's queue, a batch of so many, with bodies of so many bytes.
    Append(usize, u32, usize, usize),
    Progress(usize, u32, u64),
    Flush,
    Reopen,
    /// The files as the kernel has them are opened elsewhere.
    Crash,
    /// Every index is removed between closing and opening.
    LoseIndexes,
}

fn step() -> impl Strategy<Value = Step> {
    let topic = 0..TOPICS.len();
    prop_oneof![
        12 => (topic.clone(), 0..QUEUES, 1..5usize, 0..5000usize).prop_map(|(t, q, n, len)| Step::Append(t, q, n, len)),
        3 => (topic, 0..QUEUES, 0..100u64).prop_map(|(t, q, offset)| Step::Progress(t, q, offset)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseIndexes),
    ]
}

#[derive(Default)]
struct Model {
    bodies: HashMap<(usize, u32), Vec<Vec<u8>>>,
    progress: HashMap<(usize, u32), u64>,
}

fn open(dir: &Path) -> Store {
    let options = Options::new(dir)
        .segment_size(16 << 20)
        .preheat(Preheat::Off);
    let interval = Duration::from_millis(100);
    let store = options.flush(Flush::Async { interval }).open().unwrap();
    for name in TOPICS {
        let options = TopicOptions {
            queues: QUEUES,
            ..Default::default()
        };
        store.create_topic(name, options).unwrap();
    }
    store
}

fn reopen(store: Store, dir: PathBuf, lose: bool) -> (Store, PathBuf) {
    store.close().unwrap();
    drop(store);
    if lose {
        fs::remove_dir_all(dir.join("consumequeue")).unwrap();
        fs::remove_dir_all(dir.join("keys")).unwrap();
        fs::remove_file(dir.join("index-checkpoint")).unwrap();
    }
    (open(&dir), dir)
}

impl Model {
    fn append(&mut self, store: &Store, (topic, queue, count, len): (usize, u32, usize, usize)) {
        let sent = self.bodies.entry((topic, queue)).or_default();
        let first = sent.len();
        let bodies: Vec<_> = (0..count).map(|n| vec![(first + n) as u8; len]).collect();
        let messages: Vec<_> = bodies.iter().map(|body| Message::new(body)).collect();
        let submitted = store.submit(TOPICS[topic], Some(queue), &messages).unwrap();
        store.wait_committed(submitted.end()).unwrap();
        assert_eq!(submitted.appended[0].queue_offset, first as u64);
        sent.extend(bodies);
    }

    /// A start sets progress back that lies past the end of its queue.
    fn restart(&mut self) {
        for (queue, offset) in &mut self.progress {
            let end = self.bodies.get(queue).map_or(0, Vec::len) as u64;
            *offset = (*offset).min(end);
        }
    }

    fn check(&self, store: &Store) {
        for (&(topic, queue), sent) in &self.bodies {
            let found = store
                .read_many(TOPICS[topic], queue, 0, usize::MAX)
                .unwrap();
            assert!(
                found
                    .iter()
                    .map(|message| message.body())
                    .eq(sent.iter().map(Vec::as_slice))
            );
        }
        for (&(topic, queue), &offset) in &self.progress {
            assert_eq!(store.progress("g", TOPICS[topic], queue), Some(offset));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_the_model_holds(steps in proptest::collection::vec(step(), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        let mut store = open(&dir);
        let mut model = Model::default();
        for (n, step) in steps.into_iter().enumerate() {
            if let Step::Reopen | Step::LoseIndexes | Step::Crash = step {
                model.restart();
            }
            match step {
                Step::Append(topic, queue, count, len) => model.append(&store, (topic, queue, count, len)),
                Step::Progress(topic, queue, offset) => {
                    store.set_progress("g", TOPICS[topic], queue, offset).unwrap();
                    model.progress.insert((topic, queue), offset);
                }
                Step::Flush => store.flush().unwrap(),
                Step::Reopen => (store, dir) = reopen(store, dir, false),
                Step::LoseIndexes => (store, dir) = reopen(store, dir, true),
                Step::Crash => {
                    let image = root.path().join(format!("{}", n + 1));
                    copy(&dir, &image);
                    (store, dir) = (open(&image), image);
                }
            }
            model.check(&store);
        }
    }
}
