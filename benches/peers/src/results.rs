//! What a whole run of the comparison found, and what follows from it.

use foliomq_benches::figures::Spread;
use foliomq_benches::machine::Machine;
use serde::Serialize;

use crate::child::Found;
use crate::evidence::{Calls, Killed};
use crate::peer::{Flush, Name};
use crate::plan::{Case, Plan, READ_BATCH};

/// The JSON file, and what the page is made of.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The command that produced it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// Cores that others kept busy meanwhile, in the mean.
    pub others: f64,
    /// How much was measured.
    pub plan: Plan,
    /// Seconds that all of it took.
    pub took: f64,
    /// Messages per second.
    pub rows: Vec<Row>,
    /// Counted system calls; none where strace cannot be run.
    pub calls: Option<Vec<Calls>>,
    /// What `kill -9` left.
    pub killed: Vec<Killed>,
    /// The numbers that have a target.
    pub verdicts: Vec<Verdict>,
}

/// What is done to the messages of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// They are appended.
    Append,
    /// All are read in order: the fastest of the passes.
    Read,
    /// The same per second of processor time of the reader: what remains true on a busy machine.
    ReadProcessor,
    /// The first of the passes.
    FirstRead,
}

/// One kind of work in one case, by system.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Flush, size, batch.
    pub case: Case,
    /// Append or read.
    pub work: Work,
    /// Of each system that can do it, a sample for each round.
    pub samples: Vec<(Name, Vec<f64>)>,
}

fn fastest(passes: &[f64]) -> f64 {
    passes.iter().copied().fold(0.0, f64::max)
}

/// A number with a target.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// What was measured.
    pub what: String,
    /// The fastest of the others.
    pub against: Name,
    /// FolioMQ's rate divided by that of the other, round by round.
    pub ratio: Spread,
    /// The least that is wanted, if something was said of this size.
    pub target: Option<f64>,
}

impl Row {
    /// The row of appends in a case.
    pub fn appends(case: Case, samples: Vec<(Name, Vec<f64>)>) -> Self {
        let work = Work::Append;
        Self {
            case,
            work,
            samples,
        }
    }

    /// The rows of reads: the fastest pass of each round, the same per processor time, and the first pass.
    pub fn reads(body: usize, found: &[(Name, Vec<Found>)]) -> [Self; 3] {
        let row = |work, pick: fn(&Found) -> f64| Self {
            case: Case {
                flush: Flush::Never,
                body,
                batch: READ_BATCH,
            },
            work,
            samples: found
                .iter()
                .map(|(name, rounds)| (*name, rounds.iter().map(pick).collect()))
                .collect(),
        };
        [
            row(Work::Read, |found| fastest(&found.read)),
            row(Work::ReadProcessor, |found| fastest(&found.read_processor)),
            row(Work::FirstRead, |found| {
                found.read.first().copied().unwrap_or_default()
            }),
        ]
    }

    /// Median and spread of one system.
    pub fn spread(&self, name: Name) -> Option<Spread> {
        let (_, samples) = self.samples.iter().find(|(other, _)| *other == name)?;
        Some(Spread::of(samples))
    }

    /// The system with the highest median besides FolioMQ.
    fn fastest_other(&self) -> Option<&(Name, Vec<f64>)> {
        let others = self
            .samples
            .iter()
            .filter(|(name, _)| *name != Name::Foliomq);
        others.max_by(|(_, a), (_, b)| Spread::of(a).median.total_cmp(&Spread::of(b).median))
    }

    /// FolioMQ against the fastest other.
    pub fn verdict(&self) -> Option<Verdict> {
        let (_, ours) = self
            .samples
            .iter()
            .find(|(name, _)| *name == Name::Foliomq)?;
        let (against, theirs) = self.fastest_other()?;
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        Some(Verdict {
            what: self.title(),
            against: *against,
            ratio: Spread::of(&ratios),
            target: self.target(),
        })
    }

    /// `append, 1 KiB, batches of 100, each flushed`.
    pub fn title(&self) -> String {
        let Case { flush, body, batch } = self.case;
        let work = match self.work {
            Work::Append => "append",
            Work::Read => "sequential read",
            Work::ReadProcessor => "sequential read, per processor time",
            Work::FirstRead => "sequential read, first pass",
        };
        let how = match batch {
            1 => "one at a time".to_owned(),
            _ => format!("batches of {batch}"),
        };
        let flush = match flush {
            Flush::Never => "nothing flushed",
            Flush::Each => "each flushed",
        };
        let body = foliomq_benches::figures::bytes(body as u64);
        match self.work {
            Work::Append => format!("{work}, {body}, {how}, {flush}"),
            _ => format!("{work}, {body}"),
        }
    }

    fn target(&self) -> Option<f64> {
        match (self.work, self.case) {
            (
                Work::Append,
                Case {
                    flush: Flush::Each, ..
                },
            ) => Some(1.0),
            (Work::Append, Case { body: 1024, .. }) => Some(2.5),
            (Work::Read, Case { body: 1024, .. }) => Some(1.5),
            _ => None,
        }
    }
}

impl Verdict {
    /// `met`, `short`, or that nothing was asked.
    pub fn word(&self) -> &'static str {
        match self.target {
            None => "no target",
            Some(target) if self.ratio.median >= target => "met",
            Some(_) => "short",
        }
    }
}
