//! Reads by reference to the mapped pages, against `pread` into a buffer, behind the same API.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use foliomq_store::{Message, ReadMode, Store};
use tempfile::TempDir;

use super::{Experiment, Outcome, median};
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Comparison, Spread, Unit, bytes, reach};
use crate::floor;
use crate::goal::Goal;
use crate::payload::{Payload, Random, touch};
use crate::scale::Load;
use crate::section::Table;

/// Messages appended at once while the store is filled.
const FILL_BATCH: u64 = 32;

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "read",
    title: "Read, mapped against buffered",
    question: "What does it buy a reader to get a reference into the mapped page instead of a copy made by `pread`, \
               everything else (index, checks, API) being the same?",
    prediction: "No system call and no copy: 1.5 to 5 times for small bodies; at 16 KiB, where the touching of the \
                 bytes costs both the same, 1.2 to 4 times. In random order cache misses are shared by both: 1.2 to 4 \
                 times. In the first pass after opening, page faults eat part of it: 0.5 to 3 times.",
    measure,
};

/// How a pass goes over the messages.
#[derive(Debug, Clone, Copy)]
enum Pass {
    First,
    Sequential,
    Tail,
    Random,
}

const PASSES: [Pass; 4] = [Pass::First, Pass::Sequential, Pass::Tail, Pass::Random];

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Self::First => "first pass after open, cursor",
            Self::Sequential => "sequential, cursor",
            Self::Tail => "sequential, tail",
            Self::Random => "random, cursor",
        }
    }

    fn predicted(self, body: usize) -> (f64, f64) {
        match self {
            Self::First => (0.5, 3.0),
            Self::Random => (1.2, 4.0),
            Self::Sequential | Self::Tail if body >= 16 << 10 => (1.2, 4.0),
            Self::Sequential | Self::Tail => (1.5, 5.0),
        }
    }

    /// Messages per second. Every body is touched, one byte of each cache line.
    fn run(self, store: &Store, load: Load) -> Result<f64> {
        let begin = Instant::now();
        let (read, sum) = match self {
            Self::First | Self::Sequential => batches(store, load)?,
            Self::Tail => tail(store, load)?,
            Self::Random => random(store, load)?,
        };
        let took = begin.elapsed();
        black_box(sum);
        ensure!(
            read == load.messages,
            "{} messages of {} came back",
            read,
            load.messages
        );
        Ok(read as f64 / took.as_secs_f64())
    }
}

/// By a cursor, which goes over the mapped pages and, in the buffered store, reads each message by a `pread`.
fn batches(store: &Store, load: Load) -> Result<(u64, u64)> {
    let mut cursor = store.cursor(TOPIC, 0, 0)?;
    let (mut read, mut sum) = (0, 0);
    while let Some(message) = cursor.next()? {
        read += 1;
        sum += touch(message.body());
    }
    ensure!(read == load.messages, "{read} messages came back");
    Ok((read, sum))
}

fn tail(store: &Store, load: Load) -> Result<(u64, u64)> {
    let mut tail = store.tail(TOPIC, 0, 0)?;
    let (mut read, mut sum) = (0, 0);
    while read < load.messages
        && let Some(message) = tail.try_next()?
    {
        read += 1;
        sum += touch(message.body());
    }
    Ok((read, sum))
}

fn random(store: &Store, load: Load) -> Result<(u64, u64)> {
    let mut random = Random::new(0xB00C);
    let mut cursor = store.cursor(TOPIC, 0, 0)?;
    let (mut read, mut sum) = (0, 0);
    for _ in 0..load.messages {
        cursor.seek(random.below(load.messages));
        if let Some(message) = cursor.next()? {
            read += 1;
            sum += touch(message.body());
        }
    }
    Ok((read, sum))
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let (mut comparisons, mut floors) = (Vec::new(), Vec::new());
    for load in bench.scale.read {
        let place = fill(bench, load)?;
        let modes = [ReadMode::Mapped, ReadMode::Buffered];
        let results = bench.alternate(modes.len(), |variant| {
            passes(bench, &place, load, modes[variant])
        })?;
        let bare = bench.alternate(1, |_| Ok(floor::random_touch(load)))?;
        let buffered = results[1].iter().map(|rates| rates[PASSES.len() - 1]);
        let buffered = Spread::of(&buffered.collect::<Vec<f64>>()).median;
        floors.push(Spread::of(&bare[0]).median / buffered);
        for (index, pass) in PASSES.into_iter().enumerate() {
            let side = |mode: usize| {
                results[mode]
                    .iter()
                    .map(|rates| rates[index])
                    .collect::<Vec<f64>>()
            };
            let case = format!("{}, {}", bytes(load.body as u64), pass.name());
            let unit = Unit::MessagesPerSecond { body: load.body };
            let sides = (side(0), side(1));
            comparisons.push(Comparison::new(
                case,
                "mapped / buffered",
                unit,
                sides,
                pass.predicted(load.body),
            ));
        }
    }
    Ok(outcome(bench, comparisons, &floors))
}

