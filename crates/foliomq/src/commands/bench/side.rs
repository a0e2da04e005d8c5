//! One of the things that are measured: a broker with its settings, and a load on it.

use std::time::Duration;

use anyhow::Context;
use foliomq_load::process::{self, Server};
use foliomq_load::{
    Api, BrokerSays, Connection, Delivery, Plan, Report, Target, Topic, Until, Workload,
    broker_says, run,
};
use serde::Serialize;

use super::Bench;
use super::compare::Change;
use super::live::Live;

/// Bytes of bodies that are stored before they are consumed, and their number at most.
const FILL_BYTES: u64 = 256 << 20;
const FILL_MESSAGES: u64 = 200_000;
/// Bytes of a batch with which they are stored.
const FILL_BATCH: usize = 64 << 10;

/// A broker with its settings, and a load on it.
#[derive(Debug)]
pub struct Side {
    /// `A`, or `B`.
    pub name: &'static str,
    /// What is different from the other side.
    pub change: Option<String>,
    pub plan: Plan,
    tls: bool,
    endpoint: Option<String>,
    settings: Vec<String>,
    queues: u32,
    /// The topic is made for this.
    own_topic: bool,
}

/// What came of it once.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub address: String,
    /// Started for this.
    pub spawned: bool,
    pub broker: BrokerSays,
    pub report: Report,
    /// Processor time of a broker that was started, seconds.
    pub broker_cpu: Option<f64>,
}

impl Side {
    pub fn new(bench: &Bench, name: &'static str, change: Option<&Change>) -> anyhow::Result<Self> {
        Ok(Self {
            name,
            change: change.map(ToString::to_string),
            plan: bench.plan()?,
            tls: bench.tls,
            endpoint: bench.endpoint.clone().filter(|_| !bench.spawns()),
            settings: bench.set.clone(),
            queues: bench.queues,
            own_topic: bench.topic.is_none(),
        })
    }

    /// Starts what is to be started, and measures.
    pub async fn measure(&self) -> anyhow::Result<Outcome> {
        let server = match &self.endpoint {
            Some(_) => None,
            None => Some(self.start()?),
        };
        let address = match (&server, &self.endpoint) {
            (Some(server), _) => server.address().to_owned(),
            (None, endpoint) => endpoint.clone().unwrap_or_default(),
        };
        let target = Target {
            address,
            tls: self.tls,
        };
        let connection = Connection::open(&target, "bench").await?;
        let broker = broker_says(&connection).await?;
        let measured = self.on_topic(&target, &connection, server.as_ref()).await;
        drop(connection);
        let spawned = server.is_some();
        if let Some(server) = server {
            server.end().await;
        }
        let (report, broker_cpu) = measured?;
        Ok(Outcome {
            address: target.address,
            spawned,
            broker,
            report,
            broker_cpu,
        })
    }

    fn start(&self) -> anyhow::Result<Server> {
        let program = std::env::current_exe().context("cannot find this program")?;
        Ok(Server::broker(&program, &self.settings)?)
    }

    /// The topic goes away also after a failure; what that says of it is less than what failed.
    async fn on_topic(
        &self,
        target: &Target,
        connection: &Connection,
        server: Option<&Server>,
    ) -> anyhow::Result<(Report, Option<f64>)> {
        if !self.own_topic {
            return self.load(target, server).await;
        }
        let topic = Topic::create(connection, &self.plan.topic, self.queues).await?;
        let measured = self.fill_and_load(target, server).await;
        let deleted = topic.delete(connection).await;
        let measured = measured?;
        deleted.context("the topic of the bench could not be deleted")?;
        Ok(measured)
    }

    async fn fill_and_load(
        &self,
        target: &Target,
        server: Option<&Server>,
    ) -> anyhow::Result<(Report, Option<f64>)> {
        if self.plan.workload == Workload::Consume {
            let fill = self.fill();
            let live = Live::new(self.name, "storing messages to consume");
            run(target, &fill, |glance| live.show(&glance)).await?;
        }
        self.load(target, server).await
    }

    async fn load(
        &self,
        target: &Target,
        server: Option<&Server>,
    ) -> anyhow::Result<(Report, Option<f64>)> {
        let time = |server: &Server| process::time(server.pid());
        let before = server.map(time).transpose()?;
        let live = Live::new(self.name, "measuring");
        let report = run(target, &self.plan, |glance| live.show(&glance)).await?;
        let after = server.map(time).transpose()?;
        let took = after
            .zip(before)
            .map(|(after, before)| after.saturating_sub(before));
        Ok((report, took.map(|took: Duration| took.as_secs_f64())))
    }

    /// Stores what is to be consumed, over the fast way.
    fn fill(&self) -> Plan {
        let body = self.plan.body.max(1);
        let batch = (FILL_BATCH / body).clamp(1, 1000);
        let enough = (FILL_BYTES / body as u64).clamp(1000, FILL_MESSAGES);
        let asked = match self.plan.until {
            Until::Messages(messages) => messages,
            Until::Time(_) => enough,
        };
        Plan {
            workload: Workload::Produce,
            api: Api::Native,
            batch,
            connections: 1,
            streams: 1,
            in_flight: batch * 16,
            rate: None,
            until: Until::Messages(asked.min(enough)),
            delivery: Delivery::default(),
            ..self.plan.clone()
        }
    }
}

/// A name that no other bench uses.
pub fn new_topic() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos());
    format!("bench-{}-{nanos:x}", std::process::id())
}
