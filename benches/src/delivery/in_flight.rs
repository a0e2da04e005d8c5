//! Figure 5, the second half: one group that has received millions and acknowledged none.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_benches::figures::{bytes, count};
use foliomq_benches::goal::Goal;
use foliomq_benches::procfs;
use foliomq_benches::section::Table;
use foliomq_delivery::{Delivery, Filter, Receive};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Bench;
use crate::broker::Broker;
use crate::page::Section;
use crate::role::{Process, hand_over};
use crate::scale::Scale;

const TOPIC: &str = "unsettled";
const GROUP: &str = "slow";
/// A group may have a million un-acknowledged in each queue.
const QUEUES: u32 = 16;
const BODY: usize = 16;
/// Messages that come after all those; two are acknowledged then.
const MORE: u64 = 32;
/// What is received before memory is looked at first, so that what a first use costs is not counted.
const FIRST: u64 = 1000;

/// What the process found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// Bytes of private memory before the messages were received, and after.
    memory: [u64; 2],
    /// Messages between the two.
    received: u64,
    /// Messages per second.
    rate: f64,
    /// The longest single receive while the group grew, and while the broker kept house beside it, milliseconds.
    longest: f64,
    /// What was un-acknowledged then, as the group says.
    in_flight: u64,
    /// A receive with that many, milliseconds.
    receive: f64,
    /// An ack of a new delivery, and of the first of all, milliseconds.
    acks: [f64; 2],
    /// A clean stop and a start with them, seconds.
    start: f64,
    /// What was un-acknowledged after that.
    in_flight_after: u64,
}

impl Found {
    fn each(&self) -> f64 {
        let [before, after] = self.memory;
        after.saturating_sub(before) as f64 / self.received as f64
    }
}

/// The role: its memory is to be its own.
pub fn role(folder: &Path, scale: &Scale) -> Result<()> {
    let (mut broker, _) = Broker::open(folder)?;
    broker.topic(TOPIC, QUEUES)?;
    broker.fill(TOPIC, scale.in_flight, BODY)?;
    broker.run(broker.clock)?;
    // Its handle alone: a message keeps the log open.
    let oldest = receive(&broker)?.into_iter().next();
    let oldest = oldest.context("nothing was received")?.handle;
    let (mut had, mut longest) = (32, Duration::ZERO);
    let (mut memory, mut start) = ([0; 2], (Instant::now(), 0));
    while had < scale.in_flight {
        if memory[0] == 0 && had >= FIRST {
            (memory[0], start) = (procfs::private_memory()?, (Instant::now(), had));
        }
        let begin = Instant::now();
        let count = receive(&broker)?.len() as u64;
        ensure!(count > 0, "{had} of {} messages came", scale.in_flight);
        (had, longest) = (had + count, longest.max(begin.elapsed()));
    }
    let (took, received) = (start.0.elapsed(), had - start.1);
    let in_flight = in_flight(&broker)?;
    memory[1] = procfs::private_memory()?;
    let (receive, acks) = go_on(&broker, &oldest)?;
    broker.close()?;
    let (broker, start) = Broker::open(folder)?;
    hand_over(&Found {
        memory,
        received,
        rate: received as f64 / took.as_secs_f64(),
        longest: milliseconds(longest),
        in_flight,
        receive,
        acks,
        start: start.seconds(),
        in_flight_after: self::in_flight(&broker)?,
    })
}

/// A receive, an ack of what it brings, and one of the oldest delivery.
fn go_on(broker: &Broker, oldest: &str) -> Result<(f64, [f64; 2])> {
    broker.fill(TOPIC, MORE, BODY)?;
    let begin = Instant::now();
    let news = receive(broker)?;
    let receive = milliseconds(begin.elapsed());
    ensure!(news.len() as u64 == MORE, "{} messages came", news.len());
    let ack = |handle: &str| -> Result<f64> {
        let begin = Instant::now();
        let now = broker.clock.now();
        broker.groups.ack(GROUP, TOPIC, handle, now)?;
        Ok(milliseconds(begin.elapsed()))
    };
    Ok((receive, [ack(&news[0].handle)?, ack(oldest)?]))
}

fn receive(broker: &Broker) -> Result<Vec<Delivery>> {
    let request = Receive {
        group: GROUP,
        topic: TOPIC,
        filter: &Filter::All,
        most: 32,
        invisible: Duration::from_secs(6 * 3600),
        auto_renew: false,
    };
    Ok(broker
        .groups
        .receive(&request, broker.clock.now())?
        .messages)
}

fn in_flight(broker: &Broker) -> Result<u64> {
    let group = broker.groups.group(GROUP).context("the group is gone")?;
    Ok(group.queues.iter().map(|queue| queue.in_flight).sum())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub fn run(bench: &Bench) -> Result<Section> {
    let folder = bench.place()?;
    let (_process, found) = Process::start::<Found>("in-flight", folder.path(), &bench.scale)?;
    let all = bench.scale.in_flight;
    let many = count(all as f64);
    let still =
        format!("{many} un-acknowledged, then a receive and acks: still so after a restart");
    let (kept, expected) = (found.in_flight_after as f64, (all + MORE - 2) as f64);
    Ok(Section {
        number: 5,
        title: "Messages in flight",
        text: format!(
            "A process of its own stores {many} messages of {} in {QUEUES} queues and receives all of them for one group, 32 a call, without \
             an ack, while its groups keep house once a second (which writes snapshots of the journal). Memory is what is private to the \
             process and no file's, after the first {FIRST} and after the last. Then {MORE} more messages come, and two are acknowledged.",
            bytes(BODY as u64)
        ),
        tables: vec![table(&many, &found)],
        goals: vec![
            Goal::at_most(
                5,
                "Memory for each message in flight",
                found.each(),
                "bytes",
                100.0,
            ),
            Goal::at_least(5, still, kept, "messages", expected),
        ],
        figures: json!(found),
    })
}

fn table(many: &str, found: &Found) -> Table {
    let [before, after] = found.memory.map(|bytes| format!("{} MiB", bytes >> 20));
    let [newest, oldest] = found.acks.map(|time| format!("{time:.3} ms"));
    let rows = [
        (
            "un-acknowledged, as the group says",
            found.in_flight.to_string(),
        ),
        (
            "private memory before and after",
            format!("{before} and {after}"),
        ),
        ("received", format!("{} /s", count(found.rate))),
        (
            "the longest receive meanwhile",
            format!("{:.1} ms", found.longest),
        ),
        ("a receive of 32 then", format!("{:.3} ms", found.receive)),
        (
            "an ack of the newest, and of the oldest",
            format!("{newest}, {oldest}"),
        ),
        ("start after a clean stop", format!("{:.2} s", found.start)),
        (
            "un-acknowledged after it, as the group says",
            found.in_flight_after.to_string(),
        ),
    ];
    Table {
        caption: format!("One group with {many} messages un-acknowledged."),
        columns: ["what", "measured"].map(String::from).to_vec(),
        rows: rows
            .map(|(what, measured)| vec![what.to_owned(), measured])
            .to_vec(),
    }
}