/// A closed store with the messages in one queue.
fn fill(bench: &Bench, load: Load) -> Result<TempDir> {
    let place = bench.place()?;
    let store = bench::open(bench.options(place.path()), 1)?;
    let payload = Payload::new(load.body);
    for first in (0..load.messages).step_by(FILL_BATCH as usize) {
        let end = load.messages.min(first + FILL_BATCH);
        let messages: Vec<Message<'_>> = (first..end)
            .map(|index| Message::new(payload.body(index)))
            .collect();
        store.submit(TOPIC, Some(0), &messages)?;
    }
    bench::wait_dispatched(&store)?;
    store.close().context("closing the store")?;
    Ok(place)
}

/// Opens the store in one mode and goes over it in every way; the rate of each.
fn passes(
    bench: &Bench,
    place: &TempDir,
    load: Load,
    mode: ReadMode,
) -> Result<[f64; PASSES.len()]> {
    let store = bench
        .options(place.path())
        .read_mode(mode)
        .open()
        .context("opening the filled store")?;
    let mut rates = [0.0; PASSES.len()];
    for (rate, pass) in rates.iter_mut().zip(PASSES) {
        *rate = pass.run(&store, load)?;
    }
    let sample = store
        .read(TOPIC, 0, 0)?
        .context("the first message is gone")?;
    let mapped = store.is_mapped(sample.body());
    ensure!(
        mapped == (mode == ReadMode::Mapped),
        "{mode:?}, but the body is mapped: {mapped}"
    );
    store.close().context("closing the store")?;
    Ok(rates)
}

fn outcome(bench: &Bench, comparisons: Vec<Comparison>, floors: &[f64]) -> Outcome {
    let of = |word: &str| {
        comparisons
            .iter()
            .filter(|c| c.case.contains(word))
            .cloned()
            .collect::<Vec<_>>()
    };
    let finding = format!(
        "Mapped reads are {} as fast as buffered ones in sequence, {} in random order, and {} in the first pass after \
         the store was opened.",
        reach(&of("sequential")),
        reach(&of("random")),
        reach(&of("first pass")),
    );
    let tables = vec![Table::versus(
        "Messages read per second:",
        "mapped",
        "buffered",
        &comparisons,
    )];
    Outcome {
        method: method(bench),
        tables,
        goals: goals(bench, &comparisons, floors),
        comparisons,
        finding,
    }
}

fn goals(bench: &Bench, comparisons: &[Comparison], floors: &[f64]) -> Vec<Goal> {
    let [small, middle, _] = bench.scale.read.map(|load| load.body);
    let goal = |body: usize, pass: Pass, least: f64| {
        let case = format!("{}, {}", bytes(body as u64), pass.name());
        let measured = median(comparisons, &case, "mapped / buffered");
        let what = format!("read by reference / pread per message, {case}");
        Goal::at_least(5, what, measured, "x", least)
    };
    vec![
        goal(middle, Pass::Sequential, 3.0),
        goal(middle, Pass::Random, 2.5).with_floor(floors[1]),
        goal(small, Pass::Random, 8.0).with_floor(floors[0]),
    ]
}

fn method(bench: &Bench) -> String {
    let counts: Vec<String> = bench
        .scale
        .read
        .iter()
        .map(|load| load.messages.to_string())
        .collect();
    format!(
        "{} messages in one queue; the same files are opened in turn in one mode and in the other. Each opening makes \
         one pass that is listed apart (a mapping is empty at first, and opening drops the log's last segment from the \
         page cache, so that it comes from the disk) and then the warm ones: in sequence by a cursor, in sequence by \
         a tail, and as many reads at random offsets. One thread. Of every body one byte in 64 is summed, \
         so each cache line is fetched, and the sum goes to `black_box`. A buffered read is one `pread` of 4 KiB, and \
         another for a longer record. The machine's own figure for the random order: bodies in plain memory, found by a \
         table of offsets and touched in the same way, against the same `pread`s.",
        counts.join(", "),
    )
}
