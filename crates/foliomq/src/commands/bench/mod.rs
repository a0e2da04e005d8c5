//! `foliomq bench`: a load, and what came of it.

mod compare;
mod drawing;
mod live;
mod print;
mod side;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use foliomq_load::{Api, Delivery, Plan, Report, Until, Workload};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::output::Output;
use crate::units::{Size, Span};
use compare::Change;
use side::{Outcome, Side};

const AFTER_HELP: &str = "\
What it prints:
  rate        messages that were acknowledged (produce) or received, per second, and the bytes of their bodies
  latency     produce: from the moment a message was to leave until its acknowledgement came.
              roundtrip: until the consumer had it. p99 is the time within which 99 of 100 messages made it
  departures  with --rate: how much later than intended requests left. That is the generator's own share of the
              latency; where it is large, the generator is what was measured
  outstanding messages that were to leave and had no answer in the end, and the age of the oldest. With --rate they are
              among the latencies with their age, so that a broker that hangs shows
  processor   cores that generator and broker kept busy, and the broker's seconds for each GB of bodies

With --rate, messages leave at that rate whatever the broker does, and latency counts from the intended moment: what a
stall delays is counted, not left out. Without, as many as --in-flight allows are under way, and the rate is the most
that the broker takes; latency is then mostly the time in the queue that the load itself makes.

A message counts as acknowledged as the broker's flush mode says, which is printed. The first refusal or broken
connection ends the run with its reason.

Examples:
  foliomq bench produce                                  the most that a broker of its own takes on this machine
  foliomq bench produce --rate 10000 --set flush=sync    latency at 10,000 messages a second, each on the disk
  foliomq bench roundtrip --api v2 --rate 5000           from send to receive, as an official client would see it
  foliomq bench consume --compare encoding=tonic         two settings in turn, A B A B, and their ratio
  foliomq bench consume --no-ack --delivery decoded --compare delivery=mapped    bodies, and the broker's own pages
  foliomq bench produce --compare batch=100 --plot b.svg an option of the load itself, compared and drawn";

