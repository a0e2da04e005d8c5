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
use results::Results;

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
    /// Measures nothing: writes the page and the plots anew from the figures of an earlier run.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "smoke", "loopback"])]
    from: Option<PathBuf>,
    /// Where the store goes. It is removed at the end.
    #[arg(long, value_name = "FOLDER", default_value = "target/benches")]
    dir: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let out = &arguments.out;
    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let figures = match &arguments.from {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?
        }
        None => {
            let figures = serde_json::to_string(&arguments.measure()?)?;
            write(out, "transfer.json", &figures)?;
            figures
        }
    };
    // The page shows what is in the file, so that it is the same whenever it is drawn.
    let results: Results =
        serde_json::from_str(&figures).context("the figures have another form")?;
    for (name, figure) in report::figures(&results) {
        write(out, &name, &figure.svg())?;
    }
    write(out, "transfer.md", &report::page(&results))
}

impl Arguments {
    fn measure(&self) -> Result<Results> {
        let plan = match (self.quick, self.smoke) {
            (true, _) => Plan::quick(),
            (_, true) => Plan::smoke(),
            _ => Plan::full(),
        };
        measure::all(plan, &self.dir, self.loopback)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}
