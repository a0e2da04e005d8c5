//! FolioMQ's store beside the crates that a Rust program would pick instead: `make bench-crates`.
#![forbid(unsafe_code)]

mod child;
mod drawing;
mod driver;
mod evidence;
mod notes;
mod page;
mod peer;
mod peers;
mod plan;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use foliomq_benches::floors::Budget;
use foliomq_benches::machine::Machine;
use foliomq_benches::quiet::Watch;

use crate::driver::Driver;
use crate::plan::Plan;
use crate::results::{Results, Row, Work};

/// Compares FolioMQ's store with other crates.
#[derive(Debug, Parser)]
enum Command {
    /// Runs all of them in turn, and writes the results.
    Measure(Measure),
    /// Runs one of them once, in this process, and prints what it found as JSON.
    Run(child::Run),
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Where `crates.json`, `crates.md` and `crates.svg` go.
    #[arg(long)]
    out: PathBuf,
    /// Where the logs go while they are measured.
    #[arg(long, default_value = "target/benches")]
    dir: PathBuf,
    /// Measures less: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Counted rounds.
    #[arg(long)]
    rounds: Option<usize>,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Run(run) => println!("{}", serde_json::to_string(&run.here()?)?),
        Command::Measure(measure) => measure.run()?,
    }
    Ok(())
}

impl Measure {
    fn run(&self) -> Result<()> {
        let mut plan = if self.quick {
            Plan::quick()
        } else {
            Plan::full()
        };
        plan.rounds = self.rounds.unwrap_or(plan.rounds);
        let driver = Driver::new(&self.dir, plan)?;
        let results = measure(&driver, &self.dir)?;
        fs::create_dir_all(&self.out)?;
        let write = |name: &str, text: &str| {
            let file = self.out.join(name);
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
        };
        write("crates.json", &serde_json::to_string_pretty(&results)?)?;
        write("crates.svg", &results.figure().svg())?;
        write("crates.md", &results.page())?;
        for verdict in &results.verdicts {
            println!(
                "{:<60} {:<20} {} {}",
                verdict.what,
                verdict.against.title(),
                verdict.ratio,
                verdict.word()
            );
        }
        Ok(())
    }
}

fn measure(driver: &Driver, folder: &Path) -> Result<Results> {
    let machine = Machine::of(folder, Budget::of(driver.plan().name))?;
    let (begin, watch) = (Instant::now(), Watch::begin(Duration::ZERO)?);
    let mut rows = Vec::new();
    for case in driver.plan().cases() {
        eprintln!("{:>4.0} s  {case:?}", begin.elapsed().as_secs_f64());
        rows.push(Row::appends(case, driver.appends(case)?));
    }
    for &body in &driver.plan().bodies {
        eprintln!("{:>4.0} s  reads, {body}", begin.elapsed().as_secs_f64());
        rows.extend(Row::reads(body, &driver.reads(body)?));
    }
    let others = watch.end()?.others;
    let judged = rows.iter().filter(|row| row.work != Work::FirstRead);
    let verdicts = judged.filter_map(Row::verdict);
    Ok(Results {
        command: command(),
        machine,
        others,
        plan: driver.plan().clone(),
        verdicts: verdicts.collect(),
        rows,
        calls: evidence::calls(driver)?,
        killed: evidence::killed(driver)?,
        took: begin.elapsed().as_secs_f64(),
    })
}

fn command() -> String {
    let quick = std::env::args().any(|argument| argument == "--quick");
    format!("make bench-crates{}", if quick { " QUICK=1" } else { "" })
}
