//! Figure 2: the Publish stream.

use anyhow::Result;
use foliomq_benches::figures::{Spread, count, significant};
use foliomq_benches::goal::Goal;
use foliomq_load::{Api, Plan};

use crate::measure::{Bench, median, rate, ratio};
use crate::page::{Section, rates};

const BODY: usize = 1 << 10;

pub fn run(bench: &Bench) -> Result<Section> {
    let bare = bench.bare()?;
    let cached = bench.broker("async", &["flush=async"])?;
    let flushed = bench.broker("sync", &["flush=sync"])?;
    let plan = |batch: usize| Plan {
        api: Api::Native,
        body: BODY,
        batch,
        in_flight: 1024.max(batch * 16),
        ..bench.plan()
    };
    let disk = |rounds: usize| {
        (0..rounds)
            .map(|_| bench.disk())
            .collect::<Result<Vec<f64>>>()
    };
    let written = |batch| bench.written(BODY, batch);
    let before = disk(1)?;
    let own = [written(1)?, written(100)?, written(1000)?];
    let samples = bench.rounds(&[
        (&bare, plan(1)),
        (&cached, plan(1)),
        (&bare, plan(100)),
        (&cached, plan(100)),
        (&bare, plan(1000)),
        (&cached, plan(1000)),
        (&flushed, plan(1)),
        (&flushed, plan(100)),
    ])?;
    let disk = Spread::of(&[before, disk(1)?].concat());
    let names = [
        "bare tonic, 1 a frame",
        "async, 1 a frame",
        "bare tonic, 100 a frame",
        "async, 100 a frame",
        "bare tonic, 1,000 a frame",
        "async, 1,000 a frame",
        "sync, 1 a frame",
        "sync, 100 a frame",
    ];
    let cases: Vec<_> = names
        .iter()
        .zip(&samples)
        .map(|(name, samples)| ((*name).to_owned(), &samples[..]))
        .collect();
    let table = rates(
        "Bodies of 1 KiB, one stream; 1,024 messages in flight, or 16 frames.",
        &cases,
    );
    let sync = median(&samples[7], |sample| sample.report.megabytes);
    let text = format!(
        "One bidirectional stream, in a closed loop. The disk takes {} MB/s sequentially, with a flush after every MiB. `write(2)` puts \
         {} messages/s into a new file one body at a time, {} by 100 and {} by 1,000: the machine's own figures of the asynchronous modes, \
         which have to put the same bytes into the page cache.",
        significant(disk.median),
        count(own[0]),
        count(own[1]),
        count(own[2]),
    );
    let own_ratio =
        |own: f64, bare: usize| own / median(&samples[bare], rate).max(f64::MIN_POSITIVE);
    Ok(Section {
        number: 2,
        title: "Publish stream, 1 KiB",
        text,
        tables: vec![table],
        goals: vec![
            Goal::at_least(
                2,
                "Publish, 1 a frame, async / bare tonic stream",
                ratio(&samples[1], &samples[0], rate).median,
                "x",
                0.55,
            )
            .with_floor(own_ratio(own[0], 0)),
            Goal::at_least(
                2,
                "Publish, 100 a frame, async / bare tonic stream",
                ratio(&samples[3], &samples[2], rate).median,
                "x",
                0.65,
            )
            .with_floor(own_ratio(own[1], 2)),
            Goal::at_least(
                2,
                "Publish, 1,000 a frame, async",
                median(&samples[5], rate) / 1e6,
                "M/s",
                1.08,
            )
            .with_floor(own[2] / 1e6),
            Goal::at_least(
                2,
                "Publish, 100 a frame, sync / what the disk writes",
                sync / disk.median.max(f64::MIN_POSITIVE),
                "x",
                0.5,
            ),
        ],
        samples: samples.concat(),
        rows: Vec::new(),
    })
}
