//! The broker on the wire, beside a bare tonic server: `make bench-wire`.
#![forbid(unsafe_code)]

mod active;
mod calls;
mod deliver;
mod end_to_end;
mod mapped;
mod measure;
mod page;
mod peers;
mod polls;
mod publish;
mod scale;
mod send;
mod stalled;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use foliomq_benches::bare_tonic;
use foliomq_benches::machine::Machine;
use foliomq_benches::quiet::Watch;

use crate::measure::Bench;
use crate::page::{Page, Section};
use crate::scale::Scale;

/// Measures the broker on the wire, and writes `wire.md` and `wire.json`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// The broker's program.
    #[arg(long, default_value = "target/release/foliomq")]
    binary: PathBuf,
    /// Where the results go.
    #[arg(long, default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Where the stores go: a folder on the disk to measure. They are removed at the end.
    #[arg(long, default_value = "target/benches")]
    dir: PathBuf,
    /// Only these figures, by their numbers.
    #[arg(long)]
    only: Vec<u8>,
    /// Measures less: under three minutes.
    #[arg(long)]
    quick: bool,
    /// Just enough to see that it runs.
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Measures other servers beside the broker, and writes `peers.md` and `peers.json`.
    Peers,
    /// Serves the same calls without a broker behind them, until it is killed.
    Bare,
}

/// Number and experiment.
type Experiment = (u8, fn(&Bench) -> Result<Section>);

const EXPERIMENTS: [Experiment; 7] = [
    (1, send::run),
    (2, publish::run),
    (3, deliver::run),
    (4, mapped::run),
    (5, end_to_end::run),
    (6, polls::run),
    (7, stalled::run),
];

const PEERS: [Experiment; 1] = [(2, peers::run)];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Bare) = arguments.role {
        return bare_tonic::serve();
    }
    let scale = match (arguments.quick, arguments.smoke) {
        (true, _) => Scale::quick(),
        (_, true) => Scale::smoke(),
        _ => Scale::full(),
    };
    fs::create_dir_all(&arguments.dir).context("creating the folder of the stores")?;
    let peers = arguments.role.is_some();
    let page = measure(&arguments, scale, peers)?;
    fs::create_dir_all(&arguments.out)?;
    let write = |name: &str, text: String| {
        let file = arguments.out.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };
    let name = if peers { "peers" } else { "wire" };
    write(
        &format!("{name}.json"),
        serde_json::to_string_pretty(&page)?,
    )?;
    write(&format!("{name}.md"), page.markdown())?;
    print!("{}", page.held_to());
    Ok(())
}

fn measure(arguments: &Arguments, scale: Scale, peers: bool) -> Result<Page> {
    let begin = Instant::now();
    let machine = Machine::of(&arguments.dir, scale.floors)?;
    let watch = Watch::begin(Duration::ZERO)?;
    let bench = Bench::new(&arguments.binary, &arguments.dir, scale)?;
    let mut sections = Vec::new();
    let experiments = if peers { &PEERS[..] } else { &EXPERIMENTS[..] };
    for &(number, experiment) in experiments {
        if arguments.only.is_empty() || arguments.only.contains(&number) {
            // What the figure before has left to write would be written beside this one.
            rustix::fs::sync();
            eprintln!("{:>4.0} s  figure {number}", begin.elapsed().as_secs_f64());
            let section = experiment(&bench).with_context(|| format!("figure {number}"))?;
            sections.push(section);
        }
    }
    let target = if peers { "bench-peers" } else { "bench-wire" };
    let scaled = if arguments.quick { " QUICK=1" } else { "" };
    let title = if peers {
        "The wire, and other servers"
    } else {
        "The wire"
    };
    Ok(Page {
        title,
        command: format!("make {target}{scaled}"),
        machine,
        placement: bench.placement(),
        settings: bench.settings(),
        beside: watch.end()?,
        sections,
        took: begin.elapsed().as_secs_f64(),
    })
}
