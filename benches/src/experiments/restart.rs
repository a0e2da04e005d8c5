//! Device bytes of a flushed append in a new store, after a restart with a cold page cache, and after `kill -9`.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_store::{Flush, Message, Options, Preheat, Store, WriterKind};
use rustix::fs::{Advice, fadvise};

use super::writeout::{device, dirtied, shown};
use super::{Experiment, Outcome};
use crate::bench::{self, Bench, TOPIC, WINDOW};
use crate::figures::{Comparison, Spread, Unit, bytes};
use crate::floor;
use crate::goal::Goal;
use crate::payload::{Payload, touch};
use crate::procfs::Device;
use crate::section::Table;
use crate::victim;
use crate::written::{Meter, Written, write_out};

/// Bytes of the bodies; with header and topic a little more than so much in the log.
const BODIES: [usize; 2] = [4 << 10, 64 << 10];
/// Bytes of a record beside the body: header, topic, properties.
const OVERHEAD: usize = 120;
/// Messages read after a restart, before the first append: what a consumer that comes back would do.
const READ: u64 = 64;

const MODES: [(&str, WriterKind, Preheat); 3] = [
    (
        "staged, window",
        WriterKind::Staged,
        Preheat::Window { bytes: WINDOW },
    ),
    (
        "mapped, window",
        WriterKind::Mapped,
        Preheat::Window { bytes: WINDOW },
    ),
    ("mapped, no preheating", WriterKind::Mapped, Preheat::Off),
];
/// What is written beside them: a plain file, by as many bytes as a record has.
const BARE: &str = "a plain file, write() and fdatasync()";
const STATES: [&str; 3] = ["new", "opened again", "after kill -9"];
/// A count ends after this time at the latest: where every flush writes megabytes, all the appends would take minutes.
const LONGEST: Duration = Duration::from_secs(2);
/// Appends before the count begins, so that the first window is preheated.
const UNCOUNTED: u64 = 32;

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "restart",
    title: "Device bytes of flushed appends, in a new store and after a restart",
    question: "A store through a mapping dirties the whole large folio that its page belongs to, and read-ahead makes \
               large folios. How much does the device write for small appends that are each flushed, and is it more \
               once the store was opened again with a cold page cache and read at its tail, or after `kill -9`?",
    prediction: "About 2 device bytes per byte at 4 KiB (the page that the last flush wrote in part, and the journal), \
                 1.05 to 1.3 at 64 KiB; the same after a restart, since then too nothing comes in by read-ahead.",
    measure,
};

/// Bytes written per byte of the log, in each state.
type Run = [Written; STATES.len()];

fn measure(bench: &Bench) -> Result<Outcome> {
    let method = method(bench);
    let Some(device) = Device::of(bench.folder()) else {
        return Ok(Outcome::without_device(method));
    };
    let (mut rows, mut comparisons, mut goals) = (Vec::new(), Vec::new(), Vec::new());
    for body in BODIES {
        let runs = bench.alternate(MODES.len(), |mode| run(bench, &device, body, MODES[mode]))?;
        for ((mode, ..), runs) in MODES.iter().zip(&runs) {
            for (index, state) in STATES.iter().enumerate() {
                let case = format!("{}, {mode}, {state}", bytes(body as u64));
                let written: Vec<Written> = runs.iter().map(|run| run[index]).collect();
                rows.push(row(&case, &written));
                comparisons.push(compare(&case, body, &written));
            }
        }
        let bare = bench
            .alternate(1, |_| bare(bench, &device, body))?
            .remove(0);
        rows.push(row(&format!("{}, {BARE}", bytes(body as u64)), &bare));
        let floor: Vec<f64> = bare.iter().map(|run| run.device).collect();
        goals.extend(goal(body, &runs[0], Spread::of(&floor).median));
    }
    let table = Table {
        caption: "Bytes written per byte of the log:".to_owned(),
        columns: ["case", "device", "dirtied"].map(String::from).to_vec(),
        rows,
    };
    let finding = finding(&comparisons);
    Ok(Outcome {
        method,
        tables: vec![table, Table::ratios("With their spread:", &comparisons)],
        comparisons,
        goals,
        finding,
    })
}

fn row(case: &str, written: &[Written]) -> Vec<String> {
    vec![
        case.to_owned(),
        shown(&device(written)),
        shown(&dirtied(written)),
    ]
}

fn compare(case: &str, body: usize, written: &[Written]) -> Comparison {
    let device = device(written);
    let appended = vec![1.0; device.len()];
    let predicted = if body < 16 << 10 {
        (1.0, 2.5)
    } else {
        (1.0, 1.3)
    };
    Comparison::new(
        case,
        "device / appended",
        Unit::BytesPerByte,
        (device, appended),
        predicted,
    )
}

