//! kill -9 at random moments while delayed messages wait and transactions are open.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, Code, EndTransactionRequest, Message, MessageQueue,
    MessageType, ReceiveMessageRequest, Resource, SendMessageRequest, SystemProperties,
    TransactionResolution,
};
use foliomq_tests::broker::{Broker, Settings, run_to_end};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

const TOPIC: &str = "hidden";
const ROUNDS: u64 = 10;
const SENDERS: u64 = 4;
/// The kill comes within this time after the load has begun.
const MOMENT_MS: std::ops::Range<u64> = 200..1500;
/// Delayed messages are due within this time.
const DELAY_MS: std::ops::Range<u64> = 0..3000;
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// A receive that brings nothing for so long ends the drain, once the last message is due and whatever was on its way to a
/// receiver is visible again.
const QUIET: i64 = 3;
const INVISIBLE: i64 = 10;

type Client = MessagingServiceClient<Channel>;

/// What the broker has said, and what it has delivered.
#[derive(Default)]
struct Ledger {
    /// Acknowledged by the broker: when each is due.
    delayed: HashMap<String, u64>,
    /// The same, with what was asked for and whether the broker has said that it is done; `None`: never ended.
    halves: HashMap<String, Option<(TransactionResolution, bool)>>,
    /// When each was delivered first.
    delivered: HashMap<String, u64>,
    acked: HashSet<String>,
    /// Delivered again though the broker had said that it is acknowledged.
    came_back: Vec<String>,
}

type Shared = Arc<Mutex<Ledger>>;

fn locked(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no panic holds the lock")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_comes_before_its_time_or_its_commit() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let settings = Settings::new(&folder.path().join("store"))?;
    let ledger = Shared::default();
    let mut broker = Broker::start(settings.clone()).await?;
    for round in 0..ROUNDS {
        let address = broker.address();
        let mut load = JoinSet::new();
        for sender in 0..SENDERS {
            let (ledger, seed) = (ledger.clone(), random.random());
            let name = format!("{round}-{sender}");
            load.spawn(async move { send(address, &name, seed, &ledger).await });
        }
        let receiver = ledger.clone();
        load.spawn(async move { receive(address, &receiver, 1).await.map(drop) });
        let moment = Duration::from_millis(random.random_range(MOMENT_MS));
        tokio::time::sleep(moment).await;
        let again = broker.restart_settings();
        broker.kill().await?;
        // Their calls fail now: that is how they end.
        while load.join_next().await.is_some() {}
        broker = Broker::start(again).await?;
        let ledger = locked(&ledger);
        println!(
            "{:>5} ms: {} delayed, {} half, {} delivered",
            moment.as_millis(),
            ledger.delayed.len(),
            ledger.halves.len(),
            ledger.delivered.len()
        );
    }
    drain(broker.address(), &ledger).await?;
    locked(&ledger).check()?;
    finish(broker, &settings).await
}

async fn drain(address: SocketAddr, ledger: &Shared) -> Result<()> {
    let begin = now();
    let last = locked(ledger).delayed.values().max().copied().unwrap_or(0);
    let last = last.max(begin + 1000 * INVISIBLE as u64);
    loop {
        let found = receive(address, ledger, QUIET).await?;
        if found == 0 && now() > last {
            return Ok(());
        }
        let limit = DRAIN_LIMIT.as_millis() as u64;
        ensure!(now() < begin + limit, "the messages do not end");
    }
}

impl Ledger {
    fn check(&self) -> Result<()> {
        for (id, due) in &self.delayed {
            let delivered = self.delivered.get(id);
            let delivered = delivered.with_context(|| format!("{id} is lost"))?;
            ensure!(delivered >= due, "{id} came {} ms early", due - delivered);
        }
        for (id, end) in &self.halves {
            let came = self.delivered.contains_key(id);
            match end {
                Some((TransactionResolution::Commit, true)) => ensure!(came, "{id} is lost"),
                // The broker did not answer: it may have been done.
                Some((TransactionResolution::Commit, false)) => {}
                _ => ensure!(!came, "{id} came without a commit: {end:?}"),
            }
        }
        ensure!(
            self.came_back.is_empty(),
            "acked and came again: {:?}",
            self.came_back
        );
        let committed =
            |end: &&Option<_>| matches!(end, Some((TransactionResolution::Commit, true)));
        let committed = self.halves.values().filter(committed).count();
        ensure!(
            committed > 0 && !self.delayed.is_empty(),
            "there was no load"
        );
        Ok(())
    }
}

