//! The tail latency of an append while segments roll, by what is preheated.

mod tables;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_store::{Message, Preheat, Store};
use hdrhistogram::Histogram;

use super::{Experiment, Outcome};
use crate::bench::{self, Bench, TOPIC, WINDOW};
use crate::figures::{bytes, count};
use crate::floor;
use crate::payload::Payload;
use crate::procfs;
use crate::section::Table;

/// Bytes of a body.
const BODY: usize = 1 << 10;
/// Latencies are kept to three digits, up to a minute.
const LONGEST: u64 = 60_000_000_000;
const MODES: [(&str, Preheat); 3] = [
    ("window", Preheat::Window { bytes: WINDOW }),
    ("off", Preheat::Off),
    ("segment", Preheat::Segment),
];

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "preheat",
    title: "Preheat",
    question: "What does preheating buy in the tail of the append latency over several segment rolls, and what does \
               it cost: a window that slides ahead of the append head, nothing at all, and the whole segment at its \
               creation (RocketMQ's way)?",
    prediction: "Without preheating, each 4 KiB page costs a fault in the append that meets it first: p50 the same, \
                 p99 3 to 50 times, p99.99 and the largest 3 to 1000 times those of the window. The whole segment is \
                 as good as the window where the preparer keeps up (0.3 to 3 times), at the price measured in the \
                 next section. Faults move from the appender to the preparer; processor time in sum stays about the \
                 same.",
    measure,
};

/// How appends follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// At fixed times, whether or not the one before is done; latency counts from the time it was due.
    Open { per_second: u64 },
    /// Each right after the one before.
    Full,
}

/// One run.
struct Run {
    latencies: Histogram<u64>,
    took: Duration,
    appender_faults: u64,
    /// Of the store's own threads.
    background: Background,
}

/// What the store's own threads used.
#[derive(Debug, Clone, Copy, Default)]
struct Background {
    faults: u64,
    /// Of those that make and preheat segments.
    preparing: Duration,
    /// Of the others: flusher, dispatcher.
    rest: Duration,
}

/// How the names of the threads that make and preheat segments begin.
const PREPARING: &str = "folio-pre";

fn measure(bench: &Bench) -> Result<Outcome> {
    let (mut shown, mut comparisons) = (Vec::new(), Vec::new());
    let open = Pace::Open {
        per_second: bench.scale.rate,
    };
    let mut goals = Vec::new();
    for pace in [open, Pace::Full] {
        let runs = match pace {
            // A minute each: long enough to be its own repetition.
            Pace::Open { .. } => bench.once(MODES.len(), |mode| run(bench, MODES[mode].1, pace))?,
            Pace::Full => bench.alternate(MODES.len(), |mode| run(bench, MODES[mode].1, pace))?,
        };
        if pace == open {
            let idle = floor::lateness(bench.scale.rate, bench.scale.tail_time)?;
            goals = tables::goals(pace, &runs[0], &idle);
        }
        shown.push(tables::latency_table(pace, &runs)?);
        shown.push(tables::cost_table(pace, &runs));
        comparisons.extend(tables::compare(pace, &runs));
    }
    shown.push(Table::ratios(
        "Ratios of the percentiles, round by round:",
        &comparisons,
    ));
    let finding = tables::finding(open, &comparisons);
    Ok(Outcome {
        method: method(bench),
        tables: shown,
        comparisons,
        goals,
        finding,
    })
}

fn run(bench: &Bench, preheat: Preheat, pace: Pace) -> Result<Run> {
    let place = bench.place()?;
    let options = bench
        .options(place.path())
        .segment_size(bench.scale.roll_segment)
        .preheat(preheat);
    let store = bench::open(options, 1)?;
    let mut latencies = Histogram::new_with_bounds(1, LONGEST, 3).context("making a histogram")?;
    let (own, before) = (procfs::thread_usage()?, Background::now()?);
    let begin = Instant::now();
    append(bench, &store, pace, &mut latencies)?;
    let took = begin.elapsed();
    let appender_faults = procfs::thread_usage()?.faults() - own.faults();
    let background = Background::now()?.since(before);
    store.close().context("closing the store")?;
    Ok(Run {
        latencies,
        took,
        appender_faults,
        background,
    })
}

impl Background {
    /// Since the threads began; they live as long as the store does.
    fn now() -> Result<Self> {
        let mut sum = Self::default();
        for thread in procfs::other_threads()? {
            let preparing = thread.name.starts_with(PREPARING);
            *if preparing {
                &mut sum.preparing
            } else {
                &mut sum.rest
            } += thread.time;
            sum.faults += thread.faults;
        }
        Ok(sum)
    }

    fn since(self, before: Self) -> Self {
        Self {
            faults: self.faults.saturating_sub(before.faults),
            preparing: self.preparing.saturating_sub(before.preparing),
            rest: self.rest.saturating_sub(before.rest),
        }
    }
}

fn append(bench: &Bench, store: &Store, pace: Pace, latencies: &mut Histogram<u64>) -> Result<()> {
    let payload = Payload::new(BODY);
    let appender = store.appender(TOPIC)?;
    let end = bench.scale.rolls * bench.scale.roll_segment;
    let start = Instant::now();
    let mut index = 0;
    loop {
        let due = match pace {
            Pace::Open { per_second } => {
                wait_until(start + Duration::from_nanos(index * 1_000_000_000 / per_second))
            }
            Pace::Full => Instant::now(),
        };
        let appended = appender.append_to(0, &Message::new(payload.body(index)))?;
        latencies.saturating_record(due.elapsed().as_nanos() as u64);
        let over = match pace {
            Pace::Open { .. } => start.elapsed() >= bench.scale.tail_time,
            Pace::Full => appended.end() >= end,
        };
        if over {
            return Ok(());
        }
        index += 1;
    }
}

/// Spins, since a sleep would wake too late; returns the time asked for, not the time it is.
fn wait_until(due: Instant) -> Instant {
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    due
}

impl Pace {
    fn title(self) -> String {
        match self {
            Self::Open { per_second } => format!("open loop at {} /s", count(per_second as f64)),
            Self::Full => "at full speed".to_owned(),
        }
    }
}

fn method(bench: &Bench) -> String {
    format!(
        "One appender, bodies of {}, mode async, a new folder for each run, segments of {}. In the open loop, one run of \
         {} s for each mode, an append is due every {} ns and its latency counts from then, so that a stall is charged to \
         every append that it holds up; the appender spins in between. At full speed each follows the one before, {} \
         segments a run. Faults and processor time are the kernel's counts for the appending thread and for the threads \
         of the store, from the first append to the last; preparing is making and preheating segments, the rest flushing \
         and indexing. The machine's own figure: how late a thread finds itself that only looks at the clock, at the same \
         rate and for as long.",
        bytes(BODY as u64),
        bytes(bench.scale.roll_segment),
        bench.scale.tail_time.as_secs(),
        1_000_000_000 / bench.scale.rate,
        bench.scale.rolls,
    )
}
