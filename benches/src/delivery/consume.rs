//! Figure 5, the first half: consuming with acks and without.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_benches::figures::{Spread, count};
use foliomq_benches::goal::Goal;
use foliomq_benches::payload::touch;
use foliomq_benches::section::Table;
use foliomq_delivery::{Filter, Receive};
use foliomq_load::process::Server;
use foliomq_load::{Api, Connection, Plan, Target, Topic, Until, Workload};
use serde_json::json;

use crate::Bench;
use crate::broker::{BODY, Broker};
use crate::page::Section;

const TOPIC: &str = "stored";
const QUEUES: u32 = 4;
/// Of the broker, for figures that are not of its bounds.
const SETTINGS: [&str; 3] = ["flush=async", "segment-size=256MiB", "disk-refuse=99%"];

/// Messages per second of each round: with acks, and without.
type Rounds = Vec<[f64; 2]>;

pub fn run(bench: &Bench) -> Result<Section> {
    let own = in_process(bench)?;
    let wire = bench
        .binary
        .as_deref()
        .map(|_| over_loopback(bench))
        .transpose()?;
    let mut rows = vec![row("in this process: receive, 32 a call, and ack", &own)];
    rows.extend(
        wire.iter()
            .map(|wire| row("native API over loopback: Subscribe", wire)),
    );
    let goal = |what: &str, rounds: Option<&Rounds>| {
        let what = format!("Consume with ack / without, {what}");
        Goal::at_least(5, what, rounds.map(|rounds| ratio(rounds).median), "x", 0.6)
    };
    Ok(Section {
        number: 5,
        title: "Consuming with acks",
        text: format!(
            "{} stored messages of {BODY} bytes in {QUEUES} queues. In this process, one thread receives them all for a new group in each \
             turn, touches each body, and acknowledges each at once or not at all. Over loopback, one Subscribe stream delivers them again \
             and again for {:.1} s: with acks it is a member of a group that settles what comes, without it reads the queues, so that the \
             leases count as well.",
            count(bench.scale.stored as f64),
            bench.scale.time.as_secs_f64()
        ),
        tables: vec![Table {
            caption: "Messages per second; both in turn.".to_owned(),
            columns: ["case", "with acks", "without", "ratio (spread)"]
                .map(String::from)
                .to_vec(),
            rows,
        }],
        goals: vec![
            goal("native API", wire.as_ref()),
            goal("in process", Some(&own)),
        ],
        figures: json!({ "in_process": own, "native": wire }),
    })
}

fn in_process(bench: &Bench) -> Result<Rounds> {
    let folder = bench.place()?;
    let (broker, _) = Broker::open(folder.path())?;
    broker.topic(TOPIC, QUEUES)?;
    broker.fill(TOPIC, bench.scale.stored, BODY)?;
    let rounds = turns(bench.scale.rounds, |round, acknowledge| {
        let group = format!("group-{round}-{acknowledge}");
        consume(&broker, &group, acknowledge, bench.scale.stored)
    })?;
    broker.close()?;
    Ok(rounds)
}

fn consume(broker: &Broker, group: &str, acknowledge: bool, messages: u64) -> Result<f64> {
    let request = Receive {
        group,
        topic: TOPIC,
        filter: &Filter::All,
        most: 32,
        invisible: Duration::from_secs(3600),
        auto_renew: false,
    };
    let (begin, mut came, mut sum) = (Instant::now(), 0, 0);
    while came < messages {
        let now = broker.clock.now();
        let received = broker.groups.receive(&request, now)?.messages;
        anyhow::ensure!(!received.is_empty(), "{came} of {messages} messages came");
        for delivery in &received {
            sum += touch(delivery.message.body());
            if acknowledge {
                broker.groups.ack(group, TOPIC, &delivery.handle, now)?;
            }
        }
        came += received.len() as u64;
    }
    std::hint::black_box(sum);
    Ok(came as f64 / begin.elapsed().as_secs_f64())
}

fn over_loopback(bench: &Bench) -> Result<Rounds> {
    let program = bench.binary.as_deref().context("no broker")?;
    let settings = SETTINGS.map(String::from);
    let server = Server::broker_in(program, &settings, bench.place()?)?;
    let target = Target::plain(server.address());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let connection = Connection::open(&target, "delivery").await?;
        Topic::create(&connection, TOPIC, QUEUES).await
    })?;
    let load = |plan: Plan| {
        let plan = Plan {
            topic: TOPIC.to_owned(),
            body: BODY,
            ..plan
        };
        runtime.block_on(foliomq_load::run(&target, &plan, |_| ()))
    };
    load(Plan {
        batch: 64,
        until: Until::Messages(bench.scale.stored),
        ..Plan::default()
    })?;
    turns(bench.scale.rounds, |_, acknowledge| {
        let report = load(Plan {
            workload: Workload::Consume,
            api: Api::Native,
            acknowledge,
            until: Until::Time(bench.scale.time),
            warmup: bench.scale.time / 4,
            ..Plan::default()
        })?;
        Ok(report.rate)
    })
}

/// Both sides once in every round, in an order that turns; a round that is not counted comes first.
fn turns(rounds: usize, mut turn: impl FnMut(usize, bool) -> Result<f64>) -> Result<Rounds> {
    let mut samples = Vec::new();
    for round in 0..=rounds {
        let first = round % 2 == 0;
        let (one, other) = (turn(round, first)?, turn(round, !first)?);
        samples.push(if first { [one, other] } else { [other, one] });
    }
    samples.remove(0);
    Ok(samples)
}

fn ratio(rounds: &Rounds) -> Spread {
    let ratios: Vec<f64> = rounds
        .iter()
        .map(|[with, without]| with / without)
        .collect();
    Spread::of(&ratios)
}

fn row(case: &str, rounds: &Rounds) -> Vec<String> {
    let side = |side: usize| {
        let rates: Vec<f64> = rounds.iter().map(|rates| rates[side]).collect();
        format!("{} /s", count(Spread::of(&rates).median))
    };
    vec![case.to_owned(), side(0), side(1), ratio(rounds).to_string()]
}
