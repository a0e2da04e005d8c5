//! Figure 3: stored messages to consumers, by our own encoding and by tonic's.

use anyhow::Result;
use foliomq_benches::figures::{bytes, count, significant};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{Api, Plan, Until, Workload};

use crate::measure::{Bench, Sample, Side, median, rate, ratio};
use crate::page::Section;

/// Sizes at which more than equality is asked for.
const HELD: [usize; 4] = [256, 1 << 10, 4 << 10, 16 << 10];

pub fn run(bench: &Bench) -> Result<Section> {
    let mut bare = bench.bare()?;
    let mut own = bench.broker("own", &["flush=async"])?;
    let mut tonic = bench.broker("tonic", &["flush=async", "encoding=tonic"])?;
    let (mut rows, mut goals, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for &body in &bench.scale.bodies {
        bare.topic = body.to_string();
        for api in [Api::Native, Api::V2] {
            for side in [&mut own, &mut tonic] {
                fill(bench, side, api, body)?;
            }
            let plan = Plan {
                workload: Workload::Consume,
                api,
                body,
                in_flight: 4,
                acknowledge: false,
                ..bench.plan()
            };
            let mut cases = vec![(&own, plan.clone()), (&tonic, plan.clone())];
            if api == Api::Native {
                cases.push((&bare, plan));
            }
            let samples = bench.rounds(&cases)?;
            rows.push(row(api, body, &samples));
            goals.push(goal(api, body, &samples));
            all.extend(samples.concat());
        }
    }
    let columns = [
        "body",
        "call",
        "own",
        "tonic",
        "own / tonic (spread)",
        "server s per GB, own",
        "tonic",
        "generator cores, own",
        "bare tonic stream",
    ];
    Ok(Section {
        number: 3,
        title: "ReceiveMessage and Subscribe of stored messages",
        text: "The same broker twice, with `encoding = own` and `encoding = tonic`, both with the same messages in the page cache. \
               Subscribe reads queues from their start, again and again; ReceiveMessage leases 32 messages a call, four calls at a \
               time, for a new group in each pass, and does not acknowledge. The generator counts messages without decoding them. \
               The bare stream sends one response that it made beforehand, over and over."
            .to_owned(),
        tables: vec![Table {
            caption: "Messages per second, one connection; HTTP/2 frames of 16 KiB.".to_owned(),
            columns: columns.map(String::from).to_vec(),
            rows,
        }],
        goals,
        samples: all,
        rows: Vec::new(),
    })
}

/// Stores messages of this size in a topic of their own, sent as they will be received.
fn fill(bench: &Bench, side: &mut Side, api: Api, body: usize) -> Result<()> {
    side.topic = format!("{}-{body}", name(api));
    bench.topic(side, &side.topic)?;
    let batch = ((64 << 10) / body).clamp(1, 1000);
    let messages = (bench.scale.stored / body as u64).clamp(256, 300_000);
    let in_flight = match api {
        Api::Native => batch * 16,
        Api::V2 => 4,
    };
    let plan = Plan {
        api,
        body,
        batch,
        in_flight,
        until: Until::Messages(messages),
        ..Plan::default()
    };
    bench.run(side, &plan)?;
    Ok(())
}

fn row(api: Api, body: usize, samples: &[Vec<Sample>]) -> Vec<String> {
    let floor = samples.get(2).map_or("-".to_owned(), |bare| {
        format!("{} /s", count(median(bare, rate)))
    });
    vec![
        bytes(body as u64),
        name(api).to_owned(),
        format!("{} /s", count(median(&samples[0], rate))),
        format!("{} /s", count(median(&samples[1], rate))),
        ratio(&samples[0], &samples[1], rate).to_string(),
        significant(median(&samples[0], Sample::seconds_per_gigabyte)),
        significant(median(&samples[1], Sample::seconds_per_gigabyte)),
        significant(median(&samples[0], |sample| sample.generator_cores)),
        floor,
    ]
}

fn goal(api: Api, body: usize, samples: &[Vec<Sample>]) -> Goal {
    let what = format!(
        "{}, {}, own / tonic's encoding",
        name(api),
        bytes(body as u64)
    );
    let target = if HELD.contains(&body) { 1.3 } else { 1.0 };
    Goal::at_least(
        3,
        what,
        ratio(&samples[0], &samples[1], rate).median,
        "x",
        target,
    )
}

fn name(api: Api) -> &'static str {
    match api {
        Api::Native => "Subscribe",
        Api::V2 => "ReceiveMessage",
    }
}
