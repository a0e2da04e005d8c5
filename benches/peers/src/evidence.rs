//! What an append really does, counted from outside: system calls by strace, survivors of `kill -9`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::driver::{Driver, output, parse};
use crate::peer::{Flush, Name};
use crate::plan::BATCHES;

const BODY: &str = "1024";
/// Calls that bring bytes to the device.
pub const FLUSHES: [&str; 4] = ["fsync", "fdatasync", "msync", "sync_file_range"];
/// Calls that hand bytes to the kernel.
const WRITES: [&str; 5] = ["write", "pwrite64", "writev", "pwritev", "io_uring_enter"];

/// System calls of so many appends, those of opening taken off.
#[derive(Debug, Clone, Serialize)]
pub struct Calls {
    /// The system.
    pub name: Name,
    /// Its mode.
    pub flush: Flush,
    /// Messages of an append.
    pub batch: usize,
    /// Appends.
    pub appends: u64,
    /// Calls by name, those that came at all.
    pub calls: BTreeMap<String, i64>,
}

/// What was left of a log whose process was killed after its last append had returned.
#[derive(Debug, Clone, Serialize)]
pub struct Killed {
    /// The system.
    pub name: Name,
    /// Messages appended, each in a call of its own, nothing flushed.
    pub appended: u64,
    /// Messages found after it was opened again.
    pub found: u64,
}

impl Calls {
    /// Calls that bring bytes to the device, of all kinds.
    pub fn flushes(&self) -> i64 {
        FLUSHES
            .iter()
            .filter_map(|name| self.calls.get(*name))
            .sum()
    }
}

/// Counts the system calls of every system in every mode; `None` where strace cannot be run.
pub fn calls(driver: &Driver) -> Result<Option<Vec<Calls>>> {
    if std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_err()
    {
        return Ok(None);
    }
    let mut found = Vec::new();
    for flush in [Flush::Never, Flush::Each] {
        for name in Name::ALL.into_iter().filter(|name| name.can(flush)) {
            for batch in BATCHES {
                found.push(count(driver, name, flush, batch)?);
            }
        }
    }
    Ok(Some(found))
}

fn count(driver: &Driver, name: Name, flush: Flush, batch: usize) -> Result<Calls> {
    let appends = driver.plan().counted;
    let mut calls = traced(driver, name, flush, batch, appends)?;
    // Closing differs by nothing that was appended, so one append is taken off with it.
    for (call, number) in traced(driver, name, flush, batch, 1)? {
        *calls.entry(call).or_default() -= number;
    }
    calls.retain(|_, number| *number > 0);
    Ok(Calls {
        name,
        flush,
        batch,
        appends: appends - 1,
        calls,
    })
}

/// System calls of a whole run of so many appends.
fn traced(
    driver: &Driver,
    name: Name,
    flush: Flush,
    batch: usize,
    appends: u64,
) -> Result<BTreeMap<String, i64>> {
    let (folder, log) = (driver.folder()?, tempfile::NamedTempFile::new()?);
    let traced = [&FLUSHES[..], &WRITES[..]].concat().join(",");
    let trace = format!("trace={traced}");
    let log_path = log.path().to_string_lossy().into_owned();
    let strace = [
        "strace",
        "-f",
        "-c",
        "-U",
        "calls,name",
        "-e",
        &trace,
        "-o",
        &log_path,
    ];
    let mut run = driver.run(&strace, name, folder.path(), flush);
    run.args(["--body", BODY, "--batch", &batch.to_string()]);
    run.args(["--messages", &(appends * batch as u64).to_string()]);
    output(run, name)?;
    let table = fs::read_to_string(log.path()).context("reading what strace counted")?;
    Ok(table.lines().filter_map(row).collect())
}

/// `  200 fdatasync`; the head, the line below it and the sum are none.
fn row(line: &str) -> Option<(String, i64)> {
    let (calls, name) = line.trim().split_once(' ')?;
    let name = name.trim();
    let known = FLUSHES.contains(&name) || WRITES.contains(&name);
    known.then(|| Some((name.to_owned(), calls.parse().ok()?)))?
}

/// Kills every system that has a mode without flushes after its last append, and looks what is left.
pub fn killed(driver: &Driver) -> Result<Vec<Killed>> {
    let names = Name::ALL.into_iter().filter(|name| name.can(Flush::Never));
    names.map(|name| kill(driver, name)).collect()
}

fn kill(driver: &Driver, name: Name) -> Result<Killed> {
    let folder = driver.folder()?;
    let mut run = driver.run(&[], name, folder.path(), Flush::Never);
    run.args([
        "--body",
        BODY,
        "--die",
        "--messages",
        &driver.plan().killed.to_string(),
    ]);
    let printed = run.output().context("starting a run")?.stdout;
    let printed = String::from_utf8_lossy(&printed);
    let appended = printed.lines().last().and_then(|line| line.parse().ok());
    let mut again = driver.run(&[], name, folder.path(), Flush::Never);
    again.args(["--body", BODY, "--messages", "0", "--passes", "1"]);
    Ok(Killed {
        name,
        appended: appended.with_context(|| format!("{} printed {printed}", name.title()))?,
        found: parse(&output(again, name)?.stdout)?.found,
    })
}
