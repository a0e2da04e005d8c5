//! Runs the experiments and writes the report.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use foliomq_benches::bench::Bench;
use foliomq_benches::child;
use foliomq_benches::experiments::{self, Experiment};
use foliomq_benches::floors::Budget;
use foliomq_benches::goal::{self, Goal};
use foliomq_benches::machine::Machine;
use foliomq_benches::report::Report;
use foliomq_benches::scale::Scale;
use foliomq_benches::victim;

/// Measures the store: two things side by side in one run, as a ratio.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Writes the report to this file instead of to standard output.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes every sample to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures less: under a minute.
    #[arg(long)]
    quick: bool,
    /// Just enough to see that it runs.
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
    /// Appends to the store in this folder until it is killed.
    #[arg(long, hide = true, value_name = "FOLDER")]
    victim: Option<PathBuf>,
    /// Takes the goals of the comparison with other crates from this file.
    #[arg(long, value_name = "FILE")]
    crates: Option<PathBuf>,
    /// Only these experiments: append, flush, read, preheat, writeout, restart,
    /// crossprocess, queues, reopen, coldscan.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the stores go: a folder on the disk to measure. They are removed at the end.
    #[arg(long, value_name = "FOLDER", default_value = "target/benches")]
    dir: PathBuf,
    /// Counted rounds.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// How long to wait, before each experiment, for the machine to become quiet.
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
}

impl Arguments {
    fn scale(&self) -> Scale {
        let mut scale = match (self.quick, self.smoke) {
            (true, _) => Scale::quick(),
            (_, true) => Scale::smoke(),
            _ => Scale::full(),
        };
        scale.rounds = self.rounds.map_or(scale.rounds, usize::from);
        scale.patience = self.patience.map_or(scale.patience, Duration::from_secs);
        scale
    }

    fn goals_of_crates(&self) -> Result<Vec<Goal>> {
        let Some(file) = &self.crates else {
            return Ok(Vec::new());
        };
        let json =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        goal::of_crates(&json).with_context(|| format!("in {}", file.display()))
    }

    fn experiments(&self) -> Result<Vec<Experiment>> {
        for name in &self.only {
            let known = experiments::ALL.map(|experiment| experiment.name);
            ensure!(
                known.contains(&name.as_str()),
                "no experiment {name:?}; there are {}",
                known.join(", ")
            );
        }
        let asked =
            |e: &Experiment| self.only.is_empty() || self.only.iter().any(|name| name == e.name);
        Ok(experiments::ALL.into_iter().filter(asked).collect())
    }
}

fn main() -> Result<()> {
    if let Some(done) = experiments::crossprocess::read_if_asked() {
        return done;
    }
    if child::run_if_told()? {
        return Ok(());
    }
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.victim {
        return victim::run(folder);
    }
    let report = measure(&arguments)?;
    match &arguments.report {
        Some(file) => {
            write(file, &report.markdown())?;
            print!("{}", report.held_to());
        }
        None => print!("{}", report.markdown()),
    }
    if let Some(file) = &arguments.json {
        write(file, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let begin = Instant::now();
    let bench = Bench::new(&arguments.dir, arguments.scale())?;
    let machine = Machine::of(bench.folder(), Budget::of(bench.scale.name))?;
    let mut sections = Vec::new();
    for experiment in arguments.experiments()? {
        eprintln!(
            "{:>5.0} s  {}",
            begin.elapsed().as_secs_f64(),
            experiment.name
        );
        sections.push(experiment.run(&bench)?);
    }
    let took = begin.elapsed().as_secs_f64();
    Ok(Report {
        command: command(),
        machine,
        scale: bench.scale.clone(),
        sections,
        goals: arguments.goals_of_crates()?,
        took,
    })
}

/// The command that repeats this run.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = arguments.join(" ");
    format!("cargo run --locked --release -q -p foliomq-benches -- {arguments}")
        .trim_end_matches(" -- ")
        .to_owned()
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
