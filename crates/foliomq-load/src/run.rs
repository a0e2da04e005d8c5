//! A whole load: connections, warm-up, measurement.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foliomq_client::Client;
use foliomq_proto::v1::Queue;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, sleep_until};

use crate::connection::{Connection, Target};
use crate::consume::Consumer;
use crate::error::LoadError;
use crate::meter::{Glance, Meter};
use crate::plan::{Api, Delivery, Plan, Until, Workload};
use crate::process;
use crate::produce::Sender;
use crate::report::{Latency, Report};
use crate::topic::Topic;

/// How often a live line is told.
const TICK: Duration = Duration::from_millis(250);
/// What consumers of a round trip get to open their calls before the first message leaves.
const HEAD_START: Duration = Duration::from_millis(200);
/// Calls that a consumer of the v2 API has open at once, at most: a push consumer has about as many.
const RECEIVES: usize = 8;

/// The tasks of a load; they end with it.
type Tasks = JoinSet<Result<(), LoadError>>;

/// Runs a load on a topic that exists, and tells `live` how it goes, a few times a second. Must be called within a tokio
/// runtime.
///
/// # Errors
/// [`LoadError::Plan`] for a plan that cannot be carried out; the first refusal or broken connection ends the load with
/// its error.
pub async fn run(
    target: &Target,
    plan: &Plan,
    live: impl FnMut(Glance),
) -> Result<Report, LoadError> {
    plan.check()?;
    let load = Load {
        target,
        plan: Arc::new(plan.clone()),
        meter: Arc::new(Meter::new(plan)),
        name: format!("{:016x}", rand::random::<u64>()),
        due: Arc::default(),
    };
    let mut tasks = Tasks::new();
    if plan.workload != Workload::Produce {
        load.consume(&mut tasks).await?;
    }
    let mut senders = Tasks::new();
    if plan.workload != Workload::Consume {
        if plan.workload == Workload::Roundtrip {
            sleep(HEAD_START).await;
        }
        load.produce(&mut senders).await?;
    }
    load.measure(tasks, senders, live).await
}

struct Load<'a> {
    target: &'a Target,
    plan: Arc<Plan>,
    meter: Arc<Meter>,
    name: String,
    /// Messages that were due when the load ended.
    due: Arc<AtomicU64>,
}

