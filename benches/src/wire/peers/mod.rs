//! The same messages to and from other servers: `make bench-peers`.

mod drive;
mod nats;
mod process;
mod redis;
mod roundtrip;

use anyhow::{Context, Result};
use foliomq_benches::figures::{Spread, count, significant};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{Api, Plan, Workload};
use serde::Serialize;

use crate::measure::{Bench, Sample, Side};
use crate::page::Section;
use drive::{Drive, Driven};
use process::{Peer, Which};

/// Bytes of a body.
pub const BODY: usize = 1024;
/// Messages on their way at once.
const WINDOWS: [usize; 3] = [1, 256, 4000];
/// Messages that are read at a time, of other servers.
const FETCH: usize = 256;
/// Messages a second of a round trip.
const RATE: u32 = 5000;
/// Messages that are stored before they are read.
const STORED: u64 = 200_000;

/// One server in one mode.
struct Contender {
    name: &'static str,
    /// What an acknowledgement stands for.
    durability: String,
    kind: Kind,
}

enum Kind {
    /// It keeps nothing, and so takes and hands out, but passes nothing on.
    Floor(Side),
    Ours(Side),
    Other(Peer),
}

/// What was measured of one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    server: &'static str,
    work: String,
    rates: Vec<f64>,
    p50: f64,
    p99: f64,
    server_cores: f64,
    generator_cores: f64,
}

/// Measures all that are installed.
pub fn run(bench: &Bench) -> Result<Section> {
    let (contenders, skipped) = contenders(bench)?;
    let mut rows: Vec<Row> = Vec::new();
    for work in works() {
        let able: Vec<&Contender> = contenders
            .iter()
            .filter(|contender| contender.can(&work))
            .collect();
        let mut found: Vec<Vec<Driven>> = vec![Vec::new(); able.len()];
        for round in 0..bench.scale.rounds {
            for step in 0..able.len() {
                let turn = (step + round) % able.len();
                let contender = able[turn];
                let driven = contender.run(bench, &work);
                let which = || format!("{}: {work}", contender.name);
                found[turn].push(driven.with_context(which)?);
            }
        }
        rows.extend(
            able.iter()
                .zip(found)
                .map(|(contender, found)| row(contender.name, &work, &found)),
        );
    }
    let durability = contenders
        .iter()
        .map(|contender| format!("- **{}**: {}", contender.name, contender.durability));
    let mut text = format!(
        "Bodies of 1 KiB, one connection, every server alone on its core and its clients on the other. Acknowledged means:\n\n{}\n",
        durability.collect::<Vec<_>>().join("\n")
    );
    for skipped in skipped {
        text.push_str(&format!("\nNot measured: {skipped}.\n"));
    }
    text.push_str("\nThe clients of the others are as bare as ours: requests written from a buffer, answers counted.");
    Ok(Section {
        number: 2,
        title: "Beside other servers",
        text,
        tables: vec![table(&rows)],
        goals: goals(&rows),
        samples: Vec::new(),
        rows,
    })
}

/// What is done.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// So many messages in flight, so many a frame where the protocol has frames.
    Publish(usize, usize),
    /// Stored messages, from the first on.
    Read,
    /// The same for a group or a consumer, which acknowledges each.
    Consume,
    /// So many a second, from the moment at which each was meant to leave to the hands of a consumer, which acknowledges it.
    RoundTrip(u32),
}

fn works() -> Vec<Work> {
    let publish = WINDOWS.map(|window| Work::Publish(window, 1));
    publish
        .into_iter()
        .chain([
            Work::Publish(4000, 100),
            Work::Read,
            Work::Consume,
            Work::RoundTrip(RATE),
        ])
        .collect()
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(window, 1) => write!(f, "publish, {window} in flight"),
            Self::Publish(window, batch) => {
                write!(f, "publish, {batch} a frame, {window} in flight")
            }
            Self::Read => write!(f, "read what is stored, without acknowledging"),
            Self::Consume => write!(f, "consume what is stored, acknowledging each"),
            Self::RoundTrip(rate) => {
                write!(f, "round trip, {rate} /s, acknowledged by the consumer")
            }
        }
    }
}

fn contenders(bench: &Bench) -> Result<(Vec<Contender>, Vec<String>)> {
    let ours = |name, durability, flush| -> Result<Contender> {
        Ok(Contender {
            name,
            durability: String::from(durability),
            kind: Kind::Ours(bench.broker(name, &[flush])?),
        })
    };
    let mut bare = bench.bare()?;
    bare.topic = BODY.to_string();
    let mut contenders = vec![
        Contender {
            name: "bare tonic",
            durability: "nothing is kept: the floor of a gRPC stream".to_owned(),
            kind: Kind::Floor(bare),
        },
        ours(
            "FolioMQ async",
            "in the page cache: survives kill -9, flushed every 500 ms",
            "flush=async",
        )?,
        ours(
            "FolioMQ sync",
            "fdatasync before the acknowledgement, shared by all that wait",
            "flush=sync",
        )?,
    ];
    let mut skipped = Vec::new();
    for which in Which::ALL {
        match bench.on_its_core(|| Peer::start(which, bench.folder()))? {
            Some(peer) => contenders.push(Contender {
                name: which.name(),
                durability: peer.durability(),
                kind: Kind::Other(peer),
            }),
            None => skipped.push(format!(
                "{}, since {} is not installed",
                which.name(),
                which.program()
            )),
        }
    }
    Ok((contenders, skipped))
}

