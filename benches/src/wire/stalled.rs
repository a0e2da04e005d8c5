//! Figure 7: a consumer that does not read.

use std::time::{Duration, Instant};

use anyhow::Result;
use foliomq_benches::figures::{Spread, count};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{Api, Connection, Plan, Until, Workload, frame, process};
use foliomq_proto::v1::{
    Open, QueueSource, QueueStart, SubscribeRequest, open::From, subscribe_request::Request,
};

use crate::measure::{Bench, Side};
use crate::page::Section;

const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";
/// Streams that do not read, each of which the broker might hold messages for.
const STALLED: usize = 16;
/// What one of them lets the broker send before it reads: the generator's window for a stream.
const WINDOW: f64 = 4.0;

fn load(side: &Side, time: Duration, warmup: Duration) -> Plan {
    Plan {
        workload: Workload::Consume,
        api: Api::Native,
        topic: side.topic.clone(),
        acknowledge: false,
        until: Until::Time(time),
        warmup,
        ..Plan::default()
    }
}

fn rates(bench: &Bench, side: &Side) -> Result<(Vec<f64>, Vec<f64>, f64)> {
    let time = bench.scale.stall / 4;
    let plan = load(side, time, bench.scale.warmup);
    let target = side.target();
    bench.runtime.block_on(async {
        let memory =
            || process::memory(side.server.pid()).map(|(_, own)| own as f64 / f64::from(1 << 20));
        // The first pass is what makes the broker's memory what it is under load.
        foliomq_load::run(&target, &plan, |_| ()).await?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        before.push(foliomq_load::run(&target, &plan, |_| ()).await?.rate);
        let calm = memory()?;
        let connection = Connection::open(&target, "stalled").await?;
        let uri = connection.uri(SUBSCRIBE)?;
        let mut held = Vec::new();
        for _ in 0..STALLED {
            held.push(connection.hold(&uri, open(&side.topic)).await?);
        }
        let (begin, mut most) = (Instant::now(), calm);
        while begin.elapsed() < bench.scale.stall {
            after.push(foliomq_load::run(&target, &plan, |_| ()).await?.rate);
            most = most.max(memory()?);
        }
        drop(held);
        before.push(foliomq_load::run(&target, &plan, |_| ()).await?.rate);
        Ok((before, after, most - calm))
    })
}

pub fn run(bench: &Bench) -> Result<Section> {
    let mut side = bench.broker("async", &["flush=async"])?;
    let fill = Plan {
        batch: 64,
        in_flight: 1024,
        until: Until::Messages((bench.scale.stored / 1024).max(1000)),
        ..Plan::default()
    };
    side.topic = "wire".to_owned();
    bench.run(&side, &fill)?;
    let (before, after, grown) = rates(bench, &side)?;
    let (calm, stalled) = (Spread::of(&before).median, Spread::of(&after).median);
    let row = |name: &str, rate: f64| vec![name.to_owned(), format!("{} /s", count(rate))];
    Ok(Section {
        number: 7,
        title: "Consumers that stop reading",
        text: format!(
            "{STALLED} subscriptions of one connection take what their windows allow ({WINDOW} MiB each) and then read nothing, for {} s, \
             while another consumer reads stored messages as fast as it can. The broker's own memory grew by {grown:.1} MiB at most.",
            bench.scale.stall.as_secs_f64()
        ),
        tables: vec![Table {
            caption: "The consumer that reads.".to_owned(),
            columns: ["while", "messages"].map(String::from).to_vec(),
            rows: vec![
                row("nobody is stalled (before and after)", calm),
                row("the others do not read", stalled),
            ],
        }],
        goals: vec![
            Goal::at_most(
                7,
                "Memory that grew, of the windows of the stalled",
                grown,
                "MiB",
                WINDOW * STALLED as f64,
            ),
            Goal::at_least(
                7,
                "Rate of the others, with / without the stalled",
                stalled / calm.max(f64::MIN_POSITIVE),
                "x",
                0.9,
            ),
        ],
        samples: Vec::new(),
        rows: Vec::new(),
    })
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
