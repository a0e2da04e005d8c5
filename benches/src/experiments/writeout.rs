//! How often each appended byte reaches the device, by what is preheated.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_store::{Message, Preheat, Store};

use super::{Experiment, Outcome, ratio};
use crate::bench::{self, Bench, TOPIC, WINDOW};
use crate::figures::{Comparison, Spread, Unit, bytes};
use crate::goal::Goal;
use crate::payload::Payload;
use crate::procfs::Device;
use crate::section::Table;
use crate::written::{Meter, Written, write_out};

/// Bytes of a body.
const BODY: usize = 1 << 10;
/// Messages handed over at once.
const BATCH: u64 = 64;

const MODES: [(&str, Preheat); 3] = [
    ("window", Preheat::Window { bytes: WINDOW }),
    ("off", Preheat::Off),
    ("segment", Preheat::Segment),
];

/// Whether anything but the store writes dirty pages out.
const CASES: [&str; 2] = ["with write-outs", "sustained"];

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "writeout",
    title: "Device bytes per appended byte",
    question: "Preheated pages are dirty zeros. How many of them reach the device before they are overwritten, and so \
               how many bytes does it write for each byte appended?",
    prediction: "Without preheating 1.0 to 1.3 (index, metadata). With the window the share of it that stands ahead at \
                 each write-out comes on top: 1 to 1.5 times as much as without. With the whole segment preheated nearly \
                 every byte is written twice, and the next segment's zeros too: 1.6 to 3 times as much.",
    measure,
};

fn measure(bench: &Bench) -> Result<Outcome> {
    let method = method(bench);
    let Some(device) = Device::of(bench.folder()) else {
        return Ok(Outcome::without_device(method));
    };
    let with = bench.alternate(MODES.len(), |mode| run(bench, &device, MODES[mode].1, true))?;
    let without = bench.once(MODES.len(), |mode| {
        run(bench, &device, MODES[mode].1, false)
    })?;
    let comparisons = [compare(&with, true), compare(&without, false)].concat();
    let tables = vec![
        absolute_table(&with, &without),
        Table::ratios("Ratios, round by round:", &comparisons),
    ];
    let finding = finding(&comparisons);
    let what = format!(
        "device bytes per appended byte, async, {} sustained, window",
        bytes(bench.scale.sustained_bytes)
    );
    let sustained = without.first().and_then(|runs| runs.first());
    let measured = sustained.map(|written| written.device);
    Ok(Outcome {
        method,
        tables,
        comparisons,
        goals: vec![Goal::at_most(3, what, measured, "x", 1.15)],
        finding,
    })
}

fn absolute_table(with: &[Vec<Written>], without: &[Vec<Written>]) -> Table {
    let mut columns = vec!["preheat".to_owned()];
    for case in CASES {
        columns.extend([format!("device, {case}"), format!("dirtied, {case}")]);
    }
    let row = |mode: usize| {
        let mut row = vec![MODES[mode].0.to_owned()];
        for runs in [with, without] {
            row.extend([shown(&device(&runs[mode])), shown(&dirtied(&runs[mode]))]);
        }
        row
    };
    Table {
        caption: "Bytes written per appended byte, by the device and as pages dirtied:".to_owned(),
        columns,
        rows: (0..MODES.len()).map(row).collect(),
    }
}

/// The median, as the page writes it.
pub fn shown(samples: &[f64]) -> String {
    Unit::BytesPerByte.show(Spread::of(samples).median)
}

/// Device bytes of each run.
pub fn device(runs: &[Written]) -> Vec<f64> {
    runs.iter().map(|written| written.device).collect()
}

/// Dirtied bytes of each run.
pub fn dirtied(runs: &[Written]) -> Vec<f64> {
    runs.iter().map(|written| written.dirtied).collect()
}