/// Sends delayed and half messages, and ends most of the transactions, until a call fails.
async fn send(address: SocketAddr, name: &str, seed: u64, ledger: &Shared) -> Result<()> {
    let mut client = connect(address).await?;
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0.. {
        let id = format!("{name}-{number}");
        let mut system = SystemProperties {
            message_id: id.clone(),
            ..SystemProperties::default()
        };
        if number % 2 == 0 {
            let due = now() + random.random_range(DELAY_MS);
            system.delivery_timestamp = Some(prost_types::Timestamp {
                seconds: (due / 1000) as i64,
                nanos: (due % 1000) as i32 * 1_000_000,
            });
            submit(&mut client, system).await?;
            locked(ledger).delayed.insert(id, due);
            continue;
        }
        system.message_type = MessageType::Transaction.into();
        let transaction = submit(&mut client, system).await?;
        locked(ledger).halves.insert(id.clone(), None);
        let resolution = match random.random_range(0..4) {
            0 => continue,
            1 => TransactionResolution::Rollback,
            _ => TransactionResolution::Commit,
        };
        let note = |done| {
            locked(ledger)
                .halves
                .insert(id.clone(), Some((resolution, done)))
        };
        note(false);
        end(&mut client, transaction, resolution).await?;
        note(true);
    }
    Ok(())
}

async fn submit(client: &mut Client, system: SystemProperties) -> Result<String> {
    let message = Message {
        topic: topic(),
        system_properties: Some(system),
        body: vec![7; 100].into(),
        ..Message::default()
    };
    let request = SendMessageRequest {
        messages: vec![message],
    };
    let response = client.send_message(of(request)).await?.into_inner();
    expect_ok(response.status)?;
    let entry = response.entries.into_iter().next();
    Ok(entry.context("no entry")?.transaction_id)
}

async fn end(client: &mut Client, id: String, resolution: TransactionResolution) -> Result<()> {
    let request = EndTransactionRequest {
        topic: topic(),
        transaction_id: id,
        resolution: resolution.into(),
        ..EndTransactionRequest::default()
    };
    let response = client.end_transaction(of(request)).await?;
    expect_ok(response.into_inner().status)
}

/// Receives and acknowledges until a call fails, or brings nothing for `seconds`; returns how many messages came.
async fn receive(address: SocketAddr, ledger: &Shared, seconds: i64) -> Result<usize> {
    let mut client = connect(address).await?;
    let mut count = 0;
    loop {
        let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let request = ReceiveMessageRequest {
            group: resource("readers"),
            message_queue: Some(MessageQueue {
                topic: topic(),
                ..MessageQueue::default()
            }),
            batch_size: 32,
            invisible_duration: duration(INVISIBLE),
            long_polling_timeout: duration(seconds),
            ..ReceiveMessageRequest::default()
        };
        let mut responses = client.receive_message(of(request)).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(response) = responses.message().await? {
            if let Some(Content::Message(message)) = response.content {
                let system = message.system_properties.unwrap_or_default();
                entries.push(AckMessageEntry {
                    message_id: system.message_id,
                    receipt_handle: system.receipt_handle.unwrap_or_default(),
                    ..AckMessageEntry::default()
                });
            }
        }
        if entries.is_empty() {
            return Ok(count);
        }
        count += entries.len();
        note(ledger, &entries);
        let ids: Vec<String> = entries
            .iter()
            .map(|entry| entry.message_id.clone())
            .collect();
        let request = AckMessageRequest {
            group: resource("readers"),
            topic: topic(),
            entries,
        };
        let response = client.ack_message(of(request)).await?;
        expect_ok(response.into_inner().status)?;
        locked(ledger).acked.extend(ids);
    }
}

fn note(ledger: &Shared, entries: &[AckMessageEntry]) {
    let (mut ledger, now) = (locked(ledger), now());
    for entry in entries {
        let id = &entry.message_id;
        if ledger.acked.contains(id) {
            ledger.came_back.push(id.clone());
        }
        ledger.delivered.entry(id.clone()).or_insert(now);
    }
}

async fn finish(broker: Broker, settings: &Settings) -> Result<()> {
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    let store = settings.store.to_str().context("the path is not UTF-8")?;
    let (status, output) = run_to_end(&settings.binary, &["verify", store]).await?;
    ensure!(status.success(), "verify: {status}\n{output}");
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<Client> {
    Ok(Client::connect(format!("http://{address}")).await?)
}

fn of<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(
        "x-mq-client-id",
        tonic::metadata::MetadataValue::from_static("hidden"),
    );
    metadata.insert(
        "x-mq-language",
        tonic::metadata::MetadataValue::from_static("JAVA"),
    );
    request.set_timeout(DRAIN_LIMIT);
    request
}

fn topic() -> Option<Resource> {
    resource(TOPIC)
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource {
        resource_namespace: String::new(),
        name: name.to_owned(),
    })
}

fn expect_ok(status: Option<foliomq_proto::v2::Status>) -> Result<()> {
    let status = status.context("no status")?;
    ensure!(
        status.code() == Code::Ok,
        "{:?}: {}",
        status.code(),
        status.message
    );
    Ok(())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
