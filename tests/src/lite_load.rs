//! Very many lite topics with one subscriber each: does each get its own, at what memory, and what does it cost to wait.

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

const TOPIC: &str = "rooms";
const GROUP: &str = "visitors";
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
    /// Bytes of the broker's private memory for each lite topic, with a subscriber, before any message.
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
    Admin::connect(address)
        .await?
        .create_lite_topic(TOPIC)
        .await?;
    let channel = Channel::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let client = MessagingServiceClient::new(channel);
    for number in 0..plan.clients {
        let request = call(number, HeartbeatRequest::default());
        check(client.clone().heartbeat(request).await?.into_inner().status)?;
    }
    let before = private_memory(broker)?;
    let started = Instant::now();
    for number in 0..plan.clients {
        subscribe(&client, number, plan).await?;
    }
    let subscribed = (started.elapsed(), private_memory(broker)?);
    let received = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut consumers = JoinSet::new();
    for number in 0..plan.clients {
        consumers.spawn(consume(client.clone(), number, plan, received.clone()));
    }
    let sends = stream::iter(0..plan.lite_topics).map(|lite| send(&client, lite, plan));
    sends
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    while received.load(Ordering::SeqCst) < plan.lite_topics && started.elapsed() < ARRIVAL_LIMIT {
        if let Some(ended) = consumers.try_join_next() {
            ended??;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let through = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    let used = private_memory(broker)?;
    let time = processor_time(broker)?;
    tokio::time::sleep(plan.idle).await;
    let idle_cpu = (processor_time(broker)? - time).as_secs_f64() / plan.idle.as_secs_f64();
    if let Some(ended) = consumers.try_join_next() {
        ended??;
    }
    consumers.abort_all();
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

/// The lite topics go round the clients.
fn names(client: usize, plan: Plan) -> impl Iterator<Item = String> {
    (client..plan.lite_topics).step_by(plan.clients).map(name)
}

fn name(lite: usize) -> String {
    format!("room-{lite:06}")
}

async fn subscribe(client: &Client, number: usize, plan: Plan) -> Result<()> {
    let request = SyncLiteSubscriptionRequest {
        action: LiteSubscriptionAction::CompleteAdd.into(),
        topic: resource(TOPIC),
        group: resource(GROUP),
        lite_topic_set: names(number, plan).collect(),
        ..Default::default()
    };
    let response = client
        .clone()
        .sync_lite_subscription(call(number, request))
        .await?;
    check(response.into_inner().status)
}

async fn send(client: &Client, lite: usize, plan: Plan) -> Result<()> {
    let message = Message {
        topic: resource(TOPIC),
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
    let response = client
        .clone()
        .send_message(call(lite % plan.clients, request))
        .await?;
    check(response.into_inner().status)
}

/// Receives and acknowledges for ever. Each message must be of a lite topic of the client, and come once.
async fn consume(
    client: Client,
    number: usize,
    plan: Plan,
    received: Arc<AtomicUsize>,
) -> Result<()> {
    let mut missing: std::collections::HashSet<String> = names(number, plan).collect();
    loop {
        let messages = receive(&client, number).await?;
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
                group: resource(GROUP),
                topic: resource(TOPIC),
                entries,
            };
            let response = client.clone().ack_message(call(number, request)).await?;
            check(response.into_inner().status)?;
            received.fetch_add(count, Ordering::SeqCst);
        }
    }
}

async fn receive(client: &Client, number: usize) -> Result<Vec<Message>> {
    let request = ReceiveMessageRequest {
        group: resource(GROUP),
        message_queue: Some(MessageQueue {
            topic: resource(TOPIC),
            id: -1,
            ..Default::default()
        }),
        batch_size: BATCH,
        invisible_duration: Some(seconds(60)),
        long_polling_timeout: Some(seconds(POLL.as_secs())),
        ..Default::default()
    };
    let mut stream = client
        .clone()
        .receive_message(call(number, request))
        .await?
        .into_inner();
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