impl Contender {
    fn can(&self, work: &Work) -> bool {
        match (&self.kind, work) {
            (Kind::Other(_), Work::Publish(_, batch)) => *batch == 1,
            (Kind::Floor(_), Work::Consume | Work::RoundTrip(_)) => false,
            _ => true,
        }
    }

    fn run(&self, bench: &Bench, work: &Work) -> Result<Driven> {
        match &self.kind {
            Kind::Floor(side) | Kind::Ours(side) => ours(bench, side, *work),
            Kind::Other(peer) => {
                let drive = Drive {
                    warmup: bench.scale.warmup,
                    time: bench.scale.time,
                };
                let stored = (FETCH, STORED.min(bench.scale.stored / BODY as u64));
                bench.runtime.block_on(async {
                    match *work {
                        Work::Publish(window, _) => peer.publish(&drive, window).await,
                        Work::Read => peer.read(&drive, stored, false).await,
                        Work::Consume => peer.read(&drive, stored, true).await,
                        Work::RoundTrip(rate) => peer.round_trip(&drive, rate.into()).await,
                    }
                })
            }
        }
    }
}

fn ours(bench: &Bench, side: &Side, work: Work) -> Result<Driven> {
    let plan = match work {
        Work::Publish(window, batch) => Plan {
            api: Api::Native,
            body: BODY,
            batch,
            in_flight: window,
            ..bench.plan()
        },
        Work::Read => Plan {
            workload: Workload::Consume,
            body: BODY,
            acknowledge: false,
            ..bench.plan()
        },
        Work::Consume => Plan {
            workload: Workload::Consume,
            body: BODY,
            ..bench.plan()
        },
        Work::RoundTrip(rate) => Plan {
            workload: Workload::Roundtrip,
            body: BODY,
            rate: Some(rate.into()),
            ..bench.plan()
        },
    };
    let sample: Sample = bench.run(side, &plan)?;
    Ok(Driven {
        rate: sample.report.rate,
        p50: sample.report.latency.p50,
        p99: sample.report.latency.p99,
        server_cores: sample.server_cores,
        generator_cores: sample.generator_cores,
    })
}

fn row(server: &'static str, work: &Work, found: &[Driven]) -> Row {
    let median =
        |of: fn(&Driven) -> f64| Spread::of(&found.iter().map(of).collect::<Vec<_>>()).median;
    Row {
        server,
        work: work.to_string(),
        rates: found.iter().map(|driven| driven.rate).collect(),
        p50: median(|driven| driven.p50),
        p99: median(|driven| driven.p99),
        server_cores: median(|driven| driven.server_cores),
        generator_cores: median(|driven| driven.generator_cores),
    }
}

fn table(rows: &[Row]) -> Table {
    let columns = [
        "work",
        "server",
        "messages (lowest to highest)",
        "p50 / p99",
        "server cores",
        "client cores",
    ];
    let row = |row: &Row| {
        let rate = Spread::of(&row.rates);
        let latency = match row.p99 > 0.0 {
            true => format!("{:.0} / {:.0} us", row.p50, row.p99),
            false => "-".to_owned(),
        };
        vec![
            row.work.clone(),
            row.server.to_owned(),
            format!(
                "{} /s ({} to {})",
                count(rate.median),
                count(rate.low),
                count(rate.high)
            ),
            latency,
            significant(row.server_cores),
            significant(row.generator_cores),
        ]
    };
    Table {
        caption: "Closed loops, and latency from a message's departure to its acknowledgement; the round trip is an open loop, and \
                  its latency from the moment at which a message was meant to leave to the consumer's hands."
            .to_owned(),
        columns: columns.map(String::from).to_vec(),
        rows: rows.iter().map(row).collect(),
    }
}

/// Our asynchronous publish at its best against that of the others.
fn goals(rows: &[Row]) -> Vec<Goal> {
    let best = |server: &str| {
        let rates = rows
            .iter()
            .filter(|row| row.server == server && row.work.starts_with("publish"));
        rates
            .map(|row| Spread::of(&row.rates).median)
            .fold(None, |best: Option<f64>, rate| {
                Some(best.unwrap_or(0.0).max(rate))
            })
    };
    let floor = best("bare tonic");
    let (cached, flushed) = (best("FolioMQ async"), best("FolioMQ sync"));
    let goal = |ours: Option<f64>, mode: &str, which: Which, target: f64| {
        let theirs = best(which.name());
        let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        let what = format!("Publish, {mode} / {}, each at its best", which.name());
        Goal::at_least(2, what, ratio, "x", target)
            .with_floor(floor.zip(theirs).map(|(floor, theirs)| floor / theirs))
    };
    vec![
        goal(cached, "async", Which::Nats, 3.0),
        goal(cached, "async", Which::RedisEverySecond, 3.0),
        goal(flushed, "sync", Which::RedisAlways, 1.0),
    ]
}