impl Load<'_> {
    async fn connect(&self, role: &str, number: usize) -> Result<Connection, LoadError> {
        let name = format!("bench-{role}-{number}@{}", self.name);
        Connection::open(self.target, &name).await
    }

    async fn produce(&self, tasks: &mut Tasks) -> Result<(), LoadError> {
        let streams = match self.plan.api {
            Api::Native => self.plan.streams,
            Api::V2 => 1,
        };
        let senders = self.plan.connections * streams;
        for number in 0..self.plan.connections {
            let connection = self.connect("producer", number).await?;
            for stream in 0..streams {
                let sender = Sender {
                    plan: self.plan.clone(),
                    connection: connection.clone(),
                    meter: self.meter.clone(),
                    number: number * streams + stream,
                    senders,
                    measured: self.plan.workload == Workload::Produce,
                    due: self.due.clone(),
                };
                tasks.spawn(sender.run());
            }
        }
        Ok(())
    }

    async fn consume(&self, tasks: &mut Tasks) -> Result<(), LoadError> {
        let mut plan = (*self.plan).clone();
        if plan.api == Api::V2 {
            plan.in_flight = plan.in_flight.min(RECEIVES);
        }
        let plan = Arc::new(plan);
        for number in 0..self.plan.connections {
            let connection = self.connect("consumer", number).await?;
            let name = self.plan.topic.clone();
            let topic = Topic { name };
            let queues: Arc<[Queue]> = topic.queues(&connection).await?.into();
            let held = queues
                .iter()
                .any(|queue| queue.max_offset > queue.min_offset);
            if plan.workload == Workload::Consume && !held {
                let what = format!("topic {} holds no messages to consume", plan.topic);
                return Err(LoadError::Plan(what));
            }
            if plan.workload == Workload::Roundtrip && number == 0 && held {
                topic.group_at_end(&connection, &self.group()).await?;
            }
            let client = self.client().await?;
            for stream in 0..self.streams() {
                let consumer = Consumer {
                    plan: plan.clone(),
                    connection: connection.clone(),
                    client: client.clone(),
                    meter: self.meter.clone(),
                    number: number * self.streams() + stream,
                    group: self.group(),
                    queues: queues.clone(),
                    pass: AtomicU64::new(0),
                    got: AtomicU64::new(0),
                };
                tasks.spawn(consumer.run());
            }
        }
        Ok(())
    }

    /// Who consumes; what was stored before is not a round trip's.
    fn group(&self) -> String {
        format!("bench-{}", self.name)
    }

    /// The native client, where messages come into its hands.
    async fn client(&self) -> Result<Option<Client>, LoadError> {
        if self.plan.delivery == Delivery::Bodies {
            return Ok(None);
        }
        if self.target.tls {
            let what = "the native client checks certificates: leave TLS out".to_owned();
            return Err(LoadError::Plan(what));
        }
        Ok(Some(Client::connect(&*self.target.address).await?))
    }

    fn streams(&self) -> usize {
        match self.plan.api {
            Api::Native => self.plan.streams,
            Api::V2 => 1,
        }
    }

    async fn measure(
        &self,
        mut tasks: Tasks,
        mut senders: Tasks,
        mut live: impl FnMut(Glance),
    ) -> Result<Report, LoadError> {
        let begin = Instant::now();
        let (warmup, time) = match self.plan.until {
            Until::Time(time) => (self.plan.warmup, Some(time)),
            Until::Messages(_) => (Duration::ZERO, None),
        };
        let mut ticks = interval(TICK);
        let (mut started, mut measured) = (None, begin);
        if time.is_none() {
            (started, measured) = (Some(process::own_time()?), self.meter.epoch);
        }
        loop {
            // From where it really began: a thread that had to wait measures no less for it.
            let end = time.map(|time| measured + time);
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => flatten(ended)?,
                Some(ended) = senders.join_next() => flatten(ended)?,
                () = at(Some(begin + warmup)), if started.is_none() => {
                    started = Some(process::own_time()?);
                    measured = Instant::now();
                    self.meter.start();
                }
                () = at(end), if started.is_some() => break,
                _ = ticks.tick() => live(self.meter.glance()),
            }
            if self.is_over(&tasks, &senders) {
                break;
            }
        }
        let took = measured.elapsed();
        self.meter.stop();
        let time = process::own_time()?.saturating_sub(started.unwrap_or_default());
        senders.shutdown().await;
        self.settle();
        let (mut latency, late) = self.meter.histograms();
        let outstanding = self.meter.outstanding();
        if self.plan.rate.is_some() {
            add_outstanding(&mut latency, &outstanding);
        }
        let latencies = (Latency::of(&latency), Latency::of(&late));
        let messages = self.meter.messages();
        live(self.meter.glance());
        let report = Report::new(&self.plan, took, messages, latencies, time);
        Ok(report.with_outstanding(&outstanding))
    }

    /// Of a round trip: what was due and has not arrived.
    fn settle(&self) {
        if let (Workload::Roundtrip, Some(rate)) = (self.plan.workload, self.plan.rate) {
            let due = self.due.load(Ordering::Relaxed);
            self.meter.not_arrived(due, rate);
        }
    }
}

/// A message without an answer has taken its age, at least. One that is younger than half of the others says nothing yet.
fn add_outstanding(latency: &mut Histogram<u64>, outstanding: &Histogram<u64>) {
    let median = latency.value_at_quantile(0.5);
    for ages in outstanding.iter_recorded() {
        let age = ages.value_iterated_to();
        if age > median {
            latency.saturating_record_n(age, ages.count_since_last_iteration());
        }
    }
}

impl Load<'_> {
    /// Whether all that was to be done by number is done. The consumers of a round trip go on waiting: they are not asked.
    fn is_over(&self, tasks: &Tasks, senders: &Tasks) -> bool {
        match (self.plan.workload, self.plan.until) {
            (Workload::Roundtrip, Until::Messages(messages)) => self.meter.messages() >= messages,
            _ => tasks.is_empty() && senders.is_empty(),
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => pending().await,
    }
}

fn flatten(ended: Result<Result<(), LoadError>, tokio::task::JoinError>) -> Result<(), LoadError> {
    ended.unwrap_or_else(|error| Err(LoadError::Protocol(format!("a task failed: {error}"))))
}
