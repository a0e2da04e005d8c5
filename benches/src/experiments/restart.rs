//! Device bytes of a flushed append before and after a restart with a cold page cache.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_store::{Flush, Message, Preheat, Store};
use rustix::fs::{Advice, fadvise};

use super::writeout::{device, dirtied, shown};
use super::{Experiment, Outcome, ratio};
use crate::bench::{self, Bench, TOPIC, WINDOW};
use crate::figures::{Comparison, Unit, bytes};
use crate::payload::{Payload, touch};
use crate::procfs::Device;
use crate::section::Table;
use crate::written::{Meter, Written, write_out};

/// Bytes of a body: with the header and the topic, about a page in the log.
const BODY: usize = 4 << 10;
/// Messages read after the restart, before the first append: what a consumer that comes back would do.
const READ: u64 = 64;

const MODES: [(&str, Preheat); 2] = [
    ("window", Preheat::Window { bytes: WINDOW }),
    ("off", Preheat::Off),
];
const FRESH: &str = "new store / appended";
const REOPENED: &str = "opened again / new store";
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
               once the store was opened again with a cold page cache and read at its tail?",
    prediction: "In a freshly reserved file about 2 device bytes per byte (data and journal). After the restart the same \
                 (0.7 to 2 times), if no large folios come in by read-ahead; else up to 250 times. The rows without preheating, and a \
                 run longer than one read-ahead, were added after a first look had found 60 times in a single round.",
    measure,
};

/// Bytes written per byte of the log.
struct Run {
    fresh: Written,
    reopened: Written,
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let method = method(bench);
    let Some(device) = Device::of(bench.folder()) else {
        return Ok(Outcome::without_device(method));
    };
    let runs = bench.alternate(MODES.len(), |mode| run(bench, &device, MODES[mode].1))?;
    let comparisons: Vec<Comparison> = MODES
        .iter()
        .zip(&runs)
        .flat_map(|((mode, _), runs)| compare(mode, runs))
        .collect();
    let finding = finding(&comparisons);
    let ratios = Table::ratios("Ratios, round by round:", &comparisons);
    let tables = vec![absolute_table(&runs), ratios];
    Ok(Outcome {
        method,
        tables,
        comparisons,
        finding,
    })
}

fn absolute_table(runs: &[Vec<Run>]) -> Table {
    let row = |mode: &str, store: &str, runs: Vec<Written>| {
        vec![
            mode.to_owned(),
            store.to_owned(),
            shown(&device(&runs)),
            shown(&dirtied(&runs)),
        ]
    };
    let mut rows = Vec::new();
    for ((mode, _), runs) in MODES.iter().zip(runs) {
        rows.push(row(mode, "new", runs.iter().map(|run| run.fresh).collect()));
        rows.push(row(
            mode,
            "opened again",
            runs.iter().map(|run| run.reopened).collect(),
        ));
    }
    Table {
        caption: "Bytes written per byte of the log:".to_owned(),
        columns: ["preheat", "store", "device", "dirtied"]
            .map(String::from)
            .to_vec(),
        rows,
    }
}

fn finding(comparisons: &[Comparison]) -> String {
    let of = |mode: &str, sides| ratio(comparisons, &format!("{mode}, dirtied bytes"), sides);
    format!(
        "A flushed append of {} dirties {} its bytes in a new store with the window and {} without preheating; after a \
         restart {} and {} of that.",
        bytes(BODY as u64),
        of(MODES[0].0, FRESH),
        of(MODES[1].0, FRESH),
        of(MODES[0].0, REOPENED),
        of(MODES[1].0, REOPENED),
    )
}

fn compare(mode: &str, runs: &[Run]) -> Vec<Comparison> {
    let fresh: Vec<Written> = runs.iter().map(|run| run.fresh).collect();
    let reopened: Vec<Written> = runs.iter().map(|run| run.reopened).collect();
    let counts = [
        ("device bytes", device as fn(&[Written]) -> Vec<f64>),
        ("dirtied bytes", dirtied),
    ];
    let mut comparisons = Vec::new();
    for (name, count) in counts {
        let (fresh, reopened) = (count(&fresh), count(&reopened));
        let appended = vec![1.0; fresh.len()];
        let new = |of, sides, predicted| {
            Comparison::new(
                format!("{mode}, {name}"),
                of,
                Unit::BytesPerByte,
                sides,
                predicted,
            )
        };
        comparisons.push(new(FRESH, (fresh.clone(), appended), (1.0, 3.0)));
        comparisons.push(new(REOPENED, (reopened, fresh), (0.7, 2.0)));
    }
    comparisons
}

fn run(bench: &Bench, device: &Device, preheat: Preheat) -> Result<Run> {
    let place = bench.place()?;
    let options = bench
        .options(place.path())
        .flush(Flush::Sync)
        .preheat(preheat);
    let store = bench::open(options.clone(), 1)?;
    let fresh = amplification(bench, device, &store, place.path())?;
    bench::wait_dispatched(&store)?;
    store.close().context("closing the store")?;
    // The folder stays locked until the last handle is gone.
    drop(store);
    write_out(place.path())?;
    forget(place.path())?;
    let store = options.open().context("opening the store again")?;
    read_the_tail(&store)?;
    let reopened = amplification(bench, device, &store, place.path())?;
    store.close().context("closing the store")?;
    Ok(Run { fresh, reopened })
}

/// Bytes written per byte of the log over some single flushed appends.
fn amplification(bench: &Bench, device: &Device, store: &Store, folder: &Path) -> Result<Written> {
    let payload = Payload::new(BODY);
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
fn forget(folder: &Path) -> Result<()> {
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
        "Bodies of {}, mode sync, one appender, {} appends (more than one read-ahead of a usual disk) or as many as {} s \
         allow, each flushed alone, counted as above from a written-out file system to the last append ({UNCOUNTED} \
         appends come before). Then the store is closed, its files dropped from the page cache, and opened again; the \
         last {READ} messages are read; and as many appends are counted again.",
        bytes(BODY as u64),
        bench.scale.restart_appends,
        LONGEST.as_secs(),
    )
}
