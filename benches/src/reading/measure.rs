//! Every way, in every order and condition, in turn.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_benches::bench::{TOPIC, together};
use foliomq_benches::memory_limit::MemoryLimit;
use foliomq_benches::payload::{Payload, touch};
use foliomq_benches::procfs;
use foliomq_store::{Message, ReadMode, Store};

use crate::drive::{Count, Limits};
use crate::plan::{Condition, Order, Plan};
use crate::results::{Case, Cell};
use crate::stage::{Stage, WRITER};
use crate::ways::Way;

/// Longer than any pass takes: a first pass over everything, to warm it and to compare what was read.
const WHOLE_PASS: Duration = Duration::from_secs(600);
/// Cold reads may last so many times as long as warm ones: one pass takes a while.
const COLD_TIMES: u32 = 5;

/// The two stores with messages of one size.
pub struct Stages {
    mapped: Stage,
    buffered: Stage,
}

impl Stages {
    /// Fills both.
    pub fn fill(parent: &Path, plan: &Plan, body: usize) -> Result<Self> {
        Ok(Self {
            mapped: Stage::fill(parent, ReadMode::Mapped, plan, body)?,
            buffered: Stage::fill(parent, ReadMode::Buffered, plan, body)?,
        })
    }

    fn of(&mut self, way: Way) -> &mut Stage {
        if way.is_mapped() {
            &mut self.mapped
        } else {
            &mut self.buffered
        }
    }

    /// Measures all ways in one order and condition; the outer error is of the bench, the inner one a reason to skip.
    pub fn measure(&mut self, plan: &Plan, case: Case) -> Result<Vec<Cell>> {
        let ways = Way::ALL.into_iter().filter(|way| way.can(case.order));
        // Memory is not read from a file: it is never cold.
        let ways = ways.filter(|way| *way != Way::Memory || !case.condition.is_cold());
        let mut cells: Vec<Cell> = ways.map(Cell::new).collect();
        if !case.condition.is_cold() {
            for cell in &cells {
                check_whole(self.of(cell.way), cell.way, case.order)?;
            }
        }
        for round in 0..plan.rounds {
            let mut turns: Vec<&mut Cell> = cells.iter_mut().collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for cell in turns {
                let sample = sample(self.of(cell.way), plan, case, cell.way, round)?;
                cell.add(sample);
            }
        }
        Ok(cells)
    }
}

/// One sample: messages per second, and device bytes read per body byte.
pub struct Sample {
    /// Messages per second, of all threads.
    pub rate: f64,
    /// Messages per second of processor time of the reading threads.
    pub processor: f64,
    /// Bytes that this process had the device read, per byte of the bodies.
    pub device: f64,
}

fn sample(stage: &mut Stage, plan: &Plan, case: Case, way: Way, round: usize) -> Result<Sample> {
    let _limit = prepare(stage, case)?;
    let stage = &*stage;
    let before = bytes_read()?;
    let count = match case.condition {
        Condition::Writer => beside_writer(stage, plan, || run(stage, plan, case, way, round))?,
        _ => run(stage, plan, case, way, round)?,
    };
    let bodies = (count.messages * stage.body as u64).max(1) as f64;
    let per = |time: Duration| count.messages as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
    Ok(Sample {
        rate: per(count.took),
        processor: per(count.processor),
        device: (bytes_read()? - before) as f64 / bodies,
    })
}

/// Brings about the condition; what is returned must live as long as it is to hold.
fn prepare(stage: &mut Stage, case: Case) -> Result<Option<MemoryLimit>> {
    if !case.condition.is_cold() {
        return Ok(None);
    }
    stage.cool()?;
    match case.condition {
        Condition::Pressure => MemoryLimit::enter(stage.span(case.order)? / 2 + SLACK).map(Some),
        _ => Ok(None),
    }
}

/// Bytes of the process itself that count towards the limit: buffers, stacks, page tables.
const SLACK: u64 = 8 << 20;

/// What all threads read, in the time of the slowest and the processor time of all.
fn run(stage: &Stage, plan: &Plan, case: Case, way: Way, round: usize) -> Result<Count> {
    let total = Mutex::new(Count::default());
    together(case.condition.threads(), |thread| {
        let limits = limits(stage, plan, case, thread, round);
        let count = way.read(stage, case.order, &limits)?;
        let mut total = total
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        total.messages += count.messages;
        total.processor += count.processor;
        total.took = total.took.max(count.took);
        Ok(())
    })?;
    Ok(total
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn limits(stage: &Stage, plan: &Plan, case: Case, thread: u32, round: usize) -> Limits {
    let messages = stage.messages(case.order);
    let cold = case.condition.is_cold();
    // Under pressure it goes on: what it has read before is partly gone.
    let once = case.condition == Condition::Cold;
    Limits {
        messages,
        from: u64::from(thread) * messages / u64::from(case.condition.threads()),
        time: if cold {
            plan.time * COLD_TIMES
        } else {
            plan.time
        },
        most: if once { messages } else { u64::MAX },
        seed: 0xB00C + u64::from(thread) + 16 * round as u64,
    }
}

/// A whole pass, which warms everything, and must have seen what was appended.
fn check_whole(stage: &Stage, way: Way, order: Order) -> Result<()> {
    let messages = stage.messages(order);
    let limits = Limits {
        messages,
        from: 0,
        time: WHOLE_PASS,
        most: messages,
        seed: 1,
    };
    let Count {
        messages: read,
        sum,
        ..
    } = way.read(stage, order, &limits)?;
    if order != Order::Random {
        let payload = Payload::new(stage.body);
        let expected = (0..messages)
            .map(|number| touch(payload.body(number)))
            .sum::<u64>();
        ensure!(
            read == messages && sum == expected,
            "{way:?} read {read} of {messages}, sum {sum}"
        );
    }
    Ok(())
}

/// Runs `work` while a thread appends to another queue at a steady pace.
fn beside_writer<T>(stage: &Stage, plan: &Plan, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| append(stage.store()?, plan.writer, stage.body, &stop));
        let worked = work();
        stop.store(true, Ordering::Relaxed);
        let appended = writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        appended.and(worked)
    })
}

/// Appends bodies at a rate of so many bytes per second, until it is told to stop.
fn append(store: &Store, rate: u64, body: usize, stop: &AtomicBool) -> Result<()> {
    let payload = Payload::new(body);
    let begin = Instant::now();
    let mut appended = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64 / body as u64;
        if appended >= due {
            thread::sleep(Duration::from_micros(100));
            continue;
        }
        store.append_to(TOPIC, WRITER, &Message::new(payload.body(appended)))?;
        appended += 1;
    }
    Ok(())
}

/// Bytes that this process had the device read.
fn bytes_read() -> Result<u64> {
    let io = procfs::read("/proc/self/io")?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|bytes| bytes.parse().ok())
        .with_context(|| format!("unknown form of io: {io}"))
}
