//! Appends without waiting for the disk, against a plain file.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_store::Message;

use super::{Experiment, Outcome};
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Comparison, Unit, bytes, reach};
use crate::payload::Payload;
use crate::plainfile::{PlainFile, Way};
use crate::scale::Load;
use crate::section::Table;

/// Appending threads, each to a queue of its own.
const THREADS: [u32; 2] = [1, 2];

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "append",
    title: "Append, async",
    question: "What does an append through the store cost (header, checksum over all of it, consume queue, mapped \
               store), against the least that a program without a store does: one `write()` per body into a reserved \
               file, or a `BufWriter` over it?",
    prediction: "The store saves the system call and pays for header, checksum and lock: 1 to 3 times as fast as \
                 `write()` per body with one thread, up to 5 times with two, since there the file's lock is held \
                 across a system call. A `BufWriter` does nothing but copy: at 128 B it is 3 to 20 times as fast as \
                 the store, at 16 KiB they come together.",
    measure,
};

/// Messages per second of one run.
struct Rates {
    /// Until the last append returned.
    appended: f64,
    /// Until the last message could be read through its consume queue; equal to `appended` for a plain file.
    readable: f64,
}

/// The comparisons of all cases, by what the store is compared with.
#[derive(Default)]
struct Compared {
    direct: Vec<Comparison>,
    buffered: Vec<Comparison>,
    readable: Vec<Comparison>,
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let mut compared = Compared::default();
    for load in bench.scale.append {
        for threads in THREADS {
            let results = bench.alternate(3, |variant| match variant {
                0 => through_store(bench, load, threads),
                1 => through_file(bench, load, threads, Way::Each),
                _ => through_file(bench, load, threads, Way::Buffered),
            })?;
            compared.add(load, threads, &results);
        }
    }
    Ok(compared.outcome(bench))
}

impl Compared {
    fn add(&mut self, load: Load, threads: u32, results: &[Vec<Rates>]) {
        let case = case(load, threads);
        let unit = Unit::MessagesPerSecond { body: load.body };
        let new = |of: &str, left: Vec<f64>, right: Vec<f64>, predicted| {
            Comparison::new(&case, of, unit, (left, right), predicted)
        };
        let appended = |variant: usize| -> Vec<f64> {
            results[variant]
                .iter()
                .map(|rates| rates.appended)
                .collect()
        };
        let readable = results[0].iter().map(|rates| rates.readable).collect();
        let (direct, buffered) = predicted(load, threads);
        self.direct
            .push(new("store / write()", appended(0), appended(1), direct));
        self.buffered
            .push(new("store / BufWriter", appended(0), appended(2), buffered));
        self.readable.push(new(
            "readable / appended",
            readable,
            appended(0),
            (0.5, 1.0),
        ));
    }

    fn outcome(self, bench: &Bench) -> Outcome {
        let Self {
            direct,
            buffered,
            readable,
        } = self;
        let finding = format!(
            "An append through the store is {} as fast as one `write()` per body, and {} as fast as a `BufWriter`; \
             with the consume queues written too, {} the append rate remains.",
            reach(&direct),
            reach(&buffered),
            reach(&readable),
        );
        let tables = vec![
            Table::versus(
                "Against one `write()` per body:",
                "store",
                "write()",
                &direct,
            ),
            Table::versus(
                "Against a `BufWriter` of 64 KiB:",
                "store",
                "BufWriter",
                &buffered,
            ),
            Table::versus(
                "Until the messages can be read:",
                "store, readable",
                "store, appended",
                &readable,
            ),
        ];
        Outcome {
            method: method(bench),
            tables,
            comparisons: [direct, buffered, readable].concat(),
            finding,
        }
    }
}

/// The prediction in figures: against `write()`, and against `BufWriter`.
fn predicted(load: Load, threads: u32) -> ((f64, f64), (f64, f64)) {
    let each = if threads == 1 { (1.0, 3.0) } else { (1.0, 5.0) };
    let gathered = match load.body {
        ..512 => (0.05, 0.35),
        512..4096 => (0.2, 0.9),
        _ => (0.5, 1.5),
    };
    (each, gathered)
}

fn case(load: Load, threads: u32) -> String {
    let plural = if threads == 1 { "" } else { "s" };
    format!("{}, {threads} thread{plural}", bytes(load.body as u64))
}

fn through_store(bench: &Bench, load: Load, threads: u32) -> Result<Rates> {
    let place = bench.place()?;
    let store = bench::open(bench.options(place.path()), threads)?;
    let payload = Payload::new(load.body);
    let begin = Instant::now();
    let took = bench::together(threads, |thread| {
        for index in 0..load.messages / u64::from(threads) {
            store.append_to(TOPIC, thread, &Message::new(payload.body(index)))?;
        }
        Ok(())
    })?;
    bench::wait_dispatched(&store)?;
    let readable = begin.elapsed();
    store.close().context("closing the store")?;
    let rate = |time: Duration| load.messages as f64 / time.as_secs_f64();
    Ok(Rates {
        appended: rate(took),
        readable: rate(readable),
    })
}

fn through_file(bench: &Bench, load: Load, threads: u32, way: Way) -> Result<Rates> {
    let place = bench.place()?;
    let payload = Payload::new(load.body);
    let file = PlainFile::create(place.path(), way, load.body as u64 * load.messages)?;
    let took = bench::together(threads, |_| {
        for index in 0..load.messages / u64::from(threads) {
            file.append(payload.body(index))?;
        }
        Ok(file.finish()?)
    })?;
    let rate = load.messages as f64 / took.as_secs_f64();
    Ok(Rates {
        appended: rate,
        readable: rate,
    })
}

fn method(bench: &Bench) -> String {
    format!(
        "{} of bodies per run; each run in a new folder. Store: `append_to` of one body at a time, each thread to its \
         own queue, segments of {}, a preheat window of {}, flushed every {} ms. Plain file: bare bodies one after \
         the other, blocks reserved, behind a lock so that they stay whole; never flushed. The last table counts until \
         the last message can be read through its consume queue.",
        sizes(bench),
        bytes(bench.scale.segment),
        bytes(bench::WINDOW),
        bench::FLUSH_INTERVAL.as_millis(),
    )
}

fn sizes(bench: &Bench) -> String {
    let megabytes =
        |load: &Load| format!("{:.0} MB", load.body as f64 * load.messages as f64 / 1e6);
    bench
        .scale
        .append
        .iter()
        .map(megabytes)
        .collect::<Vec<_>>()
        .join(", ")
}
