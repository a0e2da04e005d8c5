//! The head's tail latency beside a scan of history that does not fit the memory.

use std::fs::File;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use foliomq_store::{Message, Options, Store};
use hdrhistogram::Histogram;
use rustix::fs::{Advice, fadvise};

use super::{Experiment, Outcome, median, ratio};
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Comparison, Unit, bytes};
use crate::goal::Goal;
use crate::memory_limit::MemoryLimit;
use crate::payload::{Payload, touch};
use crate::scale::Scale;
use crate::section::Table;

const BODY: usize = 1 << 10;
/// Appends of the live producer, so many at a time, and so often: 20,000 a second.
const BURST: u64 = 20;
const PAUSE: Duration = Duration::from_millis(1);
/// Messages appended at once while the store is filled.
const BATCH: u64 = 256;
/// Messages that the scan reads at once.
const SCAN_BATCH: usize = 32;
/// Queue of the history, and queue of the live messages.
const OLD: u32 = 0;
const LIVE: u32 = 1;
/// Latencies are kept to three digits, up to a minute.
const LONGEST: u64 = 60_000_000_000;
/// Ratios that are no surprise.
const PREDICTED: (f64, f64) = (0.5, 2.0);
const APPEND: &str = "append p99.9";
const DELIVER: &str = "append to read p99.9";
const RATIO: &str = "with a cold scan / without";
const BUSY: &str = "with a busy thread / without";
/// Share of the memory limit that the busy thread goes through: what a scan keeps there, and more than a cache holds.
const BUSY_SHARE: u64 = 8;

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "coldscan",
    title: "A cold scan beside the head",
    question: "A consumer reads history of twice the memory limit while a producer and a consumer are at the head. How \
               much longer do their slowest operations take?",
    prediction: "p99.9 at most twice what it is without the scan.",
    measure,
};

/// What goes on beside the head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Scan,
    /// A thread that never sleeps and touches memory of its own: what any third thread costs on this machine.
    Busy,
}

const BESIDE: [Beside; 3] = [Beside::Nothing, Beside::Scan, Beside::Busy];

/// Latencies of one run at the head, and what the scan read.
struct Run {
    append: Histogram<u64>,
    deliver: Histogram<u64>,
    scanned: u64,
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let place = bench.place()?;
    let options = bench
        .options(place.path())
        .segment_size(bench.scale.cold_segment);
    fill(&options, 2 * bench.scale.cold_limit)?;
    let limit = MemoryLimit::enter(bench.scale.cold_limit);
    let limited = match &limit {
        Ok(_) => format!(
            "The memory of the process is limited to {}.",
            bytes(bench.scale.cold_limit)
        ),
        Err(error) => format!("Memory is NOT limited (skipped: {error:#})."),
    };
    let runs = bench.alternate(BESIDE.len(), |variant| {
        run(&options, &bench.scale, BESIDE[variant])
    })?;
    let is_limited = limit.is_ok();
    drop(limit);
    let side = |variant: usize, of: fn(&Run) -> &Histogram<u64>| -> Vec<f64> {
        runs[variant]
            .iter()
            .map(|run| of(run).value_at_quantile(0.999) as f64)
            .collect()
    };
    let compare =
        |case: &str, name: &'static str, beside: usize, of: fn(&Run) -> &Histogram<u64>| {
            let sides = (side(beside, of), side(0, of));
            Comparison::new(case.to_owned(), name, Unit::Nanoseconds, sides, PREDICTED)
        };
    let comparisons = vec![
        compare(APPEND, RATIO, 1, |run| &run.append),
        compare(DELIVER, RATIO, 1, |run| &run.deliver),
        compare(APPEND, BUSY, 2, |run| &run.append),
        compare(DELIVER, BUSY, 2, |run| &run.deliver),
    ];
    let scanned: u64 = runs[1].iter().map(|run| run.scanned).sum();
    Ok(outcome(bench, comparisons, &limited, is_limited, scanned))
}

/// A closed store of at least `least` bytes in one queue.
fn fill(options: &Options, least: u64) -> Result<()> {
    let store = bench::open(options.clone(), 2)?;
    let payload = Payload::new(BODY);
    for first in (0..least / BODY as u64).step_by(BATCH as usize) {
        let messages: Vec<_> = (first..first + BATCH)
            .map(|index| Message::new(payload.body(index)))
            .collect();
        store.submit(TOPIC, Some(OLD), &messages)?;
    }
    bench::wait_dispatched(&store)?;
    store.close().context("closing the store")
}

