//! Figure 6, its second half: consumers that get messages all the time, beside receives that nothing comes for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use foliomq_benches::figures::{Spread, nanoseconds};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{Connection, process};
use foliomq_proto::v2::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::calls::{receive, send};
use crate::measure::{Bench, PATIENCE, Side};
use crate::polls::{ACTIVE, WAIT, active};

/// Between two messages of all topics together.
const PAUSE: Duration = Duration::from_millis(1);
/// Messages of one receive, at most.
const MOST: i32 = 32;

/// What was seen with so many connections, and so many receives that nothing came for.
pub struct Seen {
    connections: usize,
    idle: usize,
    sent: u64,
    /// Receives that returned without a message.
    for_nothing: u64,
    /// Nanoseconds from the send to the consumer's hands, of each message.
    latency: Vec<u64>,
    /// Processor seconds of the server.
    processor: f64,
    /// Bytes of it that are no file's, grown meanwhile.
    memory: u64,
}

/// Latencies of the messages of one receive.
type Told = Vec<u64>;

/// Each number of connections, with and without idle receives beside.
pub fn look(bench: &Bench, connections: [usize; 2]) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for connections in connections {
        for idle in [0, bench.scale.polls] {
            let side = bench.broker("async", &["flush=async"])?;
            for topic in 0..ACTIVE {
                bench.topic(&side, &active(topic))?;
            }
            let run = run(&side, connections, idle, bench.scale.time * 3);
            seen.push(bench.runtime.block_on(run)?);
        }
    }
    Ok(seen)
}

async fn run(side: &Side, connections: usize, idle: usize, time: Duration) -> Result<Seen> {
    let (pid, epoch) = (side.server.pid(), Instant::now());
    let mut open = Vec::new();
    for number in 0..connections {
        open.push(Connection::open(&side.target(), &format!("active-{number}")).await?);
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for poll in 0..idle {
        tasks.spawn(idle_receive(open[poll % connections].clone()));
    }
    for topic in 0..ACTIVE {
        let connection = open[topic % connections].clone();
        tasks.spawn(consume(connection, topic, epoch, tell.clone()));
    }
    // Until all of them wait.
    sleep(time / 4).await;
    let (busy, (_, memory)) = (process::time(pid)?, process::memory(pid)?);
    let sent = tokio::select! {
        sent = produce(&open[0], epoch, time) => sent?,
        ended = failed(&mut tasks) => return Err(ended),
    };
    let mut latency: Vec<u64> = Vec::new();
    let mut for_nothing = 0;
    while (latency.len() as u64) < sent {
        let next = tokio::select! {
            next = timeout(PATIENCE, told.recv()) => next.context("some messages did not come")?,
            ended = failed(&mut tasks) => return Err(ended),
        };
        let next: Told = next.context("no consumer is left")?;
        for_nothing += u64::from(next.is_empty());
        latency.extend(next);
    }
    ensure!(
        latency.len() as u64 == sent,
        "more messages came than were sent"
    );
    latency.sort_unstable();
    let seen = Seen {
        connections,
        idle,
        sent,
        for_nothing,
        latency,
        processor: process::time(pid)?.saturating_sub(busy).as_secs_f64(),
        memory: process::memory(pid)?.1.saturating_sub(memory),
    };
    tasks.shutdown().await;
    Ok(seen)
}

/// The first task that ends: none should.
async fn failed(tasks: &mut JoinSet<Result<()>>) -> anyhow::Error {
    match tasks.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a consumer ended"),
    }
}

/// Waits at a topic that nothing is sent to.
async fn idle_receive(connection: Connection) -> Result<()> {
    let came = receive(&connection, "wire", 1, WAIT).await?;
    bail!("an idle receive returned, with {} messages", came.len())
}

