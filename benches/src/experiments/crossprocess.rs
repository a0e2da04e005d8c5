//! How soon another process sees a message.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_store::{Message, ReaderOptions, Wait};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{Experiment, Outcome};
use crate::bench::{self, Bench, TOPIC};
use crate::figures::{Spread, bytes, nanoseconds};
use crate::floor;
use crate::goal::Goal;
use crate::payload::Payload;
use crate::section::Table;

/// Bytes of a body; its first eight say when it was appended.
const BODY: usize = 1 << 10;
/// Messages that come first and are not counted.
const UNCOUNTED: u64 = 500;
/// Bare hand-overs of one word from thread to thread, beside them.
const HANDED_OVER: u64 = 2000;
/// A reader that has waited so long for a message has missed one.
const LONGEST: Duration = Duration::from_secs(20);
/// Set for the process that reads: how it waits, the folder, and how many messages it counts.
const ROLE: &str = "FOLIOMQ_BENCH_READER";

/// See the module.
pub const EXPERIMENT: Experiment = Experiment {
    name: "crossprocess",
    title: "Another process",
    question: "How long after the start of an append has another process read the whole message, asleep on a futex or \
               spinning on the watermark?",
    prediction: "Spinning: the append itself (0.3 to 0.6 µs), the cache lines of the record crossing to another core \
                 (0.2 to 0.4 µs) and their checksum: half of all within 1 µs. Asleep: a system call of the appender, and \
                 the kernel's wake-up of an idle core: half within 20 µs, unless the virtual machine gives idle cores \
                 away.",
    measure,
};

/// A way to wait, and how many messages a second are appended meanwhile.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    wait: Wait,
    rate: u64,
    /// Nanoseconds that half of all may take.
    target: u64,
}

const CASES: [Case; 2] = [
    Case {
        name: "spinning",
        wait: Wait::Spin,
        rate: 20_000,
        target: 1_000,
    },
    Case {
        name: "asleep",
        wait: Wait::Sleep,
        rate: 2_000,
        target: 20_000,
    },
];

/// Nanoseconds from before an append to after the read of its body in another process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    /// Half of all took at most this.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// All of them.
    pub max: u64,
}

/// One line of the final table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// `spinning` or `asleep`.
    pub name: &'static str,
    /// The rounds, in order.
    pub rounds: Vec<Latency>,
    /// Nanoseconds that the median may be at most.
    pub target: u64,
}

impl Figure {
    /// Nanoseconds: of the rounds' medians, the one in the middle.
    pub fn median(&self) -> f64 {
        Spread::of(&self.all(|round| round.p50)).median
    }

    fn all(&self, of: impl Fn(&Latency) -> u64) -> Vec<f64> {
        self.rounds.iter().map(|round| of(round) as f64).collect()
    }
}

fn measure(bench: &Bench) -> Result<Outcome> {
    let figures = latencies(bench)?;
    let said = |figure: &Figure| format!("{} {}", nanoseconds(figure.median()), figure.name);
    let finding = format!(
        "Half of all messages are read in another process within {}.",
        figures
            .iter()
            .map(said)
            .collect::<Vec<_>>()
            .join(", within ")
    );
    Ok(Outcome {
        method: method(bench),
        tables: vec![table(&figures)],
        comparisons: Vec::new(),
        goals: figures.iter().map(goal).collect::<Result<_>>()?,
        finding,
    })
}

fn goal(figure: &Figure) -> Result<Goal> {
    let asleep = figure.name != "spinning";
    let most = if asleep { 20.0 } else { 1.0 };
    let what = format!("another process sees a message, {}: p50", figure.name);
    let bare = floor::hand_over(asleep, HANDED_OVER)?.value_at_quantile(0.5) as f64 / 1e3;
    Ok(Goal::at_most(9, what, figure.median() / 1e3, "µs", most).with_floor(bare))
}

/// The plain figures.
pub fn latencies(bench: &Bench) -> Result<Vec<Figure>> {
    let results = bench.alternate(CASES.len(), |variant| run(bench, &CASES[variant]))?;
    let figure = |(case, rounds): (&Case, Vec<Latency>)| Figure {
        name: case.name,
        rounds,
        target: case.target,
    };
    Ok(CASES.iter().zip(results).map(figure).collect())
}