fn run(options: &Options, scale: &Scale, beside: Beside) -> Result<Run> {
    let (time, busy) = (scale.cold_time, scale.cold_limit / BUSY_SHARE);
    let store = options.clone().open().context("opening the filled store")?;
    store.flush()?;
    drop_cached(&store)?;
    let done = AtomicBool::new(false);
    let begin = Instant::now();
    let result = thread::scope(|scope| {
        let consumer = scope.spawn(|| consume(&store, begin, &done));
        let scanner = scope.spawn(|| match beside {
            Beside::Nothing => Ok(0),
            Beside::Scan => read_history(&store, &done),
            Beside::Busy => Ok(keep_busy(busy, &done)),
        });
        let append = produce(&store, begin, time);
        done.store(true, Ordering::Release);
        let panicked = |_| anyhow!("a reader panicked");
        let deliver = consumer.join().map_err(panicked)?;
        let scanned = scanner.join().map_err(panicked)?;
        Ok::<_, anyhow::Error>(Run {
            append: append?,
            deliver: deliver?,
            scanned: scanned?,
        })
    });
    store.close().context("closing the store")?;
    result
}

/// Takes what is clean of every segment out of memory.
fn drop_cached(store: &Store) -> Result<()> {
    for segment in store.segments() {
        let file = File::open(&segment.path)?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Appends at fixed times; a latency counts from the time at which the append was due, which its body begins with.
fn produce(store: &Store, begin: Instant, time: Duration) -> Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    let payload = Payload::new(BODY);
    let mut body = payload.body(0).to_vec();
    for index in 0.. {
        let due = PAUSE * (index / BURST) as u32;
        if due >= time {
            break;
        }
        thread::sleep(due.saturating_sub(begin.elapsed()));
        body[..8].copy_from_slice(&(due.as_nanos() as u64).to_le_bytes());
        store.submit(TOPIC, Some(LIVE), &[Message::new(&body)])?;
        latencies.saturating_record((begin.elapsed() - due).as_nanos() as u64);
    }
    Ok(latencies)
}

fn consume(store: &Store, begin: Instant, done: &AtomicBool) -> Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    let mut tail = store.tail(TOPIC, LIVE, store.offsets(TOPIC, LIVE)?.end)?;
    while !done.load(Ordering::Acquire) {
        let Some(message) = tail.next_timeout(Duration::from_millis(100))? else {
            continue;
        };
        let due = message
            .body()
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word));
        touch(message.body());
        let late = (begin.elapsed().as_nanos() as u64).saturating_sub(due);
        latencies.saturating_record(late);
    }
    Ok(latencies)
}

/// Reads the history over and over; the bytes read.
fn read_history(store: &Store, done: &AtomicBool) -> Result<u64> {
    let offsets = store.offsets(TOPIC, OLD)?;
    let (read, mut next) = (AtomicU64::new(0), offsets.start);
    while !done.load(Ordering::Acquire) {
        let messages = store.read_many(TOPIC, OLD, next, SCAN_BATCH)?;
        next = messages
            .last()
            .map_or(offsets.start, |last| last.queue_offset() + 1);
        for message in &messages {
            touch(message.body());
            read.fetch_add(message.body().len() as u64, Ordering::Relaxed);
        }
    }
    Ok(read.into_inner())
}

/// Goes through memory of its own, over and over; no history is read.
fn keep_busy(size: u64, done: &AtomicBool) -> u64 {
    let bytes = vec![1; size as usize];
    while !done.load(Ordering::Acquire) {
        for part in bytes.chunks(BODY * SCAN_BATCH) {
            black_box(touch(part));
        }
    }
    0
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST, 3).context("making a histogram")
}

fn outcome(
    bench: &Bench,
    comparisons: Vec<Comparison>,
    limited: &str,
    is_limited: bool,
    scanned: u64,
) -> Outcome {
    let finding = format!(
        "Beside a cold scan the p99.9 of an append is {}, and from append to read {}.",
        ratio(&comparisons, APPEND, RATIO),
        ratio(&comparisons, DELIVER, RATIO),
    );
    let method = format!(
        "A store of {} in segments of {}, its pages dropped from memory before each run. {limited} {BURST} appends of {} \
         every {PAUSE:?} for {:?}, and a consumer at the head; in every third run another reads the history through its \
         consume queue, over and over ({} in all). A latency counts from the time at which the append was due. The \
         machine's own figure: beside a thread that goes through {} of its own memory instead, all the time.",
        bytes(2 * bench.scale.cold_limit),
        bytes(bench.scale.cold_segment),
        bytes(BODY as u64),
        bench.scale.cold_time,
        bytes(scanned),
        bytes(bench.scale.cold_limit / BUSY_SHARE),
    );
    let (scan, busy) = comparisons.split_at(2);
    let tables = vec![
        Table::versus(
            "Slowest of a thousand:",
            "with a cold scan",
            "without",
            scan,
        ),
        Table::versus(
            "The same beside a thread that reads nothing:",
            "with a busy thread",
            "without",
            busy,
        ),
    ];
    let goal = |case: &str, what: &str| {
        let what = format!("p99.9 of {what} beside a cold scan / without");
        // Without a limit the history stays in memory: no answer.
        let measured = median(&comparisons, case, RATIO).filter(|_| is_limited);
        Goal::at_most(10, what, measured, "x", 2.0).with_floor(median(&comparisons, case, BUSY))
    };
    let goals = vec![goal(APPEND, "an append"), goal(DELIVER, "append to read")];
    Outcome {
        method,
        tables,
        comparisons,
        goals,
        finding,
    }
}
