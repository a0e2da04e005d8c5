//! Mapped reads against `pread`, `BufReader` and chunks: `make bench-read`.
#![forbid(unsafe_code)]

mod drawing;
mod drive;
mod log;
mod measure;
mod page;
mod plan;
mod results;
mod stage;
mod targets;
mod ways;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use foliomq_benches::floors::Budget;
use foliomq_benches::machine::Machine;
use foliomq_benches::memory_limit::MemoryLimit;
use foliomq_benches::quiet::Watch;

use crate::measure::Stages;
use crate::plan::{Condition, Order, Plan};
use crate::results::{Case, Results, Row};

/// Measures the ways to read, and writes `read.json`, `read.md` and the figures.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the results go.
    #[arg(long)]
    out: PathBuf,
    /// Where the stores go: a folder on the disk to measure. They are removed at the end.
    #[arg(long, default_value = "target/benches")]
    dir: PathBuf,
    /// Measures less: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Just enough to see that it runs.
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
    /// Counted rounds.
    #[arg(long)]
    rounds: Option<usize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut plan = match (arguments.quick, arguments.smoke) {
        (true, _) => Plan::quick(),
        (_, true) => Plan::smoke(),
        _ => Plan::full(),
    };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds);
    fs::create_dir_all(&arguments.dir).context("creating the folder of the stores")?;
    let results = measure(&arguments.dir, plan)?;
    write(&arguments.out, &results)?;
    for verdict in results.verdicts() {
        let (what, target, word) = (&verdict.what, verdict.target, verdict.word());
        let (ratio, processor) = (verdict.ratio, verdict.processor);
        println!("{what:<60} {ratio}, per processor time {processor}, target {target}: {word}");
    }
    Ok(())
}

fn measure(folder: &Path, plan: Plan) -> Result<Results> {
    let machine = Machine::of(folder, Budget::of(plan.name))?;
    let (begin, watch) = (Instant::now(), Watch::begin(Duration::ZERO)?);
    let (conditions, skipped) = possible();
    let mut rows = Vec::new();
    for &body in &plan.bodies {
        eprintln!(
            "{:>4.0} s  bodies of {body} B",
            begin.elapsed().as_secs_f64()
        );
        let mut stages = Stages::fill(folder, &plan, body)?;
        for &condition in &conditions {
            for order in Order::ALL {
                let case = Case {
                    body,
                    order,
                    condition,
                };
                let cells = stages
                    .measure(&plan, case)
                    .with_context(|| format!("{case:?}"))?;
                rows.push(Row { case, cells });
            }
        }
    }
    Ok(Results {
        command: command(),
        machine,
        beside: watch.end()?,
        plan,
        rows,
        skipped,
    })
}

/// The conditions that this machine allows, and what is left out, with the reason.
fn possible() -> (Vec<Condition>, Vec<String>) {
    let mut conditions = Condition::ALL.to_vec();
    let mut skipped = Vec::new();
    if let Err(error) = MemoryLimit::enter(1 << 30) {
        eprintln!("skipped: reading with half the memory: {error:#}");
        skipped.push(format!("reading with half the memory: {error:#}."));
        conditions.retain(|condition| *condition != Condition::Pressure);
    }
    (conditions, skipped)
}

fn write(folder: &Path, results: &Results) -> Result<()> {
    fs::create_dir_all(folder)?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };
    write("read.json", &serde_json::to_string_pretty(results)?)?;
    write("read.md", &results.page())?;
    let mut figures = results.figures().into_iter();
    figures.try_for_each(|(name, figure)| write(name, &figure.svg()))
}

fn command() -> String {
    let quick = std::env::args().any(|argument| argument == "--quick");
    format!("make bench-read{}", if quick { " QUICK=1" } else { "" })
}
