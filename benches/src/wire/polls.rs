//! Figure 6: many receives that wait.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_benches::goal::Goal;
use foliomq_benches::section::Table;
use foliomq_load::{Connection, process};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::active;
use crate::calls::{receive, send};
use crate::measure::{Bench, Side};
use crate::page::Section;

/// Consumers that messages come for, each at a topic of its own.
pub const ACTIVE: usize = 200;
/// How long a receive waits: longer than anything is measured.
pub const WAIT: Duration = Duration::from_secs(20);
/// How long those that were woken may take.
const WOKEN: Duration = Duration::from_secs(15);

/// What was seen on so many connections.
struct Seen {
    connections: usize,
    idle_cores: f64,
    memory: u64,
    woken: usize,
    expected: usize,
}

pub fn run(bench: &Bench) -> Result<Section> {
    let connections = [1, ACTIVE.min(bench.scale.polls)];
    let seen = connections.map(|connections| look(bench, connections));
    let seen: Vec<Seen> = seen.into_iter().collect::<Result<_>>()?;
    let woken = active::look(bench, connections)?;
    let polls = bench.scale.polls;
    Ok(Section {
        number: 6,
        title: "Receives that wait",
        text: format!(
            "{polls} idle long polls on one topic and {ACTIVE} at topics of their own, all at once, on one connection and on many. After a while one \
             message is sent to every tenth of these topics; the receives that return with a message are counted, and the others \
             must still wait. After that the {ACTIVE} receive again and again while messages come to all of them, with the idle ones \
             beside and without: a server that woke those for whom there is nothing would need more time for a message. Memory \
             is what of the server's process is no file's."
        ),
        tables: vec![table(&seen, polls), active::table(&woken)],
        goals: [goals(&seen, polls), active::goals(&woken)].concat(),
        samples: Vec::new(),
        rows: Vec::new(),
    })
}

fn table(seen: &[Seen], polls: usize) -> Table {
    let row = |seen: &Seen| {
        vec![
            seen.connections.to_string(),
            format!("{:.4}", seen.idle_cores),
            format!("{:.1} MiB", seen.memory as f64 / f64::from(1 << 20)),
            format!("{} of {}", seen.woken, seen.expected),
        ]
    };
    let columns = [
        "connections",
        "cores while all wait",
        "memory that they take",
        "woken, of those with a message",
    ];
    Table {
        caption: format!("{} receives wait.", polls + ACTIVE),
        columns: columns.map(String::from).to_vec(),
        rows: seen.iter().map(row).collect(),
    }
}

fn goals(seen: &[Seen], polls: usize) -> Vec<Goal> {
    let most = |of: fn(&Seen) -> f64| seen.iter().map(of).fold(0.0, f64::max);
    let exact = seen.iter().all(|seen| seen.woken == seen.expected);
    vec![
        Goal::at_most(
            6,
            "Cores busy while all receives wait",
            most(|seen| seen.idle_cores),
            "cores",
            0.02,
        ),
        Goal::at_least(
            6,
            "Exactly those with a message were woken (1: yes)",
            f64::from(u8::from(exact)),
            "",
            1.0,
        ),
        Goal::at_most(
            6,
            "Memory of a receive that waits, and its share of a connection",
            most(|seen| seen.memory as f64) / (polls + ACTIVE) as f64 / 1024.0,
            "KiB",
            256.0,
        ),
    ]
}

fn look(bench: &Bench, connections: usize) -> Result<Seen> {
    let side = bench.broker("async", &["flush=async"])?;
    for topic in 0..ACTIVE {
        bench.topic(&side, &active(topic))?;
    }
    bench.runtime.block_on(wait(
        &side,
        connections,
        bench.scale.polls,
        bench.scale.time * 2,
    ))
}

async fn wait(side: &Side, connections: usize, idle: usize, watch: Duration) -> Result<Seen> {
    let pid = side.server.pid();
    let (_, before) = process::memory(pid)?;
    let mut open = Vec::new();
    for number in 0..connections {
        open.push(Connection::open(&side.target(), &format!("poll-{number}")).await?);
    }
    let mut waiting = JoinSet::new();
    for number in 0..idle {
        let connection = open[number % connections].clone();
        waiting.spawn(poll(connection, "wire".to_owned()));
    }
    for topic in 0..ACTIVE {
        waiting.spawn(poll(open[topic % connections].clone(), active(topic)));
    }
    // Until all of them have looked and found nothing.
    sleep(Duration::from_millis(500)).await;
    let (busy, begin) = (process::time(pid)?, Instant::now());
    sleep(watch).await;
    let busy =
        process::time(pid)?.saturating_sub(busy).as_secs_f64() / begin.elapsed().as_secs_f64();
    let (_, after) = process::memory(pid)?;
    ensure!(waiting.len() == idle + ACTIVE, "some receive did not wait");
    let expected: Vec<String> = (0..ACTIVE).step_by(10).map(active).collect();
    for topic in &expected {
        send(&open[0], topic, vec![1]).await?;
    }
    let mut woken = 0;
    while let Ok(Some(received)) = timeout(
        if woken < expected.len() {
            WOKEN
        } else {
            watch / 4
        },
        waiting.join_next(),
    )
    .await
    {
        let (topic, messages) = received.context("a receive failed")??;
        ensure!(
            messages == 1 && expected.contains(&topic),
            "a receive at {topic} returned with {messages} messages"
        );
        woken += 1;
    }
    waiting.shutdown().await;
    Ok(Seen {
        connections,
        idle_cores: busy,
        memory: after.saturating_sub(before),
        woken,
        expected: expected.len(),
    })
}

/// The topic of a consumer.
pub fn active(topic: usize) -> String {
    format!("active-{topic}")
}

/// Waits at a topic; returns how many messages came.
async fn poll(connection: Connection, topic: String) -> Result<(String, u64)> {
    let messages = receive(&connection, &topic, 1, WAIT).await?;
    Ok((topic, messages.len() as u64))
}
