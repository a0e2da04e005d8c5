//! A million queues: memory for each, append rate, files, disk.

use anyhow::Result;
use serde::Serialize;

use super::{Experiment, Outcome, median};
use crate::bench::Bench;
use crate::child::{Child, Fill, Filled, Task};
use crate::figures::{Comparison, Spread, Unit, bytes, count};
use crate::goal::Goal;
use crate::section::Table;

/// Bytes of a body.
const BODY: usize = 1 << 10;
/// Queues of a topic, where topics have many.
const QUEUES: u32 = 1000;
const RATIO: &str = "all queues / one queue";

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "queues",
    title: "A million queues",
    question: "What does a queue cost? Messages are spread over all queues of a store, in topics of many queues and in topics \
               of one, and compared with the same messages in one queue.",
    prediction: "About 60 bytes of private memory for a queue in a topic of a thousand, about 300 where each has a topic of \
                 its own. Appends at 0.6 to 0.9 of the rate with one queue: a cache miss or two more for each message, and \
                 four more to find a topic among a million.",
    measure,
};

/// What a store with many queues costs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Queues.
    pub queues: u64,
    /// Private memory for each before it is used, bytes.
    pub unused: f64,
    /// Private memory for each with messages in all of them, bytes.
    pub used: f64,
    /// Disk for each before it is used, beside the commit log, bytes.
    pub disk_unused: f64,
    /// Disk for each with messages in all of them, beside the commit log, bytes.
    pub disk_used: f64,
    /// Open files.
    pub handles: u64,
    /// Mapped regions.
    pub maps: u64,
}

impl Cost {
    fn of(filled: &Filled, base: &Filled, queues: u64) -> Self {
        let per = |after: u64, before: u64| after.saturating_sub(before) as f64 / queues as f64;
        Self {
            queues,
            unused: per(filled.private_made, filled.private_before),
            used: per(filled.private_after, filled.private_before),
            disk_unused: per(filled.disk_made, base.disk_made),
            disk_used: per(filled.disk_after, base.disk_made),
            handles: filled.handles,
            maps: filled.maps,
        }
    }
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let many = bench.scale.queues;
    let shapes = [
        ("one queue", 1, 1),
        ("topics of many queues", many / QUEUES, QUEUES),
        ("topics of one queue", many, 1),
    ];
    let runs = bench.alternate(shapes.len(), |shape| {
        let (_, topics, queues) = shapes[shape];
        fill(bench, topics, queues)
    })?;
    let base = runs[0][0];
    let last = |shape: usize| runs[shape].last().copied().unwrap_or(base);
    let costs: Vec<(&str, Cost)> = shapes
        .iter()
        .enumerate()
        .map(|(shape, &(name, topics, queues))| {
            let queues = u64::from(topics) * u64::from(queues);
            (name, Cost::of(&last(shape), &base, queues))
        })
        .collect();
    let comparisons = compare(&shapes.map(|shape| shape.0), &runs);
    Ok(Outcome {
        method: method(bench),
        tables: vec![
            Table::ratios("Append rates, round by round:", &comparisons),
            table(&costs, &runs),
        ],
        goals: goals(&costs, &comparisons),
        finding: finding(&costs[1..]),
        comparisons,
    })
}

fn fill(bench: &Bench, topics: u32, queues: u32) -> Result<Filled> {
    let place = bench.place()?;
    let task = Task::Fill(Fill {
        folder: place.path().join("store"),
        segment: bench.scale.segment,
        topics,
        queues,
        messages: bench.scale.spread,
        body: BODY,
        sparse: false,
        endless: false,
    });
    let (child, filled) = Child::run(&task)?;
    child.kill()?;
    Ok(filled)
}

fn compare(names: &[&str; 3], runs: &[Vec<Filled>]) -> Vec<Comparison> {
    let rates = |shape: usize, of: fn(&Filled) -> f64| runs[shape].iter().map(of).collect();
    let mut comparisons = Vec::new();
    for (shape, &name) in names.iter().enumerate().skip(1) {
        let sides = [
            ("appended", (|filled| filled.appended) as fn(&Filled) -> f64),
            ("in the indexes", |filled| filled.dispatched),
        ];
        for (what, of) in sides {
            let rates: (Vec<f64>, Vec<f64>) = (rates(shape, of), rates(0, of));
            let case = format!("{name}, {what}");
            comparisons.push(Comparison::new(
                case,
                RATIO,
                Unit::MessagesPerSecond { body: BODY },
                rates,
                (0.6, 0.9),
            ));
        }
    }
    comparisons
}

fn goals(costs: &[(&str, Cost)], comparisons: &[Comparison]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (name, cost) in &costs[1..] {
        let queues = count(cost.queues as f64);
        let rate = median(comparisons, &format!("{name}, appended"), RATIO);
        let of = |what: &str| format!("{queues} queues, {name}: {what}");
        goals.extend([
            Goal::at_least(7, of("append rate against one queue"), rate, "x", 0.5),
            Goal::at_most(7, of("private memory for each"), cost.used, "bytes", 600.0),
        ]);
    }
    let (name, cost) = costs[1];
    let what = format!("{name}: disk for one that was never used, its topic's name included");
    goals.push(Goal::at_most(7, what, cost.disk_unused, "bytes", 1.0));
    goals
}

fn table(costs: &[(&str, Cost)], runs: &[Vec<Filled>]) -> Table {
    let rows = costs.iter().zip(runs).map(|((name, cost), runs)| {
        let rate = |of: fn(&Filled) -> f64| {
            let rates: Vec<f64> = runs.iter().map(of).collect();
            format!("{}/s", count(Spread::of(&rates).median))
        };
        vec![
            (*name).to_owned(),
            count(cost.queues as f64),
            format!("{:.0} B", cost.unused),
            format!("{:.0} B", cost.used),
            format!("{:.0} B", cost.disk_unused),
            format!("{:.0} B", cost.disk_used),
            format!("{} and {}", cost.handles, cost.maps),
            rate(|filled| filled.appended),
            rate(|filled| filled.dispatched),
        ]
    });
    Table {
        caption: "For each queue, private memory and disk beside the commit log; for the store, open files and mapped \
                  regions; rates of the medians:"
            .to_owned(),
        columns: [
            "shape",
            "queues",
            "memory, unused",
            "memory, used",
            "disk, unused",
            "disk, used",
            "files and maps",
            "appended",
            "in the indexes",
        ]
        .map(String::from)
        .to_vec(),
        rows: rows.collect(),
    }
}

fn finding(costs: &[(&str, Cost)]) -> String {
    let each = costs.iter().map(|(name, cost)| {
        format!(
            "In {name}, {} of them, a queue takes {:.0} bytes of private memory before it is used and {:.0} with messages.",
            count(cost.queues as f64),
            cost.unused,
            cost.used
        )
    });
    each.collect::<Vec<_>>().join(" ")
}

fn method(bench: &Bench) -> String {
    format!(
        "Each run is a process of its own: it makes the topics, appends {} messages of {} (async) by name of the topic and \
         number of the queue, each queue once before any comes twice, and waits until all can be read through their queues. \
         Memory is `Anonymous` of `/proc/self/smaps_rollup`; the names that the process itself holds are not counted.",
        count(bench.scale.spread as f64),
        bytes(BODY as u64),
    )
}
