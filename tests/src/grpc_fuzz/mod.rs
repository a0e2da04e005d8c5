//! Random programs against the whole gRPC surface of the real binary: requests of the right shape and of hostile content,
//! in any order, with handles and ids of earlier answers, and now and then bytes that are no request at all.
//!
//! After each batch of programs nothing has panicked, the broker serves, its memory is bounded; each call has ended in
//! time, and none of a client's mistakes was answered with an internal error. Requests are made from the protocols'
//! descriptions, so that new methods are fuzzed as they come. The seed repeats the choices, as far as the broker's
//! answers, of which later requests are made, come out the same.

pub mod call;
pub mod judge;
pub mod program;
pub mod read;
pub mod reflection;
pub mod schema;
pub mod words;
pub mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::broker::{Broker, Settings};
use crate::driver::{Kind, Outgoing};
use crate::session::{INVISIBLE, Session};
use program::{Finding, Tally};
use schema::Schema;

/// Programs that run at once.
const BATCH: u64 = 24;
/// Connections of programs that are over that stay open, with whatever requests they hold open: the newest.
const LEFT_OPEN: usize = 240;
/// Anonymous memory of the broker, MiB, that it must stay below.
const MEMORY: u64 = 768;
/// How long a message may take to come back that is sent after a batch.
const PROBE: Duration = Duration::from_secs(60);
/// A topic and a group that no program names.
const UNTOUCHED: &str = "untouched";

/// What a run has done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Batches.
    pub batches: u64,
    /// Calls.
    pub calls: usize,
    /// Calls that gRPC called OK.
    pub answered: usize,
    /// The most anonymous memory that the broker had after a batch, MiB.
    pub memory: u64,
    /// What was found, each kind once, with how often it was.
    pub findings: BTreeMap<(String, String), (usize, Finding)>,
}

/// Runs batches for `time`, or until the broker is beyond use.
///
/// # Errors
/// If the broker panics, ends, serves no more or takes too much memory; the text says in which batch.
pub async fn run(settings: Settings, seed: u64, time: Duration) -> Result<Outcome> {
    let schema = Arc::new(Schema::new()?);
    let mut broker = Broker::start(settings).await?;
    let mut outcome = Outcome::default();
    let mut left = VecDeque::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let batch = outcome.batches;
        let mut tally = run_batch(&schema, &broker, seed, batch).await?;
        left.extend(tally.left.drain(..));
        left.drain(..left.len().saturating_sub(LEFT_OPEN));
        outcome.add(tally);
        let checked = check(&mut broker).await;
        outcome.memory = outcome
            .memory
            .max(checked.with_context(|| format!("seed {seed}, batch {batch}"))?);
    }
    drop(left);
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, tally: Tally) {
        self.batches += 1;
        self.calls += tally.calls;
        self.answered += tally.answered;
        for finding in tally.findings {
            let what: String = finding.what.chars().take(120).collect();
            let key = (finding.path.clone(), what);
            self.findings.entry(key).or_insert((0, finding)).0 += 1;
        }
    }
}

async fn run_batch(schema: &Arc<Schema>, broker: &Broker, seed: u64, batch: u64) -> Result<Tally> {
    let mut programs = JoinSet::new();
    for number in 0..BATCH {
        let address = broker.address();
        let random = StdRng::seed_from_u64(seed ^ ((batch * BATCH + number) << 20));
        let schema = schema.clone();
        programs.spawn(async move { program::run(&schema, address, random).await });
    }
    let mut all = Tally::default();
    while let Some(tally) = programs.join_next().await {
        let tally = tally??;
        all.calls += tally.calls;
        all.answered += tally.answered;
        all.findings.extend(tally.findings);
        all.left.extend(tally.left);
    }
    Ok(all)
}

/// Nothing panicked, and the broker serves; returns its anonymous memory, MiB.
async fn check(broker: &mut Broker) -> Result<u64> {
    let panics = broker.lines_with("panicked");
    ensure!(panics.is_empty(), "{}", panics.join("\n"));
    ensure!(broker.alive()?, "the broker ended:\n{}", broker.output());
    let session = Session::open(Kind::Raw, broker.address(), &[]).await?;
    let producer = session.producer(&[UNTOUCHED]).await?;
    let consumer = session.simple(UNTOUCHED, UNTOUCHED).await?;
    producer.send(Outgoing::new(UNTOUCHED, "probe")).await?;
    let message = consumer.receive_one(INVISIBLE, PROBE).await?;
    consumer.ack(&message).await?;
    producer.stop().await?;
    consumer.stop().await?;
    let memory = anonymous_memory(broker.id()?)?;
    ensure!(memory < MEMORY, "the broker has {memory} MiB of its own");
    Ok(memory)
}

/// Mapped segments are the page cache's, and not counted.
fn anonymous_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: u64 = kib.context("no RssAnon")?.parse()?;
    Ok(kib >> 10)
}
