//! Very many lite topics with one subscriber each: does each get its own, at what memory, and what does it cost to wait.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, Code, Encoding, HeartbeatRequest, LiteSubscriptionAction,
    Message, MessageQueue, ReceiveMessageRequest, Resource, SendMessageRequest, Status,
    SyncLiteSubscriptionRequest, SystemProperties,
};
use futures_util::StreamExt;
use futures_util::stream::{self, TryStreamExt};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use crate::admin::Admin;

/// What is measured.
const MEASURED: Place = Place {
    topic: "rooms",
    group: "visitors",
};
/// What goes through first, so that what a first use costs (threads, their stacks, the allocator's pools) is not counted
/// for each lite topic.
const WARM_UP: Place = Place {
    topic: "foyers",
    group: "early",
};
/// Lite topics of the warm-up.
const WARMED: usize = 1000;
const BATCH: i32 = 32;
/// Requests on their way at once.
const PARALLEL: usize = 64;
/// A receive waits so long.
const POLL: Duration = Duration::from_secs(20);
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// All must have come by then.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(300);
/// After the last message, until things have settled: threads that have nothing to do end after ten seconds.
const SETTLE: Duration = Duration::from_secs(12);

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Lite topics, each with one subscriber.
    pub lite_topics: usize,
    /// Clients that share them.
    pub clients: usize,
    /// For how long the broker is watched while nothing happens.
    pub idle: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Lite topics whose subscriber got their message, once.
    pub received: usize,
    /// Bytes of the broker's private memory for each lite topic, with a subscriber, before any message; what 1,000 others
    /// took before is not counted.
    pub subscribed_bytes: f64,
    /// The same after each has had a message, received and acknowledged.
    pub used_bytes: f64,
    /// Share of one core that the broker takes while all clients wait and nothing comes.
    pub idle_cpu: f64,
    /// Subscribing all of them, and one message through each.
    pub times: [Duration; 2],
}

/// Subscribes, sends, receives, and watches the process `broker` at `address`.
///
/// # Errors
/// If a call fails, or a message goes to another client than the one that subscribed.
pub async fn run(address: SocketAddr, broker: u32, plan: Plan) -> Result<Outcome> {
    let channel = Channel::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let client = MessagingServiceClient::new(channel);
    for number in 0..plan.clients {
        let request = call(number, HeartbeatRequest::default());
        check(client.clone().heartbeat(request).await?.into_inner().status)?;
    }
    let warm_up = Plan {
        lite_topics: plan.lite_topics.min(WARMED),
        ..plan
    };
    let warm_up = Part::open(&client, WARM_UP, warm_up, address).await?;
    warm_up.subscribe().await?;
    warm_up.through().await?;
    tokio::time::sleep(SETTLE).await;
    let part = Part::open(&client, MEASURED, plan, address).await?;
    let before = private_memory(broker)?;
    let started = Instant::now();
    part.subscribe().await?;
    let subscribed = (started.elapsed(), private_memory(broker)?);
    let started = Instant::now();
    let (mut consumers, received) = part.through().await?;
    let through = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    let used = private_memory(broker)?;
    let time = processor_time(broker)?;
    tokio::time::sleep(plan.idle).await;
    let idle_cpu = (processor_time(broker)? - time).as_secs_f64() / plan.idle.as_secs_f64();
    if let Some(ended) = consumers.try_join_next() {
        ended??;
    }
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / plan.lite_topics as f64;
    Ok(Outcome {
        received: received.load(Ordering::SeqCst),
        subscribed_bytes: each(subscribed.1),
        used_bytes: each(used),
        idle_cpu,
        times: [subscribed.0, through],
    })
}

type Client = MessagingServiceClient<Channel>;

/// A topic with lite topics, and the group that reads them.
#[derive(Clone, Copy)]
struct Place {
    topic: &'static str,
    group: &'static str,
}

/// Clients that share the lite topics of one place.
#[derive(Clone)]
struct Part {
    client: Client,
    place: Place,
    plan: Plan,
}

impl Part {
    /// Creates the topic.
    async fn open(client: &Client, place: Place, plan: Plan, address: SocketAddr) -> Result<Self> {
        let mut admin = Admin::connect(address).await?;
        admin.create_lite_topic(place.topic).await?;
        let client = client.clone();
        Ok(Self {
            client,
            place,
            plan,
        })
    }

    /// Each client to its own.
    async fn subscribe(&self) -> Result<()> {
        for number in 0..self.plan.clients {
            let request = SyncLiteSubscriptionRequest {
                action: LiteSubscriptionAction::CompleteAdd.into(),
                topic: resource(self.place.topic),
                group: resource(self.place.group),
                lite_topic_set: self.names(number).collect(),
                ..Default::default()
            };
            let mut client = self.client.clone();
            let response = client.sync_lite_subscription(call(number, request)).await?;
            check(response.into_inner().status)?;
        }
        Ok(())
    }

