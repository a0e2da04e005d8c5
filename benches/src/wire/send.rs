//! Figure 1: SendMessage, one message a call.

use anyhow::Result;
use foliomq_benches::goal::Goal;
use foliomq_load::{Api, Plan};

use crate::measure::{Bench, median, rate, ratio};
use crate::page::{Section, rates};

pub fn run(bench: &Bench) -> Result<Section> {
    let bare = bench.bare()?;
    let cached = bench.broker("async", &["flush=async"])?;
    let flushed = bench.broker("sync", &["flush=sync"])?;
    let many = Plan {
        api: Api::V2,
        in_flight: 64,
        ..bench.plan()
    };
    let one = Plan {
        in_flight: 1,
        ..many.clone()
    };
    let samples = bench.rounds(&[
        (&bare, many.clone()),
        (&cached, many.clone()),
        (&flushed, many),
        (&bare, one.clone()),
        (&cached, one.clone()),
        (&flushed, one),
    ])?;
    let names = [
        "bare tonic, 64 in flight",
        "async, 64 in flight",
        "sync, 64 in flight",
        "bare tonic, 1 in flight",
        "async, 1 in flight",
        "sync, 1 in flight",
    ];
    let cases: Vec<_> = names
        .iter()
        .zip(&samples)
        .map(|(name, samples)| ((*name).to_owned(), &samples[..]))
        .collect();
    let table = rates("Bodies of 1 KiB, one connection.", &cases);
    let p50 = |samples| median(samples, |sample| sample.report.latency.p50);
    let floor = median(&samples[0], rate);
    Ok(Section {
        number: 1,
        title: "SendMessage, one message of 1 KiB a call",
        text: "Unary calls on one connection, in a closed loop.".to_owned(),
        tables: vec![table],
        goals: vec![
            Goal::at_least(
                1,
                "SendMessage, 64 in flight, async / bare tonic",
                ratio(&samples[1], &samples[0], rate).median,
                "x",
                0.8,
            ),
            Goal::at_least(
                1,
                "SendMessage, 64 in flight, sync / bare tonic",
                ratio(&samples[2], &samples[0], rate).median,
                "x",
                0.6,
            ),
            Goal::at_most(
                1,
                "SendMessage, 1 in flight, async: p50 above bare tonic",
                p50(&samples[4]) - p50(&samples[3]),
                "us",
                15.0,
            )
            .with_floor(p50(&samples[3])),
            Goal::at_least(
                1,
                "SendMessage, 64 in flight, async (for comparison)",
                median(&samples[1], rate) / 1e3,
                "k/s",
                0.8 * floor / 1e3,
            )
            .with_floor(floor / 1e3),
        ],
        samples: samples.concat(),
        rows: Vec::new(),
    })
}
