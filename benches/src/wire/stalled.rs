//! Figure 7: consumers that do not read, under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_benches::figures::{Spread, count};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{
    Api, BrokerSays, Connection, Plan, Report, Target, Until, Workload, broker_says, frame, process,
};
use foliomq_proto::v1::{
    Open, QueueSource, QueueStart, SubscribeRequest, open::From, subscribe_request::Request,
};
use tokio::time::sleep;

use crate::measure::{Bench, PATIENCE, Side};
use crate::page::Section;

const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";
/// Streams that do not read, each of which the broker might hold messages for.
const STALLED: usize = 16;
/// What one of them lets the broker send before it reads, MiB: the generator's window for a stream.
const WINDOW: f64 = 4.0;
/// The producer's rate: so that what is asked of the broker is the same before, while and after.
const RATE: f64 = 20_000.0;
/// Bytes of the bodies that are not read: large enough to leave as pages of the log and not as copies.
const SIZE: usize = 16 << 10;
/// Where the producer's messages go; the consumers read another topic.
const BESIDE: &str = "beside";
/// What the producer sends meanwhile does not drive out what is read.
const RETENTION: &str = "retention-size=16GiB";
/// In so many parts the time is measured.
const PARTS: u32 = 4;
const MIB: f64 = (1 << 20) as f64;

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Of the consumer that reads, while nobody is stalled.
    calm: Vec<f64>,
    /// While the others are.
    stalled: Vec<f64>,
    /// Of the producer: the lowest share of its rate.
    produced: f64,
    /// Of the broker's own memory, MiB.
    grown: f64,
    /// Bytes of the log's pages that answers keep: the most, those at the end of the stall, and those after it.
    pinned: [u64; 3],
    /// Seconds from the end of the stall until no page was kept.
    released: f64,
}

pub fn run(bench: &Bench) -> Result<Section> {
    let side = bench.broker("async", &["flush=async", RETENTION])?;
    bench.topic(&side, BESIDE)?;
    let fill = Plan {
        body: SIZE,
        batch: 64,
        in_flight: 1024,
        until: Until::Messages((bench.scale.stored / SIZE as u64).max(1000)),
        ..Plan::default()
    };
    bench.run(&side, &fill)?;
    let seen = bench.runtime.block_on(look(bench, &side))?;
    let (calm, stalled) = (Spread::of(&seen.calm), Spread::of(&seen.stalled));
    let row = |name: &str, rate: Spread| {
        let range = format!("{} to {}", count(rate.low), count(rate.high));
        vec![name.to_owned(), format!("{} /s", count(rate.median)), range]
    };
    Ok(Section {
        number: 7,
        title: "Consumers that stop reading",
        text: text(bench, &seen),
        tables: vec![Table {
            caption: "The consumer that reads.".to_owned(),
            columns: ["while", "messages, median", "lowest to highest"]
                .map(String::from)
                .to_vec(),
            rows: vec![
                row("nobody is stalled (before and after)", calm),
                row("the others do not read", stalled),
            ],
        }],
        goals: goals(&seen, stalled.median / calm.median.max(f64::MIN_POSITIVE)),
        samples: Vec::new(),
        rows: Vec::new(),
    })
}

fn text(bench: &Bench, seen: &Seen) -> String {
    let [most, held, left] = seen.pinned.map(|bytes| bytes as f64 / MIB);
    format!(
        "{STALLED} subscriptions of one connection take what their windows allow ({WINDOW} MiB each) and then read nothing, for {} s, \
         while another consumer reads stored messages of 16 KiB, as they are, as fast as it can and a producer sends {} messages/s of 1 KiB to another topic. The \
         broker's own memory grew by {:.1} MiB at most. Answers that no socket had taken kept up to {most:.2} MiB of the log's pages while \
         the others were stalled, {held:.2} MiB at the end of that, and {left:.2} MiB {:.1} s after their connection was closed \
         (`pinned_bytes` of `foliomq status --json`).",
        bench.scale.stall.as_secs_f64(),
        count(RATE),
        seen.grown,
        seen.released,
    )
}