    /// One message through each lite topic. The consumers go on, until they are dropped; and how many messages they got.
    async fn through(&self) -> Result<(JoinSet<Result<()>>, Arc<AtomicUsize>)> {
        let received = Arc::new(AtomicUsize::new(0));
        let mut consumers = JoinSet::new();
        for number in 0..self.plan.clients {
            consumers.spawn(self.clone().consume(number, received.clone()));
        }
        let started = Instant::now();
        let sends = stream::iter(0..self.plan.lite_topics).map(|lite| self.send(lite));
        let sends = sends.buffer_unordered(PARALLEL);
        sends.try_collect::<Vec<()>>().await?;
        while received.load(Ordering::SeqCst) < self.plan.lite_topics
            && started.elapsed() < ARRIVAL_LIMIT
        {
            if let Some(ended) = consumers.try_join_next() {
                ended??;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok((consumers, received))
    }

    /// The lite topics go round the clients.
    fn names(&self, client: usize) -> impl Iterator<Item = String> + use<> {
        (client..self.plan.lite_topics)
            .step_by(self.plan.clients)
            .map(name)
    }

    async fn send(&self, lite: usize) -> Result<()> {
        let message = Message {
            topic: resource(self.place.topic),
            system_properties: Some(SystemProperties {
                message_id: format!("{lite:034X}"),
                body_encoding: Encoding::Identity.into(),
                lite_topic: Some(name(lite)),
                ..SystemProperties::default()
            }),
            body: lite.to_be_bytes().to_vec().into(),
            ..Message::default()
        };
        let request = SendMessageRequest {
            messages: vec![message],
        };
        let request = call(lite % self.plan.clients, request);
        let response = self.client.clone().send_message(request).await?;
        check(response.into_inner().status)
    }

    /// Receives and acknowledges for ever. Each message must be of a lite topic of the client, and come once.
    async fn consume(self, number: usize, received: Arc<AtomicUsize>) -> Result<()> {
        let mut missing: HashSet<String> = self.names(number).collect();
        loop {
            let messages = self.receive(number).await?;
            let mut entries = Vec::with_capacity(messages.len());
            for message in messages {
                let system = message.system_properties.context("no system properties")?;
                let lite = system.lite_topic.context("no lite topic")?;
                ensure!(
                    missing.remove(&lite),
                    "client {number} got {lite}, which is not its, or got it before"
                );
                entries.push(AckMessageEntry {
                    receipt_handle: system.receipt_handle.context("no handle")?,
                    ..Default::default()
                });
            }
            let count = entries.len();
            if count > 0 {
                let request = AckMessageRequest {
                    group: resource(self.place.group),
                    topic: resource(self.place.topic),
                    entries,
                };
                let mut client = self.client.clone();
                let response = client.ack_message(call(number, request)).await?;
                check(response.into_inner().status)?;
                received.fetch_add(count, Ordering::SeqCst);
            }
        }
    }

    async fn receive(&self, number: usize) -> Result<Vec<Message>> {
        let request = ReceiveMessageRequest {
            group: resource(self.place.group),
            message_queue: Some(MessageQueue {
                topic: resource(self.place.topic),
                id: -1,
                ..Default::default()
            }),
            batch_size: BATCH,
            invisible_duration: Some(seconds(60)),
            long_polling_timeout: Some(seconds(POLL.as_secs())),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let response = client.receive_message(call(number, request)).await?;
        let mut stream = response.into_inner();
        let mut messages = Vec::new();
        while let Some(part) = stream.message().await? {
            match part.content {
                Some(Content::Message(message)) => messages.push(message),
                Some(Content::Status(status)) if status.code() != Code::MessageNotFound => {
                    check(Some(status))?
                }
                _ => {}
            }
        }
        Ok(messages)
    }
}

fn name(lite: usize) -> String {
    format!("room-{lite:06}")
}

fn call<T>(number: usize, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = format!("lite-load@{number}").parse().expect("it is ASCII");
    request.metadata_mut().insert("x-mq-client-id", id);
    request.set_timeout(CALL_LIMIT);
    request
}

fn check(status: Option<Status>) -> Result<()> {
    let status = status.context("the answer has no status")?;
    ensure!(
        status.code() == Code::Ok,
        "{:?}: {}",
        status.code(),
        status.message
    );
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource {
        name: name.to_owned(),
        ..Resource::default()
    })
}

fn seconds(seconds: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: seconds.cast_signed(),
        nanos: 0,
    }
}

/// Memory of a process that is its own and no file's, bytes.
fn private_memory(process: u32) -> Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib = kib.and_then(|kib| kib.trim().parse::<u64>().ok());
    Ok(kib.context("smaps_rollup has an unknown form")? << 10)
}

/// Processor time that a process has used.
fn processor_time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let each = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_secs_f64(ticks as f64 / each as f64))
}