/// Which loads there are.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Send messages
    Produce,
    /// Receive stored messages, which are sent first unless --topic names a topic that has some
    Consume,
    /// Send at a rate and receive at the same time
    Roundtrip,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Speech {
    /// foliomq.v1: Publish and Subscribe streams
    Native,
    /// apache.rocketmq.v2: SendMessage and ReceiveMessage calls, as the official clients make them
    V2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Over the connection, counted and not decoded
    Bodies,
    /// Over the connection, decoded by the native client
    Decoded,
    /// The broker's own pages, mapped by the native client on the same host
    Mapped,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Bench {
    /// What is measured
    what: What,

    /// Over which API
    #[arg(long, value_enum, default_value = "native")]
    api: Speech,

    /// Bytes of a body
    #[arg(long, default_value = "1KiB", value_name = "SIZE")]
    size: Size,

    /// Messages of one request or frame
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,

    /// Connections
    #[arg(long, default_value_t = 1, value_name = "N")]
    connections: usize,

    /// Streams of each connection; for the native API
    #[arg(long, default_value_t = 1, value_name = "N")]
    streams: usize,

    /// Under way at once: messages of each stream, or calls of each connection with --api v2 [default: 1024, or 64 calls]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,

    /// Messages per second, all connections together [default: as fast as they are acknowledged; roundtrip: 1000]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// How long to measure
    #[arg(
        long,
        default_value = "10s",
        value_name = "TIME",
        conflicts_with = "messages"
    )]
    duration: Span,

    /// End after so many messages instead; there is no warm-up then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,

    /// Not measured, before
    #[arg(long, default_value = "1s", value_name = "TIME")]
    warmup: Span,

    /// A topic that is there, and stays [default: one that is made, and deleted at the end]
    #[arg(long)]
    topic: Option<String>,

    /// Queues of the topic that is made
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,

    /// Consume without a group, or without acknowledging with --api v2
    #[arg(long)]
    no_ack: bool,

    /// How stored messages are consumed; for the native API
    #[arg(long, value_enum, default_value = "bodies")]
    delivery: Way,

    /// Encrypt; the broker's certificate is not checked
    #[arg(long)]
    tls: bool,

    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// A broker that runs already
    #[arg(
        long,
        env = "FOLIOMQ_ENDPOINT",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    endpoint: Option<String>,

    /// Start a broker in a temporary folder, whatever the environment says: what happens without an endpoint
    #[arg(long)]
    spawn: bool,

    /// A setting of the broker that is started; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Measure a second time with one thing changed, in turn A B A B: a setting of a broker that is started, or one of
    /// api, size, batch, connections, streams, in-flight, rate, delivery, tls
    #[arg(long, value_name = "KEY=VALUE")]
    compare: Option<Change>,

    /// How often each of the two is measured
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw the latencies, or the rates where there are none, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Bench {
    /// Measures and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let mut runtime = match self.threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime
            .worker_threads(self.threads.into())
            .enable_all()
            .build();
        runtime
            .context("cannot start the async runtime")?
            .block_on(self.until_a_signal())
    }

    /// A broker that was started ends with this program, also if that is told to stop.
    async fn until_a_signal(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let stopped = || Err(Failure::Stopped("the bench was stopped".to_owned()).into());
        tokio::select! {
            done = self.measure() => done,
            _ = tokio::signal::ctrl_c() => stopped(),
            _ = terminate.recv() => stopped(),
        }
    }

    async fn measure(&self) -> anyhow::Result<()> {
        let sides = self.sides()?;
        let rounds = if sides.len() > 1 { self.rounds } else { 1 };
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); sides.len()];
        let mut out = Output::new(false);
        for _ in 0..rounds {
            for (side, outcomes) in sides.iter().zip(&mut outcomes) {
                let outcome = side.measure().await?;
                print::outcome(side, &outcome, &mut out)?;
                outcomes.push(outcome);
            }
        }
        if let [a, b] = &outcomes[..] {
            print::ratio(&sides, a, b, &mut out)?;
        }
        out.flush()?;
        self.write(&sides, &outcomes)
    }

    fn sides(&self) -> anyhow::Result<Vec<Side>> {
        let mut sides = vec![Side::new(self, "A", None)?];
        if let Some(change) = &self.compare {
            sides.push(Side::new(&change.applied(self)?, "B", Some(change))?);
        }
        Ok(sides)
    }

    fn write(&self, sides: &[Side], outcomes: &[Vec<Outcome>]) -> anyhow::Result<()> {
        let write = |file: &PathBuf, text: String| {
            let what = || format!("cannot write {}", file.display());
            std::fs::write(file, text).with_context(what)
        };
        if let Some(file) = &self.json {
            write(file, print::json(sides, outcomes)?)?;
        }
        if let Some(file) = &self.plot {
            write(file, drawing::figure(sides, outcomes).svg())?;
        }
        Ok(())
    }

    /// Whether a broker is to be started.
    fn spawns(&self) -> bool {
        self.spawn || self.endpoint.is_none()
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let api = match self.api {
            Speech::Native => Api::Native,
            Speech::V2 => Api::V2,
        };
        let workload = match self.what {
            What::Produce => Workload::Produce,
            What::Consume => Workload::Consume,
            What::Roundtrip => Workload::Roundtrip,
        };
        let (in_flight, rate) = match (api, workload) {
            (Api::Native, Workload::Roundtrip) => (1024, Some(1000.0)),
            (Api::V2, Workload::Roundtrip) => (64, Some(1000.0)),
            (Api::Native, _) => (1024, None),
            (Api::V2, _) => (64, None),
        };
        let plan = Plan {
            workload,
            api,
            topic: self.topic.clone().unwrap_or_else(side::new_topic),
            body: usize::try_from(self.size.0).unwrap_or(usize::MAX),
            batch: self.batch,
            connections: self.connections,
            streams: self.streams,
            in_flight: self
                .in_flight
                .unwrap_or(in_flight)
                .max(self.room_for_batch(api)),
            rate: self.rate.or(rate),
            until: match self.messages {
                Some(messages) => Until::Messages(messages),
                None => Until::Time(self.duration.0),
            },
            warmup: self.warmup.0,
            acknowledge: !self.no_ack,
            delivery: match self.delivery {
                Way::Bodies => Delivery::Bodies,
                Way::Decoded => Delivery::Decoded,
                Way::Mapped => Delivery::Mapped,
            },
        };
        plan.check()?;
        Ok(plan)
    }

    /// Where nothing else is said, a few batches are under way.
    fn room_for_batch(&self, api: Api) -> usize {
        match (self.in_flight, api) {
            (None, Api::Native) => self.batch.saturating_mul(8).min(1 << 16),
            _ => 0,
        }
    }
}

/// The reports of outcomes.
fn reports(outcomes: &[Outcome]) -> impl Iterator<Item = &Report> {
    outcomes.iter().map(|outcome| &outcome.report)
}
