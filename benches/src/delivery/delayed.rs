//! Figure 4: many delayed messages.

use std::time::Duration;

use anyhow::Result;
use foliomq_benches::figures::{Spread, count};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use serde_json::json;

use crate::Bench;
use crate::broker::{BODY, Broker, DELIVERER, HOUSEKEEPER, Start};
use crate::clock::Clock;
use crate::lateness::{self, Lateness};
use crate::page::Section;
use crate::pending::{DUE_RATE, Found};
use crate::role::Process;

/// The first is due so long after the start.
const SOON: Duration = Duration::from_millis(2500);

pub fn run(bench: &Bench) -> Result<Section> {
    let folder = bench.place()?;
    let (process, found) = Process::start::<Found>("pending", folder.path(), &bench.scale)?;
    // It is killed, not closed.
    drop(process);
    let (broker, killed) = Broker::open(folder.path())?;
    let waiting = broker.groups.waiting();
    anyhow::ensure!(
        waiting == found.waiting,
        "{waiting} wait after the kill, not {}",
        found.waiting
    );
    broker.close()?;
    let (mut broker, closed) = Broker::open(folder.path())?;
    broker.run(Clock::before(found.base, SOON))?;
    let late = lateness::measure(&broker, bench.scale.pending)?;
    broker.close()?;
    Ok(section(bench, &found, [killed, closed], late))
}

fn section(bench: &Bench, found: &Found, starts: [Start; 2], late: Lateness) -> Section {
    Section {
        number: 4,
        title: "Delayed messages",
        text: text(bench, found),
        tables: vec![
            rates(found),
            threads(found),
            restarts(starts),
            lateness(late),
        ],
        goals: goals(bench, found, starts, late),
        figures: json!({ "found": found, "starts": starts, "lateness": late }),
    }
}

fn text(bench: &Bench, found: &Found) -> String {
    let [pending, turn, due] = [bench.scale.pending, bench.scale.turn, DUE_RATE];
    let [pending, turn, due] = [pending, turn, due].map(|number| count(number as f64));
    format!(
        "A process of its own has a store and groups on it, with the two threads that the broker runs for them: one delivers what is \
         due and sleeps otherwise, one keeps house once a second. It appends {pending} delayed messages of {BODY} bytes, then, in turns \
         and to another topic, {turn} that are not delayed and {turn} that are, each time until the indexes and the delivery know them; \
         one thread, 32 an append. Then it is watched for {:.1} s in which nothing is due, and killed. The store is opened (its files \
         are in the page cache), closed, and opened again with a clock put forward, so that {due} messages become due each second; one \
         consumer receives and acknowledges them, 32 at a time. A message is late by the time from its due millisecond to the return \
         of its receive.",
        found.idle
    )
}

fn goals(bench: &Bench, found: &Found, starts: [Start; 2], late: Lateness) -> Vec<Goal> {
    let (all, due) = (bench.scale.pending as f64, count(DUE_RATE as f64));
    let [killed, closed] = starts.map(Start::seconds);
    let what = |what: &str| format!("{} delayed messages wait: {what}", count(all));
    let due = |what: &str| format!("{due} due a second: {what}");
    let enqueue = ratio(found).median;
    let (idle, came) = (busy(found) * 100.0, late.messages as f64);
    vec![
        Goal::at_least(4, what("delayed / other appends"), enqueue, "x", 0.5),
        Goal::at_most(4, what("one core, nothing due"), idle, "%", 0.1),
        Goal::at_least(4, due("messages that came"), came, "messages", all),
        Goal::at_most(4, due("the latest"), late.max, "ms", 100.0),
        Goal::at_most(4, what("start after kill -9"), killed, "s", 3.0),
        Goal::at_most(4, what("start after a clean stop"), closed, "s", 3.0),
    ]
}

/// Share of one core that the delivery's two threads took.
fn busy(found: &Found) -> f64 {
    let times = [DELIVERER, HOUSEKEEPER].map(|name| found.threads.get(name));
    times.into_iter().flatten().sum::<f64>() / 1e3 / found.idle
}

fn ratio(found: &Found) -> Spread {
    let ratios: Vec<f64> = found.rates.iter().map(|[a, b]| a / b).collect();
    Spread::of(&ratios)
}

fn rates(found: &Found) -> Table {
    let side = |side: usize| {
        let rates: Vec<f64> = found.rates.iter().map(|rates| rates[side]).collect();
        format!("{} /s", count(Spread::of(&rates).median))
    };
    Table {
        caption: format!(
            "Appends, with {} delayed messages in the end.",
            found.waiting
        ),
        columns: ["delayed", "others", "ratio (spread)"]
            .map(String::from)
            .to_vec(),
        rows: vec![vec![side(0), side(1), ratio(found).to_string()]],
    }
}

fn threads(found: &Found) -> Table {
    let row = |(name, time): (&String, &f64)| {
        let share = time / 10.0 / found.idle;
        vec![
            name.clone(),
            format!("{time:.2} ms"),
            format!("{share:.3} %"),
        ]
    };
    Table {
        caption: format!(
            "Processor time of each thread in {:.1} s without anything due. All but the {DELIVERER} and the {HOUSEKEEPER} are the store's.",
            found.idle
        ),
        columns: ["thread", "time", "of one core"].map(String::from).to_vec(),
        rows: found.threads.iter().map(row).collect(),
    }
}

fn restarts(starts: [Start; 2]) -> Table {
    let row = |(name, start): (&str, Start)| {
        let seconds = [start.store, start.groups, start.seconds()];
        let cells = seconds.map(|seconds| format!("{seconds:.2} s"));
        [vec![name.to_owned()], cells.to_vec()].concat()
    };
    Table {
        caption: "Starts.".to_owned(),
        columns: ["after", "the store", "the groups", "both"]
            .map(String::from)
            .to_vec(),
        rows: ["kill -9", "a clean stop"]
            .into_iter()
            .zip(starts)
            .map(row)
            .collect(),
    }
}

fn lateness(late: Lateness) -> Table {
    let times = [late.p50, late.p999, late.max].map(|time| format!("{time:.1} ms"));
    Table {
        caption: format!("How late they came, {} a second.", count(DUE_RATE as f64)),
        columns: ["messages", "p50", "p99.9", "the latest"]
            .map(String::from)
            .to_vec(),
        rows: vec![[vec![late.messages.to_string()], times.to_vec()].concat()],
    }
}
