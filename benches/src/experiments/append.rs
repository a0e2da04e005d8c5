//! Appends without waiting for the disk, against a plain file and against the least that could be done.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_store::{Message, Options, Store, WriterKind};

use super::{Experiment, Outcome, median, restart};
use crate::bare;
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Comparison, Unit, bytes, reach};
use crate::floor;
use crate::goal::Goal;
use crate::payload::Payload;
use crate::plainfile::{PlainFile, Way};
use crate::scale::Load;
use crate::section::Table;

/// Appending threads, each to a queue of its own.
const THREADS: [u32; 2] = [1, 2];
/// Messages handed over at once, where they are handed over in batches.
const BATCH: u64 = 64;

const WRITE: &str = "store, readable / write()";
const BUFFERED: &str = "store, readable / BufWriter";
const BARE: &str = "store, readable / bare copy and checksum";
const STAGED: &str = "staged writer / mapped writer";
const FRESH: &str = "fresh pages, copy and checksum / bare copy and checksum";
const FRESH_WRITE: &str = "fresh pages, copy and checksum / write()";
const MAPPED_AGAIN: &str = "mapped writer, opened again / new";
const STAGED_AGAIN: &str = "staged writer, opened again / new";
const BATCHED: &str = "batches of 64 / one at a time";

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "append",
    title: "Append, async",
    question: "What does an append through the store cost (header, checksum over all of it, mapped store, and the \
               consume queue written, so that the message can be read), against one `write()` per body into a \
               reserved file, against a `BufWriter` over it, and against a bare loop that only copies and checksums the \
               same bytes into memory that is mapped and warm?",
    prediction: "The store saves the system call and pays for header, checksum and lock: 2.5 to 4 times `write()` at \
                 128 B and 1 KiB with one thread, more with two, since there the file's lock is held across a system \
                 call. A `BufWriter` does nothing but copy: 3 to 20 times as fast as the store at 128 B. The bare loop is \
                 bound by memory at 1 KiB: 0.4 to 0.7 of it remain; at 128 B it has next to nothing to do: 0.05 to 0.2. \
                 A batch saves lock and clock: 1.2 to 2 times. The staged writer pays a `pwrite` for each append: 0.2 to \
                 0.6 times.",
    measure,
};

/// Who writes the bodies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Contestant {
    Store {
        batch: u64,
        writer: WriterKind,
        /// Whether a store was filled in part, closed, its pages dropped, and opened again.
        again: bool,
    },
    File(Way),
    Fresh,
    Bare,
}

/// Everybody, in the order of the rounds. The first is what the others are compared with.
const WAYS: [Contestant; 9] = [
    one_at_a_time(WriterKind::Mapped, false),
    Contestant::File(Way::Each),
    Contestant::File(Way::Buffered),
    Contestant::Store {
        batch: BATCH,
        writer: WriterKind::Mapped,
        again: false,
    },
    one_at_a_time(WriterKind::Staged, false),
    one_at_a_time(WriterKind::Mapped, true),
    one_at_a_time(WriterKind::Staged, true),
    Contestant::Fresh,
    Contestant::Bare,
];
/// Before a store is opened again it holds this share of the messages.
const BEFORE: u64 = 8;
const FRESH_AT: usize = WAYS.len() - 2;
const BARE_AT: usize = WAYS.len() - 1;

const fn one_at_a_time(writer: WriterKind, again: bool) -> Contestant {
    Contestant::Store {
        batch: 1,
        writer,
        again,
    }
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let mut comparisons = Vec::new();
    for load in bench.scale.append {
        for threads in THREADS {
            // The bare loops are of one thread.
            let ways = if threads == 1 { WAYS.len() } else { FRESH_AT };
            let rates = bench.alternate(ways, |way| run(bench, load, threads, WAYS[way]))?;
            comparisons.extend(compare(load, threads, rates));
        }
    }
    Ok(outcome(bench, comparisons))
}

