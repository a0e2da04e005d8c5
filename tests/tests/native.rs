//! The native client against the real binary: publish, consume and acknowledge while the broker is killed and started again,
//! with messages over the connection and from the broker's own pages; and a client that is killed.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliomq_client::{
    Client, Consumer, ConsumerOptions, Lease, Message, MessageView, Publisher, PublisherOptions,
};
use foliomq_tests::admin::Admin;
use foliomq_tests::broker::{Broker, Settings};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const TOPIC: &str = "orders";
const GROUP: &str = "baristas";
const KILLS: usize = 3;
/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// The shortest that the broker grants: what a killed process held comes again after it.
const INVISIBLE: Duration = Duration::from_secs(10);
/// Where the child that is killed finds its broker.
const ENDPOINT: &str = "FOLIOMQ_NATIVE_CHILD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill9_of_the_broker_over_the_connection() -> Result<()> {
    kill9_of_the_broker(false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill9_of_the_broker_mapped() -> Result<()> {
    kill9_of_the_broker(true).await
}

async fn kill9_of_the_broker(mapped: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::start(Settings::new(&folder.path().join("store"))?).await?;
    let client = Client::connect(broker.address().to_string()).await?;
    let options = PublisherOptions {
        batch_bytes: 4096,
        ..PublisherOptions::default()
    };
    let (over, total) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(usize::MAX)),
    );
    let publishing = tokio::spawn(publish(client.publisher(options), over.clone()));
    let consuming = tokio::spawn(consume(
        client.consumer(GROUP, [TOPIC], options_of(mapped)),
        total.clone(),
    ));
    for n in 0..KILLS {
        sleep(Duration::from_millis(300 + 200 * n as u64)).await;
        let settings = broker.restart_settings();
        broker.kill().await?;
        broker = Broker::start(settings).await?;
    }
    over.store(true, Ordering::Relaxed);
    let published = timeout(LIMIT, publishing).await??.context("publishing")?;
    total.store(published, Ordering::Relaxed);
    let seen = timeout(LIMIT, consuming).await??.context("consuming")?;
    ensure!(published > 500, "there was no load: {published}");
    ensure!(
        (seen.mapped > 0) == mapped,
        "{} of {} mapped",
        seen.mapped,
        seen.messages
    );
    stored_once_and_in_order(&broker, published).await?;
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    Ok(())
}

fn options_of(mapped: bool) -> ConsumerOptions {
    ConsumerOptions {
        mapped,
        invisible: INVISIBLE,
        ..ConsumerOptions::default()
    }
}

/// Numbers from 0 on, until it is over; returns how many, each of which the broker has acknowledged.
async fn publish(publisher: Publisher, over: Arc<AtomicBool>) -> Result<usize> {
    let (mut count, mut answers) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        for _ in 0..50 {
            answers.push(
                publisher
                    .send(Message::new(TOPIC, count.to_string()))
                    .await?,
            );
            count += 1;
        }
        sleep(Duration::from_millis(20)).await;
    }
    for answer in answers {
        answer.await?;
    }
    Ok(count)
}

/// What a consumer has seen.
#[derive(Default)]
struct Seen {
    messages: usize,
    mapped: usize,
    acknowledged: BTreeSet<usize>,
    /// Their acknowledgement was not answered in time.
    unsure: BTreeSet<usize>,
}

/// Until every message is done.
async fn consume(mut consumer: Consumer, total: Arc<AtomicUsize>) -> Result<Seen> {
    let mut seen = Seen::default();
    while seen.acknowledged.len() + seen.unsure.len() < total.load(Ordering::Relaxed) {
        let Ok(lease) = timeout(Duration::from_millis(100), consumer.next()).await else {
            continue;
        };
        seen.take(lease?).await?;
    }
    Ok(seen)
}

impl Seen {
    async fn take(&mut self, lease: Lease) -> Result<()> {
        let number = number(lease.message())?;
        self.messages += 1;
        self.mapped += usize::from(lease.message().is_mapped());
        ensure!(
            !self.acknowledged.contains(&number),
            "{number} came after its acknowledgement"
        );
        match lease.ack().await {
            Ok(()) => {
                self.unsure.remove(&number);
                self.acknowledged.insert(number);
            }
            Err(_) => {
                self.unsure.insert(number);
            }
        }
        Ok(())
    }
}

fn number(message: &MessageView) -> Result<usize> {
    Ok(std::str::from_utf8(message.body())?.parse()?)
}

async fn stored_once_and_in_order(broker: &Broker, published: usize) -> Result<()> {
    let contents = Admin::connect(broker.address())
        .await?
        .contents(TOPIC)
        .await?;
    let mut queues: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for stored in contents {
        let number = std::str::from_utf8(&stored.body)?.parse()?;
        queues.entry(stored.queue).or_default().push(number);
    }
    for (queue, numbers) in &queues {
        ensure!(
            numbers.is_sorted_by(|one, next| one < next),
            "queue {queue}: {numbers:?}"
        );
    }
    let mut all: Vec<_> = queues.into_values().flatten().collect();
    all.sort_unstable();
    ensure!(
        all.iter().copied().eq(0..published),
        "{} of {published} stored",
        all.len()
    );
    Ok(())
}

/// A process that reads the broker's pages is killed: the broker goes on, and what the process held goes to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill9_of_a_mapped_client() -> Result<()> {
    const MESSAGES: usize = 2000;
    let folder = tempfile::tempdir()?;
    let broker = Broker::start(Settings::new(&folder.path().join("store"))?).await?;
    let endpoint = broker.address().to_string();
    let client = Client::connect(&endpoint).await?;
    let publisher = client.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for n in 0..MESSAGES {
        answers.push(publisher.send(Message::new(TOPIC, n.to_string())).await?);
    }
    for answer in answers {
        answer.await?;
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(ENDPOINT, &endpoint)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().context("its output")?;
    let (mut lines, mut seen) = (BufReader::new(output).lines(), Seen::default());
    while seen.acknowledged.len() < MESSAGES / 4 {
        let line = timeout(LIMIT, lines.next_line())
            .await??
            .context("it has ended")?;
        seen.acknowledged.extend(told(&line));
    }
    child.kill().await?;
    // What it had acknowledged, and did not come to say.
    while let Some(line) = lines.next_line().await? {
        seen.acknowledged.extend(told(&line));
    }
    let mut consumer = client.consumer(GROUP, [TOPIC], options_of(true));
    let rest = async {
        // One that was acknowledged at the last moment may be missing from both.
        while seen.acknowledged.len() + 1 < MESSAGES {
            seen.take(consumer.next().await?).await?;
        }
        anyhow::Ok(())
    };
    timeout(LIMIT, rest).await??;
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    Ok(())
}

/// The number in a line of [`child`], which may begin with words of the test's harness.
fn told(line: &str) -> Option<usize> {
    line.split_once("acknowledged ")?.1.parse().ok()
}

/// Not a test of its own: what [`kill9_of_a_mapped_client`] starts and kills.
#[tokio::test]
#[ignore = "a role in another test"]
async fn child() -> Result<()> {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        return Ok(());
    };
    let client = Client::connect(endpoint).await?;
    let mut consumer = client.consumer(GROUP, [TOPIC], options_of(true));
    loop {
        let lease = consumer.next().await?;
        ensure!(lease.message().is_mapped(), "it is on the broker's machine");
        let number = number(lease.message())?;
        lease.ack().await?;
        println!("acknowledged {number}");
    }
}
