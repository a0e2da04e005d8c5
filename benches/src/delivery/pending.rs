//! A process with many delayed messages: how fast they come in, and what they cost while none is due. Then it is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use foliomq_benches::payload::Payload;
use foliomq_benches::procfs;
use foliomq_delivery::Timestamp;
use foliomq_store::Message;
use serde::{Deserialize, Serialize};

use crate::broker::{BATCH, BODY, Broker};
use crate::role::hand_over;
use crate::scale::Scale;

/// The topic of those that become due.
pub const TOPIC: &str = "delayed";
/// Where the turns of the comparison go.
const TURNS: &str = "turns";
/// Milliseconds until the first is due: nothing is while this process lives.
const FAR: u64 = 3600 * 1000;
/// The turns' delayed messages are due so much later than all others.
const FARTHER: u64 = 20 * 24 * FAR;
/// Messages that become due in a second.
pub const DUE_RATE: u64 = 20_000;
const QUEUES: u32 = 4;

/// What the process found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// When the first is due.
    pub base: Timestamp,
    /// Messages per second, of each round: delayed, and others.
    pub rates: Vec<[f64; 2]>,
    /// Delayed messages that waited in the end.
    pub waiting: usize,
    /// Seconds for which the process was watched.
    pub idle: f64,
    /// Processor time of its threads meanwhile, by name, milliseconds.
    pub threads: BTreeMap<String, f64>,
}

/// The role: fills a store, measures, and waits to be killed.
pub fn role(folder: &Path, scale: &Scale) -> Result<()> {
    let (mut broker, _) = Broker::open(folder)?;
    broker.topic(TOPIC, QUEUES)?;
    broker.topic(TURNS, QUEUES)?;
    broker.run(broker.clock)?;
    let base = broker.clock.now() + FAR;
    delay(&broker, TOPIC, base, scale.pending)?;
    let mut rates = Vec::new();
    // The first round is not counted.
    for round in 0..=scale.rounds {
        let delayed = || delay(&broker, TURNS, base + FARTHER, scale.turn);
        let plain = || broker.fill(TURNS, scale.turn, BODY);
        let (delayed, plain) = if round % 2 == 0 {
            (rate(scale, delayed)?, rate(scale, plain)?)
        } else {
            let plain = rate(scale, plain)?;
            (rate(scale, delayed)?, plain)
        };
        rates.push([delayed, plain]);
    }
    rates.remove(0);
    // What is not flushed yet is, before the process is watched.
    broker.store.flush()?;
    thread::sleep(scale.idle / 2);
    let (begin, before) = (Instant::now(), times()?);
    thread::sleep(scale.idle);
    let (idle, mut threads) = (begin.elapsed().as_secs_f64(), times()?);
    for (name, time) in &mut threads {
        *time -= before.get(name).copied().unwrap_or_default();
    }
    let waiting = broker.groups.waiting();
    hand_over(&Found {
        base,
        rates,
        waiting,
        idle,
        threads,
    })
}

fn rate(scale: &Scale, turn: impl Fn() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    turn()?;
    Ok(scale.turn as f64 / begin.elapsed().as_secs_f64())
}

/// Appends messages that become due one after another, as [`Broker::fill`] appends others; returns once the delivery knows them.
/// Each body begins with its time.
fn delay(broker: &Broker, topic: &str, base: Timestamp, messages: u64) -> Result<()> {
    let (payload, mut end) = (Payload::new(BODY), 0);
    let mut bodies = vec![vec![0; BODY]; BATCH as usize];
    for first in (0..messages).step_by(BATCH as usize) {
        let numbers = first..messages.min(first + BATCH);
        let mut batch = Vec::new();
        for (number, body) in numbers.zip(&mut bodies) {
            let due = base + number * 1000 / DUE_RATE;
            body.copy_from_slice(payload.body(number));
            body[..8].copy_from_slice(&due.to_le_bytes());
            batch.push((due, Message::new(body)));
        }
        let now = broker.clock.now();
        let sent = broker.groups.submit_delayed(topic, None, &batch, now)?;
        end = sent.last().map_or(end, |sent| sent.appended.end());
    }
    broker.store.wait_committed(end)?;
    broker.store.catch_up();
    broker.groups.deliver_due(broker.clock.now())?;
    Ok(())
}

/// Processor time of all threads but this one, by name, milliseconds.
fn times() -> Result<BTreeMap<String, f64>> {
    let mut times = BTreeMap::new();
    for thread in procfs::other_threads()? {
        *times.entry(thread.name).or_default() += thread.time.as_secs_f64() * 1e3;
    }
    Ok(times)
}