fn table(figures: &[Figure]) -> Table {
    let columns = ["reader", "p50", "p99", "p99.9", "max", "target p50", ""];
    let row = |figure: &Figure| {
        let shown = |of: fn(&Latency) -> u64| nanoseconds(Spread::of(&figure.all(of)).median);
        let met = figure.median() <= figure.target as f64;
        vec![
            figure.name.to_owned(),
            shown(|round| round.p50),
            shown(|round| round.p99),
            shown(|round| round.p999),
            shown(|round| round.max),
            nanoseconds(figure.target as f64),
            if met { "met" } else { "short" }.to_owned(),
        ]
    };
    Table {
        caption:
            "From before the append to after the read in another process (medians of the rounds):"
                .to_owned(),
        columns: columns.map(String::from).to_vec(),
        rows: figures.iter().map(row).collect(),
    }
}

fn run(bench: &Bench, case: &Case) -> Result<Latency> {
    let place = bench.place()?;
    let store = bench::open(bench.options(place.path()), 1)?;
    let counted = bench.scale.seen(case.rate);
    let mut reader = OtherProcess::start(case.wait, place.path().to_path_buf(), counted)?;
    let payload = Payload::new(BODY);
    let (gap, begin) = (Duration::from_secs(1) / case.rate as u32, Instant::now());
    for index in 0..UNCOUNTED + counted {
        let due = begin + gap * index as u32;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let mut body = payload.body(index).to_vec();
        body[..8].copy_from_slice(&now().to_le_bytes());
        store.append_to(TOPIC, 0, &Message::new(&body))?;
    }
    let latency = reader.result()?;
    store.close().context("closing the store")?;
    Ok(latency)
}

/// Nanoseconds of a clock that all processes share.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// This program, started again to read.
struct OtherProcess {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl OtherProcess {
    /// Returns once it waits for the first message.
    fn start(wait: Wait, dir: PathBuf, count: u64) -> Result<Self> {
        let role = Role {
            wait: wait == Wait::Spin,
            dir,
            count,
        };

        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, serde_json::to_string(&role)?)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the reader")?;
        let lines = BufReader::new(child.stdout.take().context("no pipe to the reader")?);
        let mut other = Self { child, lines };
        ensure!(other.line()? == "ready", "the reader is not ready");
        Ok(other)
    }

    fn result(&mut self) -> Result<Latency> {
        let latency = serde_json::from_str(&self.line()?).context("what the reader found")?;
        ensure!(self.child.wait()?.success(), "the reader failed");
        Ok(latency)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        // Most often it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Role {
    wait: bool,
    dir: PathBuf,
    count: u64,
}

/// What this program does when the experiment has started it again, as the reader; `None` if it has not.
pub fn read_if_asked() -> Option<Result<()>> {
    let role = std::env::var(ROLE).ok()?;
    Some(
        serde_json::from_str(&role)
            .map_err(Into::into)
            .and_then(read),
    )
}

fn read(role: Role) -> Result<()> {
    let wait = if role.wait { Wait::Spin } else { Wait::Sleep };
    let reader = ReaderOptions::new(role.dir).wait(wait).open()?;
    let mut messages = reader.tail();
    println!("ready");
    let mut histogram = Histogram::<u64>::new(3)?;
    for index in 0..UNCOUNTED + role.count {
        let message = messages
            .next_timeout(LONGEST)?
            .context("a message is missing")?;
        let seen = now();
        let appended = message
            .body()
            .first_chunk()
            .context("a body without a time")?;
        if index >= UNCOUNTED {
            histogram.record(seen.saturating_sub(u64::from_le_bytes(*appended)))?;
        }
    }
    let latency = Latency {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    };
    println!("{}", serde_json::to_string(&latency)?);
    Ok(())
}

fn method(bench: &Bench) -> String {
    let cases = CASES.map(|case| {
        format!(
            "{} {}/s for {} messages",
            case.name,
            case.rate,
            bench.scale.seen(case.rate)
        )
    });
    format!(
        "Bodies of {}, async, one appender that awaits each due time awake; {}. The body carries the time (CLOCK_MONOTONIC, \
         which processes share) at which its append was called; the reader, another process, takes the time when it has \
         the message in hand, its checksum compared, so every byte of it read. {UNCOUNTED} messages come first. The machine's own figure: one word that one thread \
         changes and another sees, in the same way of waiting; no message, no bytes.",
        bytes(BODY as u64),
        cases.join(", "),
    )
}
