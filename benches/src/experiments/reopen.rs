//! How long it takes to open a store again: with a million queues, and with a large log.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Experiment, Outcome};
use crate::bench::Bench;
use crate::child::{Child, Fill, Filled, Opened, Task};
use crate::figures::{bytes, count};
use crate::goal::Goal;
use crate::section::Table;

/// Queues of a topic, where topics have many.
const QUEUES: u32 = 1000;
/// Bytes of a segment of the large log: the store's default.
const SEGMENT: u64 = 1 << 30;
/// Bytes of a body in the part of the large log that becomes holes.
const LARGE_BODY: usize = 1 << 20;
/// How long a store is appended to, at most, before it is killed.
const RUN: Duration = Duration::from_secs(3);

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "reopen",
    title: "Opening a store again",
    question: "How long does opening take after a clean stop and after `kill -9`, with a million queues and with a large log, \
               and how much of the log has to be read again?",
    prediction: "After a clean stop below 0.5 s whatever there is: the last 64 MiB of the log are checked, and each queue's end \
                 is looked for. After `kill -9` what came after the checkpoints comes to that: some 128 MiB, a second at most.",
    measure,
};

/// How long one store took to open.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// Seconds after a clean stop.
    pub clean: f64,
    /// Seconds after `kill -9`.
    pub killed: f64,
    /// Bytes of log after the log's own checkpoint, then.
    pub log_behind: u64,
    /// Bytes of log after the checkpoint of the indexes, then.
    pub index_behind: u64,
    /// Private memory of the open store, bytes.
    pub private: u64,
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let many = bench.scale.queues;
    let stores = [
        (
            format!("{} queues, topics of many", count(many.into())),
            queues(bench, many / QUEUES, QUEUES)?,
        ),
        (
            format!("{} queues, topics of one", count(many.into())),
            queues(bench, many, 1)?,
        ),
        (
            format!("log of {}", bytes(bench.scale.large)),
            large(bench)?,
        ),
    ];
    Ok(Outcome {
        method: method(bench),
        goals: goals(&stores),
        finding: finding(&stores),
        tables: vec![table(&stores)],
        comparisons: Vec::new(),
    })
}

/// A store with many queues.
fn queues(bench: &Bench, topics: u32, queues: u32) -> Result<Times> {
    let place = bench.place()?;
    let task = Fill {
        folder: place.path().join("store"),
        segment: bench.scale.segment,
        topics,
        queues,
        messages: bench.scale.spread,
        body: 128,
        sparse: false,
        endless: false,
    };
    times(bench, task)
}

/// A store whose log is large.
fn large(bench: &Bench) -> Result<Times> {
    let place = bench.place()?;
    let task = Fill {
        folder: place.path().join("store"),
        segment: SEGMENT.min(bench.scale.large / 2),
        topics: 1,
        queues: 8,
        messages: bench.scale.large / LARGE_BODY as u64,
        body: LARGE_BODY,
        sparse: true,
        endless: false,
    };
    fill(&task)?.finish()?;
    // The tail is of small records.
    let tail = Fill {
        messages: bench.scale.spread / 2,
        body: 1 << 10,
        sparse: false,
        ..task
    };
    times(bench, tail)
}

/// Fills a store and opens it again after a clean stop; then appends to it until it is killed, and opens it again.
fn times(bench: &Bench, task: Fill) -> Result<Times> {
    fill(&task)?.finish()?;
    let (child, clean) = open(&task)?;
    anyhow::ensure!(clean.clean, "the store was closed, yet was not found clean");
    child.finish()?;
    let child = fill(&Fill {
        messages: 1000,
        endless: true,
        ..task.clone()
    })?;
    thread::sleep(RUN.min(bench.scale.tail_time));
    child.kill()?;
    let log = checkpoint(&task.folder.join("commitlog/checkpoint"))?;
    let index = checkpoint(&task.folder.join("index-checkpoint"))?;
    let (child, killed) = open(&task)?;
    child.finish()?;
    Ok(Times {
        clean: clean.seconds,
        killed: killed.seconds,
        log_behind: killed.end.saturating_sub(log),
        index_behind: killed.end.saturating_sub(index),
        private: clean.private,
    })
}

fn fill(task: &Fill) -> Result<Child> {
    Ok(Child::run::<Filled>(&Task::Fill(task.clone()))?.0)
}

fn open(task: &Fill) -> Result<(Child, Opened)> {
    let (folder, segment) = (task.folder.clone(), task.segment);
    Child::run(&Task::Open { folder, segment })
}

/// The position in a checkpoint: both kinds have two slots 4096 bytes apart, a sequence at 8 and the position at 16.
fn checkpoint(path: &Path) -> Result<u64> {
    let file = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?))
    };
    let slots = [0, 4096]
        .into_iter()
        .filter_map(|slot| Some((word(slot + 8)?, word(slot + 16)?)));
    Ok(slots.max().context("no slot in the checkpoint")?.1)
}

fn goals(stores: &[(String, Times)]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (name, times) in &stores[..2] {
        goals.push(Goal::at_most(
            7,
            format!("{name}: open after kill -9"),
            times.killed,
            "s",
            5.0,
        ));
    }
    for (name, times) in &stores[2..] {
        let behind = times.log_behind.max(times.index_behind) as f64 / f64::from(1 << 20);
        goals.extend([
            Goal::at_most(
                8,
                format!("{name}: open after a clean stop"),
                times.clean,
                "s",
                0.5,
            ),
            Goal::at_most(
                8,
                format!("{name}: open after kill -9, all included"),
                times.killed,
                "s",
                2.0,
            ),
            Goal::at_most(
                8,
                format!("{name}: log after the last checkpoint"),
                behind,
                "MiB",
                256.0,
            ),
        ]);
    }
    goals
}

fn table(stores: &[(String, Times)]) -> Table {
    let row = |(name, times): &(String, Times)| {
        vec![
            name.clone(),
            format!("{:.3} s", times.clean),
            format!("{:.3} s", times.killed),
            bytes(times.log_behind),
            bytes(times.index_behind),
            bytes(times.private),
        ]
    };
    Table {
        caption: "Time to open; log bytes after the log's checkpoint and after that of the indexes when the process was \
                  killed; private memory of the store once it is open:"
            .to_owned(),
        columns: [
            "store",
            "after a clean stop",
            "after kill -9",
            "log behind",
            "indexes behind",
            "memory",
        ]
        .map(String::from)
        .to_vec(),
        rows: stores.iter().map(row).collect(),
    }
}

fn finding(stores: &[(String, Times)]) -> String {
    let each = stores.iter().map(|(name, times)| {
        format!(
            "{name}: {:.2} s after a clean stop, {:.2} s after `kill -9`.",
            times.clean, times.killed
        )
    });
    each.collect::<Vec<_>>().join(" ")
}

fn method(bench: &Bench) -> String {
    format!(
        "Each store is filled by a process of its own (async) and closed; another opens it. A third goes on appending as fast \
         as it can and is killed after {} s; a fourth opens the store then. Most of the large log is holes: sealed segments \
         keep their first page; its tail is of records of 1 KiB. The page cache is warm, as after the end of a process.",
        RUN.min(bench.scale.tail_time).as_secs_f64()
    )
}