/// Receives what is sent to its topic, and tells how long each message took.
async fn consume(
    connection: Connection,
    topic: usize,
    epoch: Instant,
    tell: mpsc::UnboundedSender<Told>,
) -> Result<()> {
    loop {
        let messages = receive(&connection, &active(topic), MOST, WAIT).await?;
        let now = epoch.elapsed().as_nanos() as u64;
        let took = messages.iter().map(|message| {
            let (stamp, of) = stamp(message).context("a body that was not sent")?;
            ensure!(
                of == topic as u64,
                "the consumer of topic {topic} got a message of {of}"
            );
            Ok(now.saturating_sub(stamp))
        });
        let told = tell.send(took.collect::<Result<_>>()?);
        told.context("nobody listens")?;
    }
}

/// When it was sent, and to which topic.
fn stamp(message: &Message) -> Option<(u64, u64)> {
    let (stamp, rest) = message.body.split_first_chunk::<8>()?;
    let topic = rest.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*stamp), u64::from_le_bytes(*topic)))
}

/// One message after the other, to all topics in turn; returns how many.
async fn produce(connection: &Connection, epoch: Instant, time: Duration) -> Result<u64> {
    let (begin, mut sent) = (Instant::now(), 0);
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begin.elapsed() < time {
        ticks.tick().await;
        let topic = sent % ACTIVE as u64;
        let stamp = epoch.elapsed().as_nanos() as u64;
        let body = [stamp.to_le_bytes(), topic.to_le_bytes()].concat();
        send(connection, &active(topic as usize), body).await?;
        sent += 1;
    }
    Ok(sent)
}

impl Seen {
    fn micros_per_message(&self) -> f64 {
        self.processor * 1e6 / self.sent.max(1) as f64
    }

    fn row(&self) -> Vec<String> {
        let at = |share: f64| {
            let index = ((self.latency.len() - 1) as f64 * share) as usize;
            nanoseconds(self.latency[index] as f64)
        };
        vec![
            self.connections.to_string(),
            self.idle.to_string(),
            format!("{} of {}", self.latency.len(), self.sent),
            self.for_nothing.to_string(),
            format!("{} / {}", at(0.5), at(0.99)),
            format!("{:.0} us", self.micros_per_message()),
            format!("{:.1} MiB", self.memory as f64 / f64::from(1 << 20)),
        ]
    }
}

/// What the page shows of it.
pub fn table(seen: &[Seen]) -> Table {
    let columns = [
        "connections",
        "idle receives beside",
        "messages that came",
        "receives that returned empty",
        "send to receive, p50 / p99",
        "server time per message",
        "memory that grew",
    ];
    Table {
        caption: format!(
            "{ACTIVE} consumers, each at a topic of its own, receive again and again; one message every {PAUSE:?} to the topics in turn."
        ),
        columns: columns.map(String::from).to_vec(),
        rows: seen.iter().map(Seen::row).collect(),
    }
}

/// What it is held to.
pub fn goals(seen: &[Seen]) -> Vec<Goal> {
    let exact = seen
        .iter()
        .all(|seen| seen.latency.len() as u64 == seen.sent && seen.for_nothing == 0);
    // A consumer that were woken for another's message would cost the server time.
    let beside = seen
        .chunks_exact(2)
        .map(|pair| pair[1].micros_per_message() / pair[0].micros_per_message().max(1e-3));
    let beside: Vec<f64> = beside.collect();
    let most = seen.iter().map(|seen| seen.memory).max().unwrap_or(0);
    vec![
        Goal::at_least(
            6,
            "Each message woke the one consumer that waits for it, and nobody else (1: yes)",
            f64::from(u8::from(exact)),
            "",
            1.0,
        ),
        Goal::at_most(
            6,
            "Server time per message, with idle receives beside / without",
            Spread::of(&beside).high,
            "x",
            1.25,
        ),
        Goal::at_most(
            6,
            "Memory that grew while messages came",
            most as f64 / f64::from(1 << 20),
            "MiB",
            64.0,
        ),
    ]
}
