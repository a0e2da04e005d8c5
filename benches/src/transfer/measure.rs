//! Everything in turn.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use foliomq_benches::floors::Budget;
use foliomq_benches::machine::Machine;
use foliomq_benches::procfs;

use crate::counters::KernelThreads;
use crate::network::{self, CONGESTION, Network};
use crate::plan::Plan;
use crate::results::Results;
use crate::run::{Bench, Cores};
use crate::session::Session;
use crate::source::Source;

/// Measures everything; the store lies below `dir` meanwhile.
pub fn all(plan: Plan, dir: &Path, loopback: bool) -> Result<Results> {
    let begin = Instant::now();
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let folder = tempfile::Builder::new()
        .prefix("transfer-")
        .tempdir_in(dir)
        .context("creating a folder")?;
    let machine = Machine::of(folder.path(), Budget::of(&plan.name))?;
    let settings = settings()?;
    let source = Source::write(&folder.path().join("store"), &plan)?;
    let mut skipped = Vec::new();
    let networks = networks(loopback, &mut skipped);
    let cores = Cores::choose();
    let pinned: Vec<usize> = cores
        .iter()
        .flat_map(|cores| [cores.sender, cores.consumer])
        .collect();
    let bench = Bench {
        source: &source,
        cores,
        kernel_threads: KernelThreads::of(&pinned),
    };
    let mut session = Session {
        plan: &plan,
        bench: &bench,
        networks: &networks,
        loopback,
        begin,
        skipped,
    };
    let cells = session.full_speed()?;
    let paced = session.paced(&cells)?;
    let profiles = session.profiles(&cells, folder.path());
    let skipped = session.skipped;
    Ok(Results {
        command: command(),
        machine,
        settings,
        cores,
        log_bytes: source.written(),
        skipped,
        cells,
        paced,
        profiles,
        took: begin.elapsed().as_secs_f64(),
        plan,
    })
}

/// The networks that can be brought up here.
fn networks(loopback: bool, skipped: &mut Vec<String>) -> Vec<Network> {
    let wanted = network::Kind::ALL
        .into_iter()
        .filter(|kind| !loopback || *kind == network::Kind::Loopback);
    let mut networks = Vec::new();
    for kind in wanted {
        match Network::up(kind) {
            Ok(network) => networks.push(network),
            Err(error) => skip(skipped, format!("network {}: {error:#}", kind.name())),
        }
    }
    networks
}

/// Notes what is left out, and says it.
pub fn skip(skipped: &mut Vec<String>, what: String) {
    eprintln!("skipped: {what}");
    skipped.push(what);
}

/// The name of the setting that says how busy the machine was before.
pub const LOAD: &str = "load average before";

/// What decides how TCP behaves here, and how busy the machine is.
fn settings() -> Result<Vec<(String, String)>> {
    let read = |name: &str| {
        let text =
            procfs::read(format!("/proc/sys/net/{name}")).unwrap_or_else(|_| "unknown".into());
        (
            name.replace('/', "."),
            text.split_whitespace().collect::<Vec<_>>().join(" "),
        )
    };
    let mut settings = vec![
        (LOAD.into(), procfs::load_average()?),
        ("congestion control".into(), CONGESTION.into()),
    ];
    settings.extend(["ipv4/tcp_wmem", "ipv4/tcp_rmem", "core/optmem_max"].map(read));
    Ok(settings)
}

/// The command that repeats this run.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "cargo run --locked --release -q -p foliomq-benches --bin transfer -- {}",
        arguments.join(" ")
    )
    .trim_end_matches(" -- ")
    .to_owned()
}
