//! The log against a vector.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use common::{SEGMENT, all, draft, options};
use foliomq_commitlog::{CommitLog, Flush, Options, ReadMode};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a test does to the log.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Batch(Vec<usize>),
    Flush,
    /// Close and open.
    Reopen,
    /// Open as after a kill: without the clean mark.
    Kill,
    /// Lose, counted from the end, this share (of 256) of what is not durable, and put garbage or zeros there.
    Tear(u8, Option<u8>),
    /// Retention up to this share (of 256) of the log.
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..200usize, 2 => 0..5000usize, 1 => 0..60_000usize];
    prop_oneof![
        8 => size.clone().prop_map(Step::Append),
        3 => vec(0..3000usize, 0..8).prop_map(Step::Batch),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        2 => (any::<u8>(), any::<Option<u8>>()).prop_map(|(share, byte)| Step::Tear(share, byte)),
        1 => any::<u8>().prop_map(Step::Delete),
    ]
}

/// A log, what it should hold, and where it lies.
struct Pair {
    dir: tempfile::TempDir,
    mode: ReadMode,
    log: CommitLog,
    /// Position and message of each record.
    model: Vec<(u64, Vec<u8>)>,
    next: AtomicU64,
    durable: u64,
}

fn open(dir: &Path, read_mode: ReadMode) -> CommitLog {
    let flush = Flush::Async {
        interval: std::time::Duration::from_secs(3600),
    };
    CommitLog::open(Options {
        flush,
        read_mode,
        ..options(dir)
    })
    .unwrap()
    .0
}

fn message(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + seed) as u8).collect()
}

impl Pair {
    fn new(mode: ReadMode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), mode);
        Self {
            dir,
            mode,
            log,
            model: Vec::new(),
            next: AtomicU64::new(0),
            durable: 0,
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(len) => self.append(&[*len]),
            Step::Batch(lens) => self.append(lens),
            Step::Flush => self.log.flush().unwrap(),
            Step::Reopen => {
                self.log.close().unwrap();
                self.reopen(|_| {});
            }
            Step::Kill => self.kill(|_, _| {}),
            Step::Tear(share, byte) => self.tear(*share, *byte),
            Step::Delete(share) => {
                let start = self
                    .log
                    .delete_before(self.log.watermarks().appended * u64::from(*share) / 256)
                    .unwrap();
                self.model.retain(|(position, _)| *position >= start);
            }
        }
        self.durable = self.log.watermarks().durable;
    }

    fn append(&mut self, lens: &[usize]) {
        let messages: Vec<Vec<u8>> = lens
            .iter()
            .map(|&len| message(len, self.model.len()))
            .collect();
        let parts: Vec<[&[u8]; 1]> = messages.iter().map(|message| [&message[..]]).collect();
        let drafts: Vec<_> = parts.iter().map(|parts| draft(&self.next, parts)).collect();
        let appended = self.log.append_batch(&drafts).unwrap();
        self.model.extend(
            appended
                .iter()
                .map(|appended| appended.position)
                .zip(messages),
        );
    }

    /// Replaces the folder by what it was before closing, changed by `damage`, which is told the log's end.
    fn kill(&mut self, damage: impl FnOnce(&Path, u64)) {
        let end = self.log.watermarks().appended;
        let saved = fs::read(self.dir.path().join("checkpoint")).unwrap();
        self.log.close().unwrap();
        self.reopen(|dir| {
            fs::write(dir.join("checkpoint"), saved).unwrap();
            damage(dir, end);
        });
    }

    fn tear(&mut self, share: u8, byte: Option<u8>) {
        // The checkpoint may know less than was flushed, never more.
        let end = self.log.watermarks().appended;
        let from = end - (end - self.durable) * u64::from(share) / 256;
        self.kill(|dir, end| {
            let mut position = from;
            while position < end {
                let step = (SEGMENT - position % SEGMENT).min(end - position);
                let path = dir.join(format!("{:020}", position / SEGMENT * SEGMENT));
                let file = File::options().write(true).open(path).unwrap();
                file.write_all_at(&vec![byte.unwrap_or(0); step as usize], position % SEGMENT)
                    .unwrap();
                position += step;
            }
        });
        // What ended at or below the damage is there; of what follows nothing, except where it was no change.
        let found = all(&self.log).len();
        let whole = self
            .model
            .iter()
            .filter(|(position, message)| position + size(message) <= from)
            .count();
        assert!(found >= whole && found <= whole + 1, "{found} of {whole}");
        self.model.truncate(found);
    }

    fn reopen(&mut self, change: impl FnOnce(&Path)) {
        let Self { dir, mode, .. } = self;
        let elsewhere = tempfile::tempdir().unwrap();
        self.log = open(elsewhere.path(), *mode);
        change(dir.path());
        self.log = open(dir.path(), *mode);
    }

    fn check(&self) {
        let records = all(&self.log);
        let found: Vec<(u64, &[u8])> = records
            .iter()
            .map(|record| (record.position(), record.message()))
            .collect();
        let expected: Vec<(u64, &[u8])> = self
            .model
            .iter()
            .map(|(at, message)| (*at, &message[..]))
            .collect();
        assert!(
            found == expected,
            "{} records, {} expected",
            found.len(),
            expected.len()
        );
        for (position, message) in &self.model {
            assert_eq!(self.log.read(*position).unwrap().message(), message);
        }
    }
}

fn size(message: &[u8]) -> u64 {
    (64 + "topic".len() as u64 + message.len() as u64).next_multiple_of(8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_holds_what_the_vector_holds(steps in vec(step(), 1..40), buffered in any::<bool>()) {
        let mode = if buffered { ReadMode::Buffered } else { ReadMode::Mapped };
        let mut pair = Pair::new(mode);
        for step in &steps {
            pair.apply(step);
            pair.check();
        }
    }
}
