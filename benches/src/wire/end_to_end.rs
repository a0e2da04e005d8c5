//! Figure 5: from the intended send to the consumer's hands.

use anyhow::Result;
use foliomq_benches::figures::nanoseconds;
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{Api, Plan, Until, Workload};

use crate::measure::{Bench, Sample};
use crate::page::Section;

/// Messages per second.
const RATE: f64 = 5000.0;

pub fn run(bench: &Bench) -> Result<Section> {
    let bare = bench.bare()?;
    let broker = bench.broker("async", &["flush=async"])?;
    let plan = |api, workload| Plan {
        workload,
        api,
        in_flight: 64,
        rate: Some(RATE),
        until: Until::Time(bench.scale.latency),
        warmup: bench.scale.warmup,
        ..Plan::default()
    };
    let floor = bench.run(&bare, &plan(Api::V2, Workload::Produce))?;
    let sent = bench.run(&broker, &plan(Api::V2, Workload::Produce))?;
    let v2 = bench.run(&broker, &plan(Api::V2, Workload::Roundtrip))?;
    let native = bench.run(&broker, &plan(Api::Native, Workload::Roundtrip))?;
    let cases = [
        ("a call to bare tonic and back", &floor),
        ("SendMessage until it is acknowledged", &sent),
        ("v2: send, long poll, receive", &v2),
        ("native: Publish, Subscribe", &native),
    ];
    let columns = [
        "case",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "longest",
        "departures late, p99",
        "server cores",
        "generator cores",
    ];
    let table = Table {
        caption: format!(
            "Open loop at {RATE} messages/s of 1 KiB, async flush; times from the intended departure."
        ),
        columns: columns.map(String::from).to_vec(),
        rows: cases
            .iter()
            .map(|(name, sample)| row(name, sample))
            .collect(),
    };
    let latency = |sample: &Sample| sample.report.latency;
    let (old, new) = (latency(&v2), latency(&native));
    let at_most = |what: &str, measured: f64, target: f64| {
        Goal::at_most(5, format!("End to end, {what}"), measured, "us", target)
    };
    Ok(Section {
        number: 5,
        title: "End to end at 5,000 messages a second",
        text: "Producer and consumer are the same process, so that they share a clock. The consumer of the v2 API keeps eight long \
               polls of 20 s open and acknowledges what comes; the native one has one Subscribe stream and settles on it. A message \
               that leaves late because the generator was busy counts with all of its delay."
            .to_owned(),
        tables: vec![table],
        goals: vec![
            at_most("v2, p50", old.p50, 300.0).with_floor(latency(&floor).p50),
            at_most("v2, p99", old.p99, 2000.0).with_floor(latency(&floor).p99),
            at_most("v2, p99.9", old.p999, 5000.0).with_floor(latency(&floor).p999),
            at_most("native, p50", new.p50, 200.0).with_floor(latency(&floor).p50),
            at_most("native, p99", new.p99, 1333.0).with_floor(latency(&floor).p99),
            at_most("native, p99.9", new.p999, 3333.0).with_floor(latency(&floor).p999),
        ],
        samples: vec![floor, sent, v2, native],
        rows: Vec::new(),
    })
}

fn row(name: &str, sample: &Sample) -> Vec<String> {
    let (latency, late) = (sample.report.latency, sample.report.late);
    let times = [
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.max,
        late.p99,
    ];
    let mut row = vec![name.to_owned()];
    row.extend(times.map(|time| nanoseconds(time * 1e3)));
    row.push(format!("{:.2}", sample.server_cores));
    row.push(format!("{:.2}", sample.generator_cores));
    row
}
