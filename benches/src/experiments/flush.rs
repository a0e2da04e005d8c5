//! Appends that wait for the disk: group commit against one `fdatasync` per message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use foliomq_store::{Flush, Message};

use super::{Experiment, Outcome};
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Comparison, Unit, bytes, reach};
use crate::payload::Payload;
use crate::plainfile::{PlainFile, Way};
use crate::section::Table;

/// Appending threads, each to a queue of its own.
const APPENDERS: [u32; 2] = [1, 8];
/// Bytes reserved for the plain file: more than a run can fill with one flush per body.
const RESERVED: u64 = 256 << 20;

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "flush",
    title: "Append, sync",
    question: "What does group commit buy: durable appends per second with 1 and with 8 appenders, against a file \
               that is written and flushed (`fdatasync`) for every single body?",
    prediction: "With one appender the flush decides and the hand-over to the flusher and back is on top: 0.5 to 1.1 \
                 times. With 8 appenders one flush serves up to 8: 3 to 8 times.",
    measure,
};

fn measure(bench: &Bench) -> Result<Outcome> {
    let mut comparisons = Vec::new();
    for load in bench.scale.append {
        for appenders in APPENDERS {
            let results = bench.alternate(2, |variant| match variant {
                0 => through_store(bench, load.body, appenders),
                _ => through_file(bench, load.body, appenders),
            })?;
            let [store, file] = <[Vec<f64>; 2]>::try_from(results).unwrap_or_default();
            let predicted = if appenders == 1 {
                (0.5, 1.1)
            } else {
                (3.0, 8.0)
            };
            let plural = if appenders == 1 { "" } else { "s" };
            let case = format!("{}, {appenders} appender{plural}", bytes(load.body as u64));
            let unit = Unit::MessagesPerSecond { body: load.body };
            comparisons.push(Comparison::new(
                case,
                "group commit / fdatasync each",
                unit,
                (store, file),
                predicted,
            ));
        }
    }
    Ok(outcome(bench, comparisons))
}

fn through_store(bench: &Bench, body: usize, appenders: u32) -> Result<f64> {
    let place = bench.place()?;
    let store = bench::open(bench.options(place.path()).flush(Flush::Sync), appenders)?;
    let rate = rate(bench, body, appenders, |thread, body| {
        store.append_to(TOPIC, thread, &Message::new(body))?;
        Ok(())
    })?;
    store.close().context("closing the store")?;
    Ok(rate)
}

fn through_file(bench: &Bench, body: usize, appenders: u32) -> Result<f64> {
    let place = bench.place()?;
    let file = PlainFile::create(place.path(), Way::EachFlushed, RESERVED)?;
    rate(bench, body, appenders, |_, body| Ok(file.append(body)?))
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
    let (alone, many): (Vec<_>, Vec<_>) = comparisons
        .iter()
        .cloned()
        .partition(|c| c.case.ends_with("1 appender"));
    let finding = format!(
        "With one appender the store makes {} as many messages durable as a flushed `write()` does, with 8 appenders {}.",
        reach(&alone),
        reach(&many),
    );
    let caption = "Durable messages per second:";
    let tables = vec![Table::versus(
        caption,
        "store, group commit",
        "write() + fdatasync()",
        &comparisons,
    )];
    Outcome {
        method: method(bench),
        tables,
        comparisons,
        finding,
    }
}

fn method(bench: &Bench) -> String {
    format!(
        "Each run lasts {} ms in a new folder, segments of {}. Store: flush mode `sync`, `append_to` returns once the \
         message is durable. Plain file: lock, `write()`, `fdatasync()`, unlock, blocks reserved beforehand.",
        bench.scale.sync_time.as_millis(),
        bytes(bench.scale.segment),
    )
}
