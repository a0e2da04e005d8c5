//! What delivery is held to: delayed messages, acks, messages in flight: `make bench-delivery`.
#![forbid(unsafe_code)]

mod broker;
mod clock;
mod consume;
mod delayed;
mod in_flight;
mod lateness;
mod page;
mod pending;
mod role;
mod scale;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use foliomq_benches::figures::bytes;
use foliomq_benches::floors::Budget;
use foliomq_benches::machine::Machine;
use foliomq_benches::quiet::Watch;
use tempfile::TempDir;

use crate::page::{Lite, Page, Section};
use crate::scale::Scale;

/// Measures delivery, and writes `delivery.md` and `delivery.json`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// The broker's program, for the figure that is measured over loopback.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// What `make bench-lite` has written: figure 6.
    #[arg(long)]
    lite: Option<PathBuf>,
    /// Where the results go.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Where the stores go: a folder on the disk to measure, with 10 GB to spare. They are removed at the end.
    #[arg(long, default_value = "target/benches")]
    dir: PathBuf,
    /// A tenth of the counts.
    #[arg(long)]
    quick: bool,
    /// Just enough to see that it runs.
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Fills a store with delayed messages, measures, and waits to be killed.
    #[command(hide = true)]
    Pending { folder: PathBuf, scale: String },
    /// Receives without acks, measures, and waits to be killed.
    #[command(hide = true)]
    InFlight { folder: PathBuf, scale: String },
}

/// How much to measure, and where.
pub struct Bench {
    /// How much.
    pub scale: Scale,
    /// The broker's program.
    pub binary: Option<PathBuf>,
    dir: PathBuf,
}

impl Bench {
    /// A folder of its own for one store, which goes when it is dropped.
    pub fn place(&self) -> Result<TempDir> {
        let builder = tempfile::Builder::new()
            .prefix("delivery-")
            .tempdir_in(&self.dir);
        builder.context("creating a folder for a store")
    }
}

const EXPERIMENTS: [fn(&Bench) -> Result<Section>; 3] =
    [delayed::run, consume::run, in_flight::run];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let role = |role: fn(&Path, &Scale) -> Result<()>, folder: &Path, scale: &str| {
        role(folder, &serde_json::from_str(scale).context("the scale")?)
    };
    match &arguments.role {
        Some(Role::Pending { folder, scale }) => return role(pending::role, folder, scale),
        Some(Role::InFlight { folder, scale }) => return role(in_flight::role, folder, scale),
        None => {}
    }
    fs::create_dir_all(&arguments.dir).context("creating the folder of the stores")?;
    fs::create_dir_all(&arguments.out).context("creating the folder of the results")?;
    let page = measure(&arguments)?;
    let write = |name: &str, text: String| {
        let file = arguments.out.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };
    write("delivery.json", serde_json::to_string_pretty(&page)?)?;
    write("delivery.md", page.markdown())?;
    print!("{}", page.held_to());
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Page> {
    let budget = match (arguments.quick, arguments.smoke) {
        (true, _) => Budget::QUICK,
        (_, true) => Budget::SMOKE,
        _ => Budget::FULL,
    };
    let machine = Machine::of(&arguments.dir, budget)?;
    let (begin, watch) = (Instant::now(), Watch::begin(Duration::ZERO)?);
    let lite = arguments.lite.as_deref().map(Lite::read).transpose()?;
    let scale = match (arguments.quick, arguments.smoke) {
        (true, _) => Scale::quick(),
        (_, true) => Scale::smoke(),
        _ => Scale::full(),
    };
    let bench = Bench {
        scale: scale.clone(),
        binary: arguments.binary.clone(),
        dir: arguments.dir.clone(),
    };
    let mut sections = Vec::new();
    for (number, experiment) in EXPERIMENTS.iter().enumerate() {
        eprintln!(
            "{:>4.0} s  part {} of {}",
            begin.elapsed().as_secs_f64(),
            number + 1,
            EXPERIMENTS.len()
        );
        sections.push(experiment(&bench)?);
    }
    let scaled = if arguments.quick { " QUICK=1" } else { "" };
    Ok(Page {
        command: format!("make bench-delivery{scaled}"),
        machine,
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        settings: format!(
            "async flush every 500 ms, segments of {}, no retention; delivery's defaults",
            bytes(broker::SEGMENT)
        ),
        scale,
        is_full: !arguments.quick && !arguments.smoke,
        beside: watch.end()?,
        sections,
        lite,
        took: begin.elapsed().as_secs_f64(),
    })
}