fn compare(load: Load, threads: u32, rates: Vec<Vec<f64>>) -> Vec<Comparison> {
    let unit = Unit::MessagesPerSecond { body: load.body };
    let new = |of: &str, left: usize, right: usize, predicted| {
        let sides = (rates[left].clone(), rates[right].clone());
        Comparison::new(case(load, threads), of, unit, sides, predicted)
    };
    let small = load.body < 512;
    let bare = if small { (0.05, 0.2) } else { (0.4, 0.7) };
    let buffered = match load.body {
        ..512 => (0.05, 0.35),
        512..4096 => (0.2, 0.9),
        _ => (0.5, 1.5),
    };
    let mut all = vec![
        new(WRITE, 0, 1, (2.5, 4.0)),
        new(BUFFERED, 0, 2, buffered),
        new(BATCHED, 3, 0, (1.2, 2.0)),
        new(STAGED, 4, 0, (0.2, 0.6)),
        new(MAPPED_AGAIN, 5, 0, (0.8, 1.1)),
        new(STAGED_AGAIN, 6, 4, (0.8, 1.1)),
    ];
    if threads == 1 {
        all.push(new(BARE, 0, BARE_AT, bare));
        all.push(new(FRESH, FRESH_AT, BARE_AT, (0.1, 1.0)));
        all.push(new(FRESH_WRITE, FRESH_AT, 1, (1.0, 20.0)));
    }
    all
}

fn outcome(bench: &Bench, comparisons: Vec<Comparison>) -> Outcome {
    let of = |name: &str| -> Vec<Comparison> {
        let found = comparisons.iter().filter(|c| c.ratio_of == name);
        found.cloned().collect()
    };
    let table = |caption: &str, left: &str, right: &str, name: &str| {
        Table::versus(caption, left, right, &of(name))
    };
    let tables = vec![
        table("Against one `write()` per body:", "store", "write()", WRITE),
        table(
            "Against a `BufWriter` of 64 KiB:",
            "store",
            "BufWriter",
            BUFFERED,
        ),
        table("Against a bare loop:", "store", "copy and checksum", BARE),
        table(
            "A bare loop into a new file, whose pages another thread makes ready, against the one into warm memory:",
            "new file",
            "warm memory",
            FRESH,
        ),
        table("In batches:", "batches", "one at a time", BATCHED),
        table("By writer:", "staged", "mapped", STAGED),
        table(
            "After a restart, mapped:",
            "opened again",
            "new",
            MAPPED_AGAIN,
        ),
        table(
            "After a restart, staged:",
            "opened again",
            "new",
            STAGED_AGAIN,
        ),
    ];
    let finding = format!(
        "An append through the store, until the message can be read, is {} as fast as one `write()` per body, {} as fast \
         as a `BufWriter`, and {} as fast as a bare copy and checksum.",
        reach(&of(WRITE)),
        reach(&of(BUFFERED)),
        reach(&of(BARE)),
    );
    Outcome {
        method: method(bench),
        tables,
        goals: goals(bench, &comparisons),
        comparisons,
        finding,
    }
}

fn goals(bench: &Bench, comparisons: &[Comparison]) -> Vec<Goal> {
    let [small, middle, _] = bench.scale.append.map(|load| case(load, 1));
    let goal =
        |case: &str, name: &str, target, floor: &str| {
            let what = format!("append, async, {case}: {name}");
            Goal::at_least(1, what, median(comparisons, case, name), "x", target)
                .with_floor(median(comparisons, case, floor))
        };
    vec![
        goal(&middle, BARE, 0.5, FRESH),
        goal(&middle, WRITE, 2.5, FRESH_WRITE),
        goal(&small, WRITE, 3.0, FRESH_WRITE),
    ]
}

fn case(load: Load, threads: u32) -> String {
    let plural = if threads == 1 { "" } else { "s" };
    format!("{}, {threads} thread{plural}", bytes(load.body as u64))
}

