//! The page `docs/benchmarks/transfer.md` and its figures.

mod copies;
mod full;
mod plots;
mod summary;
mod table;
mod textbook;
mod verdict;

use foliomq_benches::figures::{self, significant};

use crate::measure::LOAD;
use crate::network;
use crate::predictions::{self, Outcome, Prediction};
use crate::results::Results;
use crate::source::Pattern;
use crate::ways::{BATCH_BYTES, BATCH_PIECES};
use table::Table;

pub use plots::all as figures;

/// A load below this disturbs nobody who needs two cores of a few.
const QUIET: f64 = 1.0;

const INTRODUCTION: &str = "\
A consumer asks for messages, and the broker has them in the page cache, in the segments of its log. How should they get \
into the consumer's socket: copied through a buffer, by `sendfile`, from a mapping, or by one of the newer ways? Textbooks \
answer by counting copies and \"context switches\". This page measures: throughput, processor time, system calls, copies \
and latency, for messages from 128 B to 16 MiB.";

/// The whole page.
pub fn page(results: &Results) -> String {
    let parts = [
        format!(
            "# From the log to a socket\n\n{INTRODUCTION}\n\nWritten by `{}`.\n\n",
            results.command
        ),
        machine(results),
        summary::section(results),
        textbook::section(results),
        method(results),
        images(),
        copies::section(results),
        latency(results),
        outcomes(results),
        limits(),
        full::section(results),
    ];
    parts.concat()
}

fn machine(results: &Results) -> String {
    let m = &results.machine;
    let mut table = Table::new(["", ""]);
    let memory = m.memory_mib.div_ceil(1024);
    table.row([
        "machine",
        &format!("{}, {} cores, {memory} GiB", m.processor, m.cores),
    ]);
    table.row(["kernel", &m.kernel]);
    let (name, floors) = m.floors.row();
    table.row([name, &floors]);
    let cores = results.cores.map_or(
        "anywhere: only one core, or not known".to_owned(),
        |cores| {
            format!(
                "sender on core {}, consumer on core {}",
                cores.sender, cores.consumer
            )
        },
    );
    table.row(["threads", &cores]);
    for (name, value) in &results.settings {
        table.row([name, value]);
    }
    let size = figures::bytes(results.log_bytes >> 20 << 20);
    table.row([
        "source",
        &format!(
            "a log of {size} on {}, all of it in the page cache",
            m.file_system
        ),
    ]);
    table.row(["version", &format!("{}, {}", m.commit, m.rustc)]);
    let plan = &results.plan;
    table.row([
        "scale",
        &format!(
            "{}, {} rounds, {:.0} s in all",
            plan.name, plan.rounds, results.took
        ),
    ]);
    table.row(["date", &m.date]);
    let skipped = match results.skipped.as_slice() {
        [] => "Nothing was skipped.\n\n".to_owned(),
        skipped => format!("**Skipped:**\n\n{}\n", list(skipped.iter().cloned())),
    };
    table.markdown() + &disturbed(results) + &skipped
}

/// A warning where others were at work.
fn disturbed(results: &Results) -> String {
    let load = results
        .settings
        .iter()
        .find(|(name, _)| name == LOAD)
        .map_or("", |(_, value)| value);
    let latest: f64 = load
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(0.0);
    if latest < QUIET {
        return String::new();
    }
    format!(
        "**The machine was not quiet: {latest} threads wanted its {} cores before this began. Throughput and latency are of \
         little use where the spread is wide; calls, copies and (roughly) processor time are not touched by it.**\n\n",
        results.machine.cores
    )
}

/// A line for each.
fn list(lines: impl IntoIterator<Item = String>) -> String {
    lines
        .into_iter()
        .map(|line| format!("- {line}\n"))
        .collect()
}

fn method(results: &Results) -> String {
    let plan = &results.plan;
    let batch = figures::bytes(BATCH_BYTES as u64);
    let lines = [
        "**Source.** A store is written, with a topic for each size and four queues in each, appended to in turn. *Scattered* \
         sends the bodies of one queue: the consume queue says where they are, and records of three other queues lie \
         between them. *In bulk* sends the segments from end to end, so many bytes at once. A scattered message of 1 MiB is \
         sent over and over from a queue of a few dozen MiB; in bulk the whole log goes by, more than the second-level cache holds."
            .to_owned(),
        format!(
            "**Ways.** A sender of scattered messages has up to {BATCH_PIECES} of them, or {batch}, at hand. Some ways take them \
             one by one (`read` + `write`, `sendfile`, `write`), some take all at once (`writev`, `MSG_ZEROCOPY` by \
             `sendmsg`), some in between (`read` each, `write` all; `splice` each into a pipe, all out of it; io_uring: a \
             request for each, in a chain, one system call for all)."
        ),
        "**Networks.** TCP over loopback; over a veth pair between two network namespaces, as the kernel makes it; the same \
         with `tso off gso off`, so that packets are cut to 1500 bytes before the device; and with `sg off` besides, so that \
         each packet must be one piece of memory. The third network is a control: between it and the fourth nothing differs \
         but that copy."
            .to_owned(),
        "**Socket.** A new connection for each run; `TCP_CORK`, since a sender of many messages knows that more will come \
         (latency: `TCP_NODELAY`); buffers as the kernel tunes them."
            .to_owned(),
        format!(
            "**Rounds.** Sender and consumer have a core each. A run sends for {} ms, until the consumer has the last byte; the \
             ways take turns, A B C, then C B A. All figures are medians of {} rounds. A round before that is not timed: in it \
             the consumer compares every byte with the log, and the kernel counts.",
            plan.run.as_millis(),
            plan.rounds
        ),
        "**Processor time.** Of the thread, by its own clock, which includes what the network stack does on its behalf (on \
         these networks the receiving half of TCP mostly runs on the sender's core), with the kernel's `ksoftirqd` of both cores."
            .to_owned(),
    ];
    format!("## How it was measured\n\n{}\n", list(lines))
}