/// Of the default writer with the window.
fn goal(body: usize, runs: &[Run], floor: f64) -> Vec<Goal> {
    let most = if body < 16 << 10 { 2.2 } else { 1.3 };
    let goal = |(index, state): (usize, &&str)| {
        let samples: Vec<f64> = runs.iter().map(|run| run[index].device).collect();
        let what = format!(
            "device bytes per appended byte, sync, {} a flush, {state}",
            bytes(body as u64)
        );
        Goal::at_most(3, what, Spread::of(&samples).median, "x", most).with_floor(floor)
    };
    STATES.iter().enumerate().map(goal).collect()
}

fn finding(comparisons: &[Comparison]) -> String {
    let of = |body: usize, state: &str| {
        let case = format!("{}, {}, {state}", bytes(body as u64), MODES[0].0);
        super::ratio(comparisons, &case, "device / appended")
    };
    format!(
        "A flushed append of 4 KiB writes {} its bytes in a new store, {} in one that was opened again, and {} after \
         `kill -9`; of 64 KiB {}, {} and {}.",
        of(BODIES[0], STATES[0]),
        of(BODIES[0], STATES[1]),
        of(BODIES[0], STATES[2]),
        of(BODIES[1], STATES[0]),
        of(BODIES[1], STATES[1]),
        of(BODIES[1], STATES[2]),
    )
}

fn run(
    bench: &Bench,
    device: &Device,
    body: usize,
    (_, writer, preheat): (&str, WriterKind, Preheat),
) -> Result<Run> {
    let place = bench.place()?;
    let folder = place.path();
    let options = bench.options(folder).flush(Flush::Sync);
    let options = options.preheat(preheat).writer(writer);
    let store = bench::open(options.clone(), 1)?;
    let new = amplification(bench, device, &store, folder, body)?;
    close(store)?;
    let opened = reopened(bench, device, &options, folder, body)?;
    victim::kill_in(folder)?;
    let killed = reopened(bench, device, &options, folder, body)?;
    Ok([new, opened, killed])
}

/// A reserved plain file, written and flushed by pieces as long as a record.
fn bare(bench: &Bench, device: &Device, body: usize) -> Result<Written> {
    let place = bench.place()?;
    write_out(place.path())?;
    let meter = Meter::begin(device)?;
    floor::flushed(
        place.path(),
        meter,
        body + OVERHEAD,
        bench.scale.restart_appends,
    )
}

/// The same with a cold page cache.
fn reopened(
    bench: &Bench,
    device: &Device,
    options: &Options,
    folder: &Path,
    body: usize,
) -> Result<Written> {
    write_out(folder)?;
    forget(folder)?;
    let store = options.clone().open().context("opening the store again")?;
    read_the_tail(&store)?;
    let written = amplification(bench, device, &store, folder, body)?;
    close(store)?;
    Ok(written)
}

/// The folder stays locked until the last handle is gone.
fn close(store: Store) -> Result<()> {
    bench::wait_dispatched(&store)?;
    store.close().context("closing the store")
}

/// Bytes written per byte of the log over some single flushed appends.
fn amplification(
    bench: &Bench,
    device: &Device,
    store: &Store,
    folder: &Path,
    body: usize,
) -> Result<Written> {
    let payload = Payload::new(body);
    let append = |index| store.append_to(TOPIC, 0, &Message::new(payload.body(index)));
    for index in 0..UNCOUNTED {
        append(index)?;
    }
    // What opening dirtied (preheated pages, the journal) belongs to no append.
    write_out(folder)?;
    let (meter, start) = (Meter::begin(device)?, store.watermarks().appended);
    let begin = Instant::now();
    for index in 0..bench.scale.restart_appends {
        append(index)?;
        if begin.elapsed() > LONGEST {
            break;
        }
    }
    meter.per(store.watermarks().appended - start)
}

/// Drops the clean pages of every file below `folder` from the page cache, as a restart of the machine would.
pub(super) fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
        } else {
            fadvise(File::open(entry.path())?, 0, None, Advice::DontNeed)
                .context("dropping cached pages")?;
        }
    }
    Ok(())
}

fn read_the_tail(store: &Store) -> Result<()> {
    let end = store.offsets(TOPIC, 0)?.end;
    let messages = store.read_many(TOPIC, 0, end.saturating_sub(READ), READ as usize)?;
    std::hint::black_box(
        messages
            .iter()
            .map(|message| touch(message.body()))
            .sum::<u64>(),
    );
    Ok(())
}

fn method(bench: &Bench) -> String {
    format!(
        "Mode sync, one appender, {} appends of 4 KiB or 64 KiB or as many as {} s allow, each flushed alone, counted from \
         a written-out file system to the last append ({UNCOUNTED} appends come before). Then the store is closed, its \
         files dropped from the page cache, and opened again; the last {READ} messages are read; and as many appends are \
         counted again. Then another process appends to it and is killed, and all that is done once more. The plain file has \
         its blocks reserved, as a segment has; ext4 fills up to 32 KiB around a first write into such blocks with zeros.",
        bench.scale.restart_appends,
        LONGEST.as_secs(),
    )
}