/// Messages per second of one run.
fn run(bench: &Bench, load: Load, threads: u32, way: Contestant) -> Result<f64> {
    let took = match way {
        Contestant::Store {
            batch,
            writer,
            again,
        } => {
            let place = bench.place()?;
            let options = bench.options(place.path()).writer(writer);
            let store = match again {
                true => opened_again(options, place.path(), load, threads)?,
                false => bench::open(options, threads)?,
            };
            through_store(store, load, threads, batch)?
        }
        Contestant::File(way) => through_file(bench, load, threads, way)?,
        Contestant::Fresh => floor::fresh_pages(bench.place()?.path(), load)?,
        Contestant::Bare => bare::copy_and_checksum(load)?,
    };
    Ok(load.messages as f64 / took.as_secs_f64())
}

/// A store that holds some messages and was closed, with a cold page cache.
fn opened_again(options: Options, folder: &Path, load: Load, threads: u32) -> Result<Store> {
    let store = bench::open(options.clone(), threads)?;
    let before = Load {
        messages: load.messages / BEFORE,
        ..load
    };
    through_store(store, before, threads, 1)?;
    restart::forget(folder)?;
    options.open().context("opening the store again")
}

/// Until the last message can be read through its consume queue; closes the store.
fn through_store(store: Store, load: Load, threads: u32, batch: u64) -> Result<Duration> {
    let appender = store.appender(TOPIC)?;
    let payload = Payload::new(load.body);
    let begin = Instant::now();
    bench::together(threads, |thread| {
        let messages = load.messages / u64::from(threads);
        if batch == 1 {
            for index in 0..messages {
                appender.append_to(thread, &Message::new(payload.body(index)))?;
            }
            return Ok(());
        }
        for first in (0..messages).step_by(batch as usize) {
            let last = messages.min(first + batch);
            let bodies = (first..last).map(|index| Message::new(payload.body(index)));
            let submitted = appender.submit(Some(thread), &bodies.collect::<Vec<_>>())?;
            store.wait_committed(submitted.end())?;
        }
        Ok(())
    })?;
    bench::wait_dispatched(&store)?;
    let took = begin.elapsed();
    drop(appender);
    store.close().context("closing the store")?;
    Ok(took)
}

fn through_file(bench: &Bench, load: Load, threads: u32, way: Way) -> Result<Duration> {
    let place = bench.place()?;
    let payload = Payload::new(load.body);
    let file = PlainFile::create(place.path(), way, load.body as u64 * load.messages)?;
    bench::together(threads, |_| {
        for index in 0..load.messages / u64::from(threads) {
            file.append(payload.body(index))?;
        }
        Ok(file.finish()?)
    })
}

fn method(bench: &Bench) -> String {
    format!(
        "{} of bodies per run; each run in a new folder. Store: `append_to` of an `Appender`, one body at a time, each \
         thread to its own queue, until all of it can be read through the consume queue; segments of {}, a preheat window \
         of {}, flushed every {} ms. Plain file: bare bodies one after the other, blocks reserved, behind a lock so that \
         they stay whole; never flushed. Bare loop: one thread, CRC-32C by the store's own function and a copy, into {} \
         of warm memory over and over. Opened again: an eighth as many messages came before, then the store was closed and its pages dropped from the \
         page cache. The machine's own figure: the same loop into a new mapped file, whose pages a second \
         thread makes ready ahead of it.",
        sizes(bench),
        bytes(bench.scale.segment),
        bytes(bench::WINDOW),
        bench::FLUSH_INTERVAL.as_millis(),
        bytes(bare::MEMORY as u64),
    )
}

fn sizes(bench: &Bench) -> String {
    let megabytes =
        |load: &Load| format!("{:.0} MB", load.body as f64 * load.messages as f64 / 1e6);
    let sizes: Vec<_> = bench.scale.append.iter().map(megabytes).collect();
    sizes.join(", ")
}