fn goals(seen: &Seen, ratio: f64) -> Vec<Goal> {
    vec![
        Goal::at_most(
            7,
            "Memory that grew, of the windows of the stalled",
            seen.grown,
            "MiB",
            WINDOW * STALLED as f64,
        ),
        Goal::at_most(
            7,
            "Pages of the log that are kept after the stall",
            seen.pinned[2] as f64,
            "bytes",
            0.0,
        ),
        Goal::at_least(
            7,
            "Rate of the others, with / without the stalled",
            ratio,
            "x",
            0.9,
        ),
        Goal::at_least(
            7,
            "The producer's rate meanwhile, of what was asked",
            seen.produced,
            "x",
            0.9,
        ),
    ]
}

async fn look(bench: &Bench, side: &Side) -> Result<Seen> {
    let target = side.target();
    let memory = || process::memory(side.server.pid()).map(|(_, own)| own as f64 / MIB);
    let part = bench.scale.stall / PARTS;
    let load = Load::new(bench, side, part);
    let says = Connection::open(&target, "status").await?;
    // The first pass is what makes the broker's memory what it is under load.
    load.run(&target).await?;
    let mut seen = Seen {
        produced: f64::MAX,
        ..Seen::default()
    };
    seen.calm.push(load.run(&target).await?.0.rate);
    let calm = memory()?;
    let connection = Connection::open(&target, "stalled").await?;
    let uri = connection.uri(SUBSCRIBE)?;
    let mut held = Vec::new();
    for _ in 0..STALLED {
        held.push(connection.hold(&uri, open(&side.topic)).await?);
    }
    let begin = Instant::now();
    while begin.elapsed() < bench.scale.stall {
        let (consumer, producer) = load.run(&target).await?;
        seen.stalled.push(consumer.rate);
        seen.produced = seen.produced.min(producer.rate / RATE);
        seen.grown = seen.grown.max(memory()? - calm);
        seen.pinned[1] = broker_says(&says).await?.pinned;
        seen.pinned[0] = seen.pinned[0].max(seen.pinned[1]);
    }
    drop((held, connection));
    let freed = Instant::now();
    let left = until_free(&says).await?;
    (seen.pinned[2], seen.released) = (left.pinned, freed.elapsed().as_secs_f64());
    seen.calm.push(load.run(&target).await?.0.rate);
    Ok(seen)
}

/// Waits until no pages are kept, or for as long as that may take at most.
async fn until_free(connection: &Connection) -> Result<BrokerSays> {
    let begin = Instant::now();
    loop {
        let says = broker_says(connection).await?;
        if says.pinned == 0 || begin.elapsed() > PATIENCE {
            return Ok(says);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A consumer and a producer side by side.
struct Load {
    consumer: Plan,
    producer: Plan,
}

impl Load {
    fn new(bench: &Bench, side: &Side, time: Duration) -> Self {
        let plan = Plan {
            api: Api::Native,
            topic: side.topic.clone(),
            acknowledge: false,
            until: Until::Time(time),
            warmup: bench.scale.warmup,
            ..Plan::default()
        };
        Self {
            producer: Plan {
                topic: BESIDE.to_owned(),
                batch: 16,
                rate: Some(RATE),
                ..plan.clone()
            },
            consumer: Plan {
                workload: Workload::Consume,
                ..plan
            },
        }
    }

    async fn run(&self, target: &Target) -> Result<(Report, Report)> {
        let consumer = foliomq_load::run(target, &self.consumer, |_| ());
        let producer = foliomq_load::run(target, &self.producer, |_| ());
        let both = tokio::try_join!(consumer, producer);
        both.context("the load beside the stalled")
    }
}

fn open(topic: &str) -> bytes::Bytes {
    let start = |queue_id| QueueStart {
        topic: topic.to_owned(),
        queue_id,
        queue_offset: 0,
    };
    frame(&SubscribeRequest {
        request: Some(Request::Open(Open {
            from: Some(From::Queues(QueueSource {
                queues: (0..4).map(start).collect(),
            })),
            credit: 1 << 20,
            ..Open::default()
        })),
    })
}
