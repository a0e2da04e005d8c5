//! kill -9 at random moments while delayed messages wait, some of them to be recalled, and transactions are open.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, Code,
    EndTransactionRequest, Message, MessageQueue, MessageType, RecallMessageRequest,
    ReceiveMessageRequest, Resource, SendMessageRequest, SendResultEntry, SystemProperties,
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
/// Those that are recalled after the next kill are due later: until then a kill and a start take place.
const LATER_MS: std::ops::Range<u64> = 4000..8000;
/// Of so many delayed messages one is recalled at once, and one after the next kill.
const RECALLED: u64 = 8;
/// Of so many messages that come for the first time one is given back.
const GIVEN_BACK: usize = 16;
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
    /// The last attempt of each that came.
    attempts: HashMap<String, i32>,
    /// Delivered again though the broker had said that it is acknowledged.
    came_back: Vec<String>,
    /// Attempts that do not go on from the one before.
    reset: Vec<String>,
    /// Recalled, as the broker said: when each would have been due.
    recalled: HashMap<String, u64>,
    /// Of them, how many since a kill.
    recalled_later: usize,
    /// To be recalled after the next kill.
    to_recall: Vec<Delayed>,
}

/// A delayed message that the broker has.
#[derive(Clone)]
struct Delayed {
    id: String,
    handle: String,
    due: u64,
}

/// A message that came.
struct Delivered {
    entry: AckMessageEntry,
    attempt: i32,
}

type Shared = Arc<Mutex<Ledger>>;

