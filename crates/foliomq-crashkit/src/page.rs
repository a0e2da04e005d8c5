//! The page that says what was promised, and what was found.

use std::fmt::Write as _;
use std::thread;

use foliomq_segment::disk::Flush;
use rustix::io::Errno;

use crate::campaign::{cut_power, leave_out};
use crate::errors::fail;
use crate::fault::Kind;
use crate::flips::{Flips, flip};
use crate::mode::{MODES, Mode};

/// What the page says before its tables.
const INTRODUCTION: &str = include_str!("page.md");

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Images of power cuts, by mode.
    pub images: u64,
    /// Lives with a failing operation, by mode, kind and error.
    pub rounds: u64,
    /// Bits flipped in the logs, and in each index file.
    pub flips: (u64, u64),
    /// Images after which a flush that was left out must have been missed.
    pub patience: u64,
}

/// A line of the first table: a mode, and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The mode.
    pub mode: &'static str,
    /// What happens.
    pub fault: &'static str,
    /// What is promised then.
    pub promised: &'static str,
}

/// The faults of the first table.
const FAULTS: [&str; 6] = [
    "power cut",
    "power cut during recovery",
    "kill -9",
    "a flush of records fails",
    "the disk is full",
    "another operation fails",
];

/// Every line of the first table, without what was found.
pub fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for mode in MODES {
        for fault in FAULTS {
            lines.push(Line {
                mode: mode.name,
                fault,
                promised: promised(mode, fault),
            });
        }
    }
    lines
}

fn promised(mode: &Mode, fault: &str) -> &'static str {
    match (fault, mode.is_sync()) {
        ("power cut during recovery", _) => "the next start finds the same",
        ("kill -9", _) if mode.survives_kill() => "every message that was appended",
        ("kill -9" | "power cut", true) => "every message that was waited for",
        ("kill -9" | "power cut", false) => "every message before the last flush",
        ("a flush of records fails", _) => {
            "nothing is acknowledged from then on; all before is kept"
        }
        ("the disk is full", _) => "appends are refused; all before is kept",
        _ => "an error; all before is kept",
    }
}

/// Tries everything and returns the page.
///
/// # Errors
///
/// The first promise that was broken.
pub fn page(effort: Effort, seed: u64) -> Result<String, String> {
    let (modes, flips, flushes) = thread::scope(|scope| {
        let modes = scope.spawn(|| modes_table(effort, seed));
        let flips = scope.spawn(|| flips_table(effort, seed));
        let flushes = scope.spawn(|| flushes_table(effort, seed));
        (modes.join(), flips.join(), flushes.join())
    });
    let mut page = INTRODUCTION.to_owned();
    for table in [modes, flips, flushes] {
        let table = table.map_err(|_| "a thread has panicked")??;
        page.push_str(&table);
    }
    Ok(page)
}

fn modes_table(effort: Effort, seed: u64) -> Result<String, String> {
    let mut table = "## What was promised, and what was found\n\n".to_owned();
    table.push_str("| mode | fault | promised | tried | lost |\n|---|---|---|--:|--:|\n");
    for mode in MODES {
        let found = tried(*mode, effort, seed)?;
        let lines = lines().into_iter().filter(|line| line.mode == mode.name);
        for (line, found) in lines.zip(found) {
            let Line {
                mode,
                fault,
                promised,
            } = line;
            let _ = writeln!(table, "| {mode} | {fault} | {promised} | {found} | 0 |");
        }
    }
    Ok(table)
}

/// How many images of each fault there were, in their order.
fn tried(mode: Mode, effort: Effort, seed: u64) -> Result<[u64; 6], String> {
    let cuts = cut_power(mode, effort.images, seed)?;
    let others = Kind::ALL.into_iter();
    let others = others.filter(|kind| *kind != Kind::FlushRecords);
    let others: Vec<_> = others.map(|kind| (kind, Errno::IO)).collect();
    let failures = |what: &[(Kind, Errno)]| failures(mode, what, effort.rounds, seed);
    Ok([
        cuts.power,
        cuts.again,
        cuts.kill,
        failures(&[
            (Kind::FlushRecords, Errno::IO),
            (Kind::FlushRecords, Errno::NOSPC),
        ])?,
        failures(&[(Kind::Allocate, Errno::NOSPC)])?,
        failures(&others)?,
    ])
}

/// Images after failures of each kind.
fn failures(mode: Mode, what: &[(Kind, Errno)], rounds: u64, seed: u64) -> Result<u64, String> {
    thread::scope(|scope| {
        let each = |&(kind, error)| scope.spawn(move || fail(mode, kind, error, rounds, seed));
        let threads: Vec<_> = what.iter().map(each).collect();
        let mut images = 0;
        for thread in threads {
            images += thread.join().map_err(|_| "a thread has panicked")??.images;
        }
        Ok(images)
    })
}

fn flips_table(effort: Effort, seed: u64) -> Result<String, String> {
    let mut table = "\n## A flipped bit\n\n".to_owned();
    table.push_str("| file | flips | refused | made good | in unused bytes | found by `verify` only | served |\n");
    table.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for (kind, flips) in flip(effort.flips.0, effort.flips.1, seed)? {
        table.push_str(&flips_line(kind, flips));
    }
    Ok(table)
}

fn flushes_table(effort: Effort, seed: u64) -> Result<String, String> {
    let mut table = "\n## A flush left out\n\n".to_owned();
    table.push_str("| flush | missed after images | how |\n|---|--:|---|\n");
    for &flush in Flush::ALL {
        let missed = leave_out(flush, effort.patience, seed);
        let (images, how) = missed.map_err(|calls| {
            format!("{flush:?} is called ({calls} times), and nobody misses it")
        })?;
        let _ = writeln!(table, "| {} | {images} | {} |", flush.name(), brief(&how));
    }
    Ok(table)
}

fn flips_line(kind: &str, flips: Flips) -> String {
    let Flips {
        flips,
        refused,
        repaired,
        unused,
        verified,
        served,
    } = flips;
    format!("| {kind} | {flips} | {refused} | {repaired} | {unused} | {verified} | {served} |\n")
}

/// The first words, without paths.
fn brief(how: &str) -> String {
    let mut brief = String::new();
    for word in how.split_whitespace().take(12) {
        let word = if word.starts_with('/') { "…" } else { word };
        let _ = write!(brief, "{word} ");
    }
    brief
        .trim_end()
        .trim_end_matches([':', ','])
        .replace('|', "/")
}
