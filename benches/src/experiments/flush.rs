//! Appends that wait for the disk: group commit against one `fdatasync` per message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use foliomq_store::{Flush, Message, WriterKind};

use super::{Experiment, Outcome, median};
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Comparison, Unit, bytes, reach};
use crate::floor;
use crate::goal::Goal;
use crate::payload::Payload;
use crate::section::Table;

/// Appending threads where there are many.
const MANY: u32 = 64;
/// Bytes reserved for the plain file: more than a run can fill with one flush per body.
const RESERVED: u64 = 256 << 20;
/// Bytes of the bodies.
const BODIES: [usize; 2] = [1 << 10, 16 << 10];

const ALONE: &str = "one appender / write() and fdatasync()";
const GROUP: &str = "64 appenders / one appender";
const FULL: &str = "64 bodies a flush, write() and fdatasync() / one a flush";
const STAGED_ALONE: &str = "one appender, staged / mapped";
const STAGED_GROUP: &str = "64 appenders, staged / mapped";

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "flush",
    title: "Append, sync",
    question: "What does group commit buy: durable appends per second with 1 and with 64 appenders, against a file that \
               is written and flushed (`fdatasync`) for every single body? And which writer is the better one here, \
               stores into a mapping that is then flushed, or one `pwrite` of each batch?",
    prediction: "With one appender the flush decides, and the hand-over to the flusher and back is on top: 0.7 to 1.1 \
                 times. With 64 appenders one flush serves up to 64: 20 to 60 times one. The writers differ little, \
                 since the device decides: 0.8 to 1.3 times.",
    measure,
};

/// Who makes bodies durable.
#[derive(Debug, Clone, Copy)]
enum Contestant {
    /// One thread, so many bodies by one `write()`, and `fdatasync()`.
    File(u32),
    /// So many appenders.
    Store(WriterKind, u32),
}

const CONTESTANTS: [Contestant; 6] = [
    Contestant::File(1),
    Contestant::Store(WriterKind::Mapped, 1),
    Contestant::Store(WriterKind::Staged, 1),
    Contestant::Store(WriterKind::Mapped, MANY),
    Contestant::Store(WriterKind::Staged, MANY),
    Contestant::File(MANY),
];

fn measure(bench: &Bench) -> Result<Outcome> {
    let mut comparisons = Vec::new();
    for body in BODIES {
        let rates = bench.alternate(CONTESTANTS.len(), |index| match CONTESTANTS[index] {
            Contestant::File(bodies) => through_file(bench, body, bodies),
            Contestant::Store(writer, appenders) => through_store(bench, body, appenders, writer),
        })?;
        let new = |of: &str, left: usize, right: usize, predicted| {
            let sides = (rates[left].clone(), rates[right].clone());
            let unit = Unit::MessagesPerSecond { body };
            Comparison::new(bytes(body as u64), of, unit, sides, predicted)
        };
        comparisons.extend([
            new(ALONE, 2, 0, (0.7, 1.1)),
            new(GROUP, 4, 2, (20.0, 60.0)),
            new(FULL, 5, 0, (15.0, 64.0)),
            new(STAGED_ALONE, 2, 1, (0.8, 1.3)),
            new(STAGED_GROUP, 4, 3, (0.8, 1.3)),
        ]);
    }
    Ok(outcome(bench, comparisons))
}

fn through_store(bench: &Bench, body: usize, appenders: u32, writer: WriterKind) -> Result<f64> {
    let place = bench.place()?;
    let options = bench.options(place.path()).flush(Flush::Sync);
    let store = bench::open(options.writer(writer), appenders)?;
    let appender = store.appender(TOPIC)?;
    let rate = rate(bench, body, appenders, |thread, body| {
        appender.append_to(thread, &Message::new(body))?;
        Ok(())
    })?;
    store.close().context("closing the store")?;
    Ok(rate)
}

fn through_file(bench: &Bench, body: usize, bodies: u32) -> Result<f64> {
    let place = bench.place()?;
    let size = body * bodies as usize;
    let flushes = floor::flushes(place.path(), size, bench.scale.sync_time, RESERVED)?;
    Ok(flushes * f64::from(bodies))
}

/// Durable bodies per second over the time of a run.
fn rate(
    bench: &Bench,
    body: usize,
    threads: u32,
    append: impl Fn(u32, &[u8]) -> Result<()> + Sync,
) -> Result<f64> {
    let payload = Payload::new(body);
    let appended = AtomicU64::new(0);
    let took = bench::together(threads, |thread| {
        let begin = Instant::now();
        let mut index = 0;
        while begin.elapsed() < bench.scale.sync_time {
            append(thread, payload.body(index))?;
            index += 1;
        }
        appended.fetch_add(index, Ordering::Relaxed);
        Ok(())
    })?;
    Ok(appended.into_inner() as f64 / took.as_secs_f64())
}

fn outcome(bench: &Bench, comparisons: Vec<Comparison>) -> Outcome {
    let of = |name: &str| -> Vec<Comparison> {
        let found = comparisons.iter().filter(|c| c.ratio_of == name);
        found.cloned().collect()
    };
    let finding = format!(
        "One appender makes {} as many messages durable as a flushed `write()` does, {MANY} appenders {} as many as one. \
         The staged writer does {} as well as the mapped one alone, and {} with {MANY}.",
        reach(&of(ALONE)),
        reach(&of(GROUP)),
        reach(&of(STAGED_ALONE)),
        reach(&of(STAGED_GROUP)),
    );
    let table = |left: &str, right: &str, name: &str| {
        Table::versus("Durable messages per second:", left, right, &of(name))
    };
    let tables = vec![
        table("store, 1 appender", "write() and fdatasync()", ALONE),
        table("64 appenders", "1 appender", GROUP),
        table("64 bodies a flush", "one a flush, write()", FULL),
        table("staged, 1 appender", "mapped, 1 appender", STAGED_ALONE),
        table("staged, 64 appenders", "mapped, 64 appenders", STAGED_GROUP),
    ];
    let case = bytes(BODIES[0] as u64);
    let goal = |name: &str, target, floor: Option<f64>| {
        let what = format!("append, sync, {case}: {name}");
        Goal::at_least(4, what, median(&comparisons, &case, name), "x", target).with_floor(floor)
    };
    let full = median(&comparisons, &case, FULL);
    let goals = vec![goal(ALONE, 0.9, Some(1.0)), goal(GROUP, 20.0, full)];
    Outcome {
        method: method(bench),
        tables,
        comparisons,
        goals,
        finding,
    }
}

fn method(bench: &Bench) -> String {
    format!(
        "Each run lasts {} ms in a new folder, segments of {}. Store: flush mode `sync`, the staged writer (the default \
         there) unless another is named, `append_to` returns once the message is durable; {MANY} appenders are as many \
         threads, each with a queue of its own. Plain file: lock, `write()`, `fdatasync()`, unlock, blocks reserved \
         beforehand; with {MANY} bodies a flush one thread writes them by one call, which no group commit can pass.",
        bench.scale.sync_time.as_millis(),
        bytes(bench.scale.segment),
    )
}