fn locked(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("no panic holds the lock")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_messages_sync() -> Result<()> {
    survives("sync").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_messages_async() -> Result<()> {
    survives("async").await
}

async fn survives(flush: &'static str) -> Result<()> {
    let seed = rand::random();
    println!("{flush}: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        flush,
        ..Settings::new(&folder.path().join("store"))?
    };
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
        recall_later(broker.address(), &ledger).await?;
        let ledger = locked(&ledger);
        println!(
            "{:>5} ms: {} delayed, {} recalled, {} half, {} delivered",
            moment.as_millis(),
            ledger.delayed.len(),
            ledger.recalled.len(),
            ledger.halves.len(),
            ledger.delivered.len()
        );
    }
    drain(broker.address(), &ledger).await?;
    locked(&ledger).check()?;
    finish(broker, &settings).await
}

/// What was sent before the kill is recalled after it.
async fn recall_later(address: SocketAddr, ledger: &Shared) -> Result<()> {
    let mut client = connect(address).await?;
    let waiting = std::mem::take(&mut locked(ledger).to_recall);
    for delayed in waiting {
        let done = recall(&mut client, &delayed, ledger).await?;
        locked(ledger).recalled_later += usize::from(done);
    }
    Ok(())
}

async fn drain(address: SocketAddr, ledger: &Shared) -> Result<()> {
    let begin = now();
    let last = locked(ledger).last_due();
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
    /// When the last message is due, or would be.
    fn last_due(&self) -> u64 {
        let due = self.delayed.values().chain(self.recalled.values());
        due.max().copied().unwrap_or(0)
    }

    fn check(&self) -> Result<()> {
        self.check_delayed()?;
        self.check_halves()?;
        self.check_deliveries()
    }

    fn check_delayed(&self) -> Result<()> {
        for (id, due) in &self.delayed {
            let delivered = self.delivered.get(id);
            let delivered = delivered.with_context(|| format!("{id} is lost"))?;
            ensure!(delivered >= due, "{id} came {} ms early", due - delivered);
        }
        for id in self.recalled.keys() {
            let came = self.delivered.contains_key(id);
            ensure!(!came, "{id} was recalled and came");
        }
        ensure!(!self.delayed.is_empty(), "there was no load");
        let at_once = self.recalled.len() - self.recalled_later;
        ensure!(
            at_once > 0 && self.recalled_later > 0,
            "{at_once} recalled at once, {} later",
            self.recalled_later
        );
        Ok(())
    }

    fn check_halves(&self) -> Result<()> {
        for (id, end) in &self.halves {
            let came = self.delivered.contains_key(id);
            match end {
                Some((TransactionResolution::Commit, true)) => ensure!(came, "{id} is lost"),
                // The broker did not answer: it may have been done.
                Some((TransactionResolution::Commit, false)) => {}
                _ => ensure!(!came, "{id} came without a commit: {end:?}"),
            }
        }
        let committed =
            |end: &&Option<_>| matches!(end, Some((TransactionResolution::Commit, true)));
        let committed = self.halves.values().filter(committed).count();
        ensure!(committed > 0, "there was no load");
        Ok(())
    }

    fn check_deliveries(&self) -> Result<()> {
        let Self {
            came_back, reset, ..
        } = self;
        ensure!(came_back.is_empty(), "acked and came again: {came_back:?}");
        ensure!(reset.is_empty(), "attempts were reset: {reset:?}");
        let again = self.attempts.values().filter(|attempt| **attempt > 1);
        ensure!(again.count() > 0, "nothing was ever delivered again");
        Ok(())
    }

    fn note(&mut self, delivered: &Delivered) {
        let (id, attempt) = (&delivered.entry.message_id, delivered.attempt);
        if self.acked.contains(id) {
            self.came_back.push(id.clone());
        }
        let last = self.attempts.insert(id.clone(), attempt).unwrap_or(0);
        if attempt <= last {
            self.reset.push(format!("{attempt} of {id} after {last}"));
        }
        self.delivered.entry(id.clone()).or_insert_with(now);
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
            let fate = random.random_range(0..RECALLED);
            let delay = if fate == 1 { LATER_MS } else { DELAY_MS };
            let due = now() + random.random_range(delay);
            system.delivery_timestamp = Some(prost_types::Timestamp {
                seconds: (due / 1000) as i64,
                nanos: (due % 1000) as i32 * 1_000_000,
            });
            let handle = submit(&mut client, system).await?.recall_handle;
            let delayed = Delayed { id, handle, due };
            locked(ledger).delayed.insert(delayed.id.clone(), due);
            match fate {
                0 => _ = recall(&mut client, &delayed, ledger).await?,
                1 => locked(ledger).to_recall.push(delayed),
                _ => {}
            }
            continue;
        }
        system.message_type = MessageType::Transaction.into();
        let transaction = submit(&mut client, system).await?.transaction_id;
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

async fn submit(client: &mut Client, system: SystemProperties) -> Result<SendResultEntry> {
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
    entry.context("no entry")
}

/// Recalls a message, unless it came already. While there is no answer it may have been done, or not.
async fn recall(client: &mut Client, delayed: &Delayed, ledger: &Shared) -> Result<bool> {
    let (id, due) = (delayed.id.clone(), delayed.due);
    locked(ledger).delayed.remove(&id);
    let request = RecallMessageRequest {
        topic: topic(),
        recall_handle: delayed.handle.clone(),
    };
    let response = client.recall_message(of(request)).await?.into_inner();
    if let Some(status) = &response.status
        && status.code() == Code::MessageNotFound
    {
        locked(ledger).delayed.insert(id, due);
        return Ok(false);
    }
    expect_ok(response.status)?;
    locked(ledger).recalled.insert(id, due);
    Ok(true)
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

/// Receives and acknowledges until a call fails, or brings nothing for `seconds`; returns how many messages came. A few
/// are given back, once each.
async fn receive(address: SocketAddr, ledger: &Shared, seconds: i64) -> Result<usize> {
    let mut client = connect(address).await?;
    let (mut count, mut fresh) = (0, 0);
    loop {
        let mut batch = take(&mut client, seconds).await?;
        if batch.is_empty() {
            return Ok(count);
        }
        count += batch.len();
        batch.iter().for_each(|one| locked(ledger).note(one));
        let given_back = batch.extract_if(.., |one| {
            fresh += usize::from(one.attempt == 1);
            one.attempt == 1 && fresh % GIVEN_BACK == 0
        });
        let given_back: Vec<_> = given_back.collect();
        for one in given_back {
            give_back(&mut client, one.entry).await?;
        }
        let entries: Vec<_> = batch.into_iter().map(|one| one.entry).collect();
        acknowledge(&mut client, entries, ledger).await?;
    }
}

/// The messages of one receive.
async fn take(client: &mut Client, seconds: i64) -> Result<Vec<Delivered>> {
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
    let mut batch = Vec::new();
    while let Some(response) = responses.message().await? {
        if let Some(Content::Message(message)) = response.content {
            let system = message.system_properties.unwrap_or_default();
            let entry = AckMessageEntry {
                message_id: system.message_id,
                receipt_handle: system.receipt_handle.unwrap_or_default(),
                ..AckMessageEntry::default()
            };
            let attempt = system.delivery_attempt.context("no attempt")?;
            batch.push(Delivered { entry, attempt });
        }
    }
    Ok(batch)
}

async fn give_back(client: &mut Client, entry: AckMessageEntry) -> Result<()> {
    let request = ChangeInvisibleDurationRequest {
        group: resource("readers"),
        topic: topic(),
        receipt_handle: entry.receipt_handle,
        message_id: entry.message_id,
        invisible_duration: duration(1),
        ..ChangeInvisibleDurationRequest::default()
    };
    let response = client.change_invisible_duration(of(request)).await?;
    expect_ok(response.into_inner().status)
}

async fn acknowledge(
    client: &mut Client,
    entries: Vec<AckMessageEntry>,
    ledger: &Shared,
) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let ids = entries.iter().map(|entry| entry.message_id.clone());
    let ids: Vec<String> = ids.collect();
    let request = AckMessageRequest {
        group: resource("readers"),
        topic: topic(),
        entries,
    };
    let response = client.ack_message(of(request)).await?;
    expect_ok(response.into_inner().status)?;
    locked(ledger).acked.extend(ids);
    Ok(())
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

fn duration(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
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