/// From a written-out file system until everything is on the device.
fn run(bench: &Bench, device: &Device, preheat: Preheat, write_outs: bool) -> Result<Written> {
    let place = bench.place()?;
    let options = bench
        .options(place.path())
        .segment_size(bench.scale.device_segment)
        .preheat(preheat);
    write_out(place.path())?;
    let meter = Meter::begin(device)?;
    let store = bench::open(options, 1)?;
    let first = store.watermarks().appended;
    append(bench, &store, place.path(), write_outs)?;
    store.flush()?;
    bench::wait_dispatched(&store)?;
    let appended = store.watermarks().appended - first;
    store.close().context("closing the store")?;
    write_out(place.path())?;
    meter.per(appended)
}

/// Appends at a fixed rate; has everything dirty written out whenever so many bytes were appended, if asked to.
fn append(bench: &Bench, store: &Store, folder: &Path, write_outs: bool) -> Result<()> {
    let scale = &bench.scale;
    let payload = Payload::new(BODY);
    let messages: Vec<Message<'_>> = (0..BATCH)
        .map(|index| Message::new(payload.body(index)))
        .collect();
    let (start, begin) = (store.watermarks().appended, Instant::now());
    let mut next_write_out = scale.write_out_every;
    loop {
        let done = store.submit(TOPIC, Some(0), &messages)?.end() - start;
        if write_outs && done >= next_write_out {
            write_out(folder)?;
            next_write_out += scale.write_out_every;
        }
        let enough = if write_outs {
            scale.device_bytes
        } else {
            scale.sustained_bytes
        };
        if done >= enough {
            return Ok(());
        }
        let due = begin + Duration::from_secs_f64(done as f64 / scale.device_rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn compare(runs: &[Vec<Written>], write_outs: bool) -> Vec<Comparison> {
    let [window, off, segment] = &[0, 1, 2].map(|mode: usize| device(&runs[mode]));
    let appended = &vec![1.0; off.len()];
    let (case, twice) = if write_outs {
        (CASES[0], (1.6, 3.0))
    } else {
        (CASES[1], (1.0, 2.5))
    };
    let new = |of: &str, left: &Vec<f64>, right: &Vec<f64>, predicted| {
        Comparison::new(
            case,
            of,
            Unit::BytesPerByte,
            (left.clone(), right.clone()),
            predicted,
        )
    };
    vec![
        new("off / appended", off, appended, (1.0, 1.3)),
        new("window / off", window, off, (1.0, 1.5)),
        new("segment / off", segment, off, twice),
        new("segment / window", segment, window, (1.0, 3.0)),
    ]
}

fn finding(comparisons: &[Comparison]) -> String {
    let of = |case, sides| ratio(comparisons, case, sides);
    format!(
        "Where the kernel writes out now and then, the window costs {} the device bytes of no preheating, the whole \
         segment {}; over a long stretch with the store's own flushes only, {} and {}.",
        of(CASES[0], "window / off"),
        of(CASES[0], "segment / off"),
        of(CASES[1], "window / off"),
        of(CASES[1], "segment / off"),
    )
}

fn method(bench: &Bench) -> String {
    let scale = &bench.scale;
    format!(
        "Bodies of {}, {} of log (sustained: {}, one run for each mode) appended at {} per second in mode async, \
         segments of {}, window of {}. Counted: sectors \
         written to the block device (the kernel's count in `/sys/dev/block/*/stat`, index, journal and anything \
         others write included), from an idle device until the store is closed and the file system written out; and \
         beside it the bytes of pages that this process dirtied (`write_bytes` of `/proc/self/io`). The kernel's own timer writes out what has been dirty for 30 s; a `syncfs` every {} stands for it in a run of \
         seconds, as at {:.1} MB/s in real time.",
        bytes(BODY as u64),
        bytes(scale.device_bytes),
        bytes(scale.sustained_bytes),
        bytes(scale.device_rate),
        bytes(scale.device_segment),
        bytes(WINDOW),
        bytes(scale.write_out_every),
        scale.write_out_every as f64 / 30e6,
    )
}
