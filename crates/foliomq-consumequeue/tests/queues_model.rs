//! The consume queues against a naive model, through crashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use foliomq_consumequeue::{ConsumeQueues, Emptied, Entry};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Put {
        queue: u32,
        count: u16,
    },
    /// Flush, and move the checkpoint to the log's end.
    Checkpoint,
    /// Flush without moving the checkpoint.
    Flush,
    Trim {
        share: u8,
    },
    Remove {
        queue: u32,
    },
    /// Lose what was not flushed, in part, and come back; the dispatcher goes on from the checkpoint.
    Crash {
        seed: u64,
    },
    /// The same, and the log itself lost its end: other records follow.
    CutLog {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u32, 1..200u16).prop_map(|(queue, count)| Step::Put { queue, count }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Flush),
        1 => any::<u8>().prop_map(|share| Step::Trim { share }),
        1 => (0..4u32).prop_map(|queue| Step::Remove { queue }),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
        1 => any::<u64>().prop_map(|seed| Step::CutLog { seed }),
    ]
}

/// What the log holds: (queue, offset, entry), by position.
#[derive(Default)]
struct Model {
    log: Vec<(u32, u64, Entry)>,
    next: BTreeMap<u32, u64>,
    checkpoint: u64,
    start: u64,
    position: u64,
    salt: u64,
}

impl Model {
    fn append(&mut self, queue: u32) -> (u32, u64, Entry) {
        let offset = self.next.entry(queue).or_default();
        let entry = Entry {
            position: self.position,
            size: 64,
            tag_hash: self.salt,
            store_time: self.position / 7,
        };
        let record = (queue, *offset, entry);
        *offset += 1;
        self.position += 64;
        self.log.push(record);
        record
    }

    fn entries(&self, queue: u32) -> Vec<(u64, Entry)> {
        let mine = self
            .log
            .iter()
            .filter(|record| record.0 == queue && record.2.position >= self.start);
        mine.map(|record| (record.1, record.2)).collect()
    }
}

/// Goes back to `flushed`, but for sectors that the device happened to have written already.
fn crash(live: &Path, flushed: &Path, mut seed: u64) {
    for file in fs::read_dir(live).unwrap() {
        let path = file.unwrap().path();
        let new = fs::read(&path).unwrap();
        let mut old = fs::read(flushed.join(path.file_name().unwrap())).unwrap_or_default();
        // A file of words is made whole; the extent log may have any length between.
        old.resize(
            if old.is_empty() {
                new.len()
            } else {
                old.len().max(new.len())
            },
            0,
        );
        for (old, new) in old.chunks_mut(512).zip(new.chunks(512)) {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            if seed >> 63 == 1 {
                old[..new.len()].copy_from_slice(new);
            }
        }
        fs::write(path, old).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn check(queues: &ConsumeQueues, model: &Model) {
    for queue in 0..4 {
        let expected = model.entries(queue);
        let range = queues.offsets(queue);
        assert_eq!(
            range.end - range.start,
            expected.len() as u64,
            "queue {queue}: {range:?}"
        );
        let mut entries = Vec::new();
        queues.entries(queue, 0, usize::MAX, &mut entries).unwrap();
        assert_eq!(
            entries,
            expected.iter().map(|record| record.1).collect::<Vec<_>>()
        );
        if let Some(&(offset, entry)) = expected.get(expected.len() / 2) {
            assert_eq!(queues.entry(queue, offset).unwrap(), Some(entry));
            let first = expected
                .iter()
                .find(|record| record.1.store_time >= entry.store_time)
                .unwrap();
            assert_eq!(queues.offset_at(queue, entry.store_time).unwrap(), first.0);
        }
    }
}

fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let (live, flushed) = (dir.path().join("live"), dir.path().join("flushed"));
    let mut queues = ConsumeQueues::open(&live, 0).unwrap();
    copy(&live, &flushed);
    let mut model = Model::default();
    let mut removed = Vec::new();
    for step in steps {
        match step {
            Step::Put { queue, count } => {
                for _ in 0..count {
                    let (queue, offset, entry) = model.append(queue);
                    queues.put(queue, offset, entry).unwrap();
                }
            }
            Step::Checkpoint | Step::Flush => {
                queues.flush().unwrap();
                copy(&live, &flushed);
                if matches!(step, Step::Checkpoint) {
                    model.checkpoint = model.position;
                    removed.clear();
                }
            }
            Step::Trim { share } => {
                let held: Vec<u32> = (0..4).filter(|&q| !model.entries(q).is_empty()).collect();
                model.start +=
                    (model.checkpoint.saturating_sub(model.start)) * u64::from(share) / 255 / 64
                        * 64;
                let mut emptied = queues.trim(model.start);
                emptied.sort_unstable_by_key(|one| one.queue);
                emptied.retain(|one| held.contains(&one.queue));
                let expected = held.into_iter().filter(|&q| model.entries(q).is_empty());
                let expected = expected.map(|queue| Emptied {
                    queue,
                    next: model.next[&queue],
                });
                assert_eq!(emptied, expected.collect::<Vec<_>>());
            }
            Step::Remove { queue } => {
                queues.remove(queue);
                model.log.retain(|record| record.0 != queue);
                model.next.remove(&queue);
                removed.push(queue);
            }
            Step::Crash { seed } | Step::CutLog { seed } => {
                if matches!(step, Step::CutLog { .. }) {
                    model.salt += 1;
                    model
                        .log
                        .retain(|record| record.2.position < model.checkpoint);
                    model.position = model.checkpoint;
                    for (queue, next) in &mut model.next {
                        let last = model.log.iter().rfind(|record| record.0 == *queue);
                        *next = last.map_or(0, |record| record.1 + 1);
                    }
                }
                drop(queues);
                crash(&live, &flushed, seed);
                queues = ConsumeQueues::open(&live, model.checkpoint).unwrap();
                // The store removes what it knows to be deleted, and trims to the log's start.
                removed.iter().for_each(|&queue| queues.remove(queue));
                queues.trim(model.start);
                for &(queue, offset, entry) in model
                    .log
                    .iter()
                    .filter(|record| record.2.position >= model.checkpoint)
                {
                    queues.put(queue, offset, entry).unwrap();
                }
            }
        }
        check(&queues, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queues_agree_with_a_model(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}