fn images() -> String {
    let images = [
        (
            "throughput-scattered",
            "Throughput against message size, scattered",
        ),
        ("throughput-bulk", "Throughput in bulk"),
        (
            "cpu-scattered",
            "Processor time against message size, scattered",
        ),
        ("cpu-bulk", "Processor time in bulk"),
    ];
    let show = |(name, title): (&str, &str)| format!("![{title}](transfer-{name}.svg)\n\n");
    format!(
        "## Throughput and processor time\n\n{}",
        images.map(show).concat()
    )
}

fn latency(results: &Results) -> String {
    let mut text = "## Latency\n\nSingle messages at a fixed rate (10,000 per second, or 160 MB/s if that is less), with \
                    `TCP_NODELAY`, to a consumer that never sleeps; from when a message was *due*, so that a late one is not \
                    excused, to when it was whole in the consumer's buffer. What lies far above the median is mostly this \
                    machine's scheduler: both threads spin, and whoever else wants their cores gets them for milliseconds.\n\n\
                    ![Latency](transfer-latency.svg)\n\n"
        .to_owned();
    for network in results.networks() {
        let mut table = Table::new([
            "way",
            "size",
            "p50",
            "p50, lowest and highest round",
            "p90",
            "p99",
            "p99.9",
            "max",
        ]);
        for paced in results
            .paced
            .iter()
            .filter(|paced| paced.place.network == network)
        {
            let ns = figures::nanoseconds;
            table.row([
                paced.place.way.name().to_owned(),
                figures::bytes(paced.place.size as u64),
                ns(paced.p50.median),
                format!("{} to {}", ns(paced.p50.low), ns(paced.p50.high)),
                ns(paced.p90.median),
                ns(paced.p99.median),
                ns(paced.p999 as f64),
                ns(paced.max as f64),
            ]);
        }
        text += &details(&format!("Latency, {}", network.name()), &table.markdown());
    }
    text
}

/// What the reader may open.
fn details(summary: &str, content: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{content}</details>\n\n")
}

fn outcomes(results: &Results) -> String {
    let outcomes = predictions::outcomes(results);
    let mut table = Table::new([
        "what",
        "predicted",
        "measured (lowest to highest round)",
        "because",
        "",
    ]);
    for outcome in &outcomes {
        let Prediction {
            low,
            high,
            why,
            measure,
        } = outcome.prediction;
        let m = outcome.measured;
        let measured = match m.low == m.high {
            true => significant(m.median),
            false => format!(
                "{} ({} to {})",
                significant(m.median),
                significant(m.low),
                significant(m.high)
            ),
        };
        let surprise = if outcome.surprising() {
            "**surprise**"
        } else {
            ""
        };
        let predicted = format!("{} to {}", significant(low), significant(high));
        table.row([&measure.describe(), &predicted, &measured, why, surprise]);
    }
    let surprises = outcomes
        .iter()
        .filter(|outcome| Outcome::surprising(outcome))
        .count();
    format!(
        "## What was expected\n\nWritten down before the first run, and not changed after it. One thing about the method was: \
         the first look was without `TCP_CORK`. {surprises} of {} are surprises.\n\n{}",
        outcomes.len(),
        table.markdown()
    )
}

fn limits() -> String {
    let lines = [
        "Both ends are on one machine, and neither network has a device that reads memory by itself. What DMA, a real \
         card's checksum and segmentation, and a wire would change is not measured. `MSG_ZEROCOPY` and `send_zc` in \
         particular are made for such a card: here the kernel copies for them in the end.",
        "In a virtual machine to wake a thread on another core costs more than on bare metal, and it is a large share of \
         what bulk transfer costs here: the runs with a consumer that never sleeps show by how much.",
        "The log is in the page cache. Reading from a device is another question, and so is TLS, with which only \
         kTLS would leave `sendfile` in the race.",
        "`sendfile` here sends bodies alone. A protocol puts a header before each message: with `writev` that is one more \
         slice, with `sendfile` one more call.",
        "A page that was handed to the network by reference (`sendfile`, `splice`, zero-copy) must not change until the \
         consumer has read it. For a log that holds by itself; for a file that is overwritten in place it does not.",
    ];
    format!(
        "## What this does not say\n\n{}\n",
        list(lines.map(String::from))
    )
}

/// A ratio of two medians' rounds, as the page writes it.
fn times(ratios: &[f64]) -> String {
    match ratios {
        [] => "–".into(),
        ratios => figures::Spread::of(ratios).to_string(),
    }
}

/// The networks and patterns that are compared in the summary.
fn compared(results: &Results) -> Vec<(network::Kind, Pattern)> {
    let patterns = |network| [(network, Pattern::Scattered), (network, Pattern::Bulk)];
    results.networks().into_iter().flat_map(patterns).collect()
}
