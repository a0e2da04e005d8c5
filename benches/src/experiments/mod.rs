//! The experiments, one file each, in the order of the report.

pub mod append;
pub mod coldscan;
pub mod crossprocess;
pub mod flush;
pub mod preheat;
pub mod queues;
pub mod read;
pub mod reopen;
pub mod restart;
pub mod writeout;

use anyhow::{Context, Result};

use crate::bench::Bench;
use crate::figures::Comparison;
use crate::goal::Goal;
use crate::quiet::Watch;
use crate::section::{Section, Table};

/// One question and the way to answer it.
#[derive(Debug, Clone, Copy)]
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    title: &'static str,
    question: &'static str,
    prediction: &'static str,
    measure: fn(&Bench) -> Result<Outcome>,
}

/// What an experiment measured.
#[derive(Debug)]
pub struct Outcome {
    method: String,
    tables: Vec<Table>,
    comparisons: Vec<Comparison>,
    goals: Vec<Goal>,
    finding: String,
}

impl Outcome {
    /// Of an experiment that counts device bytes, where there is no device to ask.
    fn without_device(method: String) -> Self {
        let finding =
            "Not measured: no single block device stands behind this file system.".to_owned();
        Self {
            method,
            tables: Vec::new(),
            comparisons: Vec::new(),
            goals: Vec::new(),
            finding,
        }
    }
}

/// The ratio of the comparison with this case and these sides, as the page writes it.
fn ratio(comparisons: &[Comparison], case: &str, ratio_of: &str) -> String {
    let found = comparisons
        .iter()
        .find(|c| c.case == case && c.ratio_of == ratio_of);
    found.map_or_else(|| "(not measured)".to_owned(), |c| c.ratio.to_string())
}

/// The median ratio of the comparison with this case and these sides.
fn median(comparisons: &[Comparison], case: &str, ratio_of: &str) -> Option<f64> {
    let found = comparisons
        .iter()
        .find(|c| c.case == case && c.ratio_of == ratio_of);
    found.map(|c| c.ratio.median)
}

/// All of them.
pub const ALL: [Experiment; 10] = [
    append::EXPERIMENT,
    flush::EXPERIMENT,
    read::EXPERIMENT,
    preheat::EXPERIMENT,
    writeout::EXPERIMENT,
    restart::EXPERIMENT,
    crossprocess::EXPERIMENT,
    queues::EXPERIMENT,
    reopen::EXPERIMENT,
    coldscan::EXPERIMENT,
];

impl Experiment {
    /// Waits for a quiet machine, measures, and says how quiet it was.
    pub fn run(&self, bench: &Bench) -> Result<Section> {
        let watch = Watch::begin(bench.scale.patience)?;
        let outcome = (self.measure)(bench).with_context(|| format!("measuring {}", self.name))?;
        Ok(Section {
            name: self.name,
            title: self.title,
            question: self.question,
            prediction: self.prediction,
            method: outcome.method,
            tables: outcome.tables,
            comparisons: outcome.comparisons,
            goals: outcome.goals,
            finding: outcome.finding,
            conditions: watch.end()?,
        })
    }
}
