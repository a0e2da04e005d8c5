//! How the ways of moving stored messages to a consumer compare: `make bench-transfer`.
//!
//! A [`source`] is a real store; a [`network`] joins two sockets; a [`way`](ways) sends pieces of the source; a
//! [`run`] sends for a while, and counts. [`measure`] runs everything in turn, and [`report`] writes the page.
#![deny(unsafe_code)]

mod consumer;
mod counters;
mod measure;
mod network;
mod plan;
mod predictions;
mod profile;
mod raw;
mod report;
mod results;
mod run;
mod session;
mod source;
mod ways;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use plan::Plan;

/// Measures the ways from a stored message to a socket.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where transfer.md, transfer.json and the plots go.
    #[arg(long, value_name = "FOLDER", default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Measures less: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Just enough to see that it runs.
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
    /// Only the loopback network, and nothing that needs root.
    #[arg(long)]
    loopback: bool,
    /// Where the store goes. It is removed at the end.
    #[arg(long, value_name = "FOLDER", default_value = "target/benches")]
    dir: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let plan = match (arguments.quick, arguments.smoke) {
        (true, _) => Plan::quick(),
        (_, true) => Plan::smoke(),
        _ => Plan::full(),
    };
    let results = measure::all(plan, &arguments.dir, arguments.loopback)?;
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("creating {}", arguments.out.display()))?;
    write(
        &arguments.out,
        "transfer.json",
        &serde_json::to_string(&results)?,
    )?;
    for (name, figure) in report::figures(&results) {
        write(&arguments.out, &name, &figure.svg())?;
    }
    write(&arguments.out, "transfer.md", &report::page(&results))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
