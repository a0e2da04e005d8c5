//! kill -9 in the middle of deliveries, again and again, for each kind of message: nothing is lost, what was acknowledged
//! does not come again, attempts go on counting, and what the kind promises beside that holds.
//!
//! Another kind of message takes another [`MessageKind`] and two tests.
#![forbid(unsafe_code)]

mod client;
mod kind;
mod ledger;
mod load;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliomq_tests::admin::Admin;
use foliomq_tests::broker::{Broker, Settings, run_to_end};
use kind::{Fifo, Lite, MessageKind, Normal, Priority};
use ledger::{Shared, locked};
use load::Load;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

/// The kill comes within this time after the broker serves, ms.
const MOMENT: std::ops::Range<u64> = 200..1600;
const DRAIN_LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn normal_sync() -> Result<()> {
    survives("sync", Arc::new(Normal)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn normal_async() -> Result<()> {
    survives("async", Arc::new(Normal)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifo_sync() -> Result<()> {
    survives("sync", Arc::new(Fifo)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifo_async() -> Result<()> {
    survives("async", Arc::new(Fifo)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priority_sync() -> Result<()> {
    survives("sync", Arc::new(Priority)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priority_async() -> Result<()> {
    survives("async", Arc::new(Priority)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lite_sync() -> Result<()> {
    survives("sync", Arc::new(Lite)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lite_async() -> Result<()> {
    survives("async", Arc::new(Lite)).await
}

/// `KILL9_ROUNDS` and `KILL9_SEED` change the number of rounds and repeat a run's random moments.
fn setting(name: &str, default: impl FnOnce() -> u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name} is not a number")),
        Err(_) => Ok(default()),
    }
}

async fn survives(flush: &'static str, kind: Arc<dyn MessageKind>) -> Result<()> {
    let seed = setting("KILL9_SEED", rand::random)?;
    let rounds = setting("KILL9_ROUNDS", || 10)?;
    println!(
        "{} {flush}: KILL9_SEED={seed} KILL9_ROUNDS={rounds}",
        kind.name()
    );
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        flush,
        ..Settings::new(&folder.path().join("store"))?
    };
    let mut broker = Broker::start(settings.clone()).await?;
    let mut admin = Admin::connect(broker.address()).await?;
    admin.create(kind.name(), kind.topic_type()).await?;
    let ledger = Shared::default();
    let mut load = Load::start(broker.address(), &kind, &ledger).await?;
    for round in 1..=rounds {
        let moment = Duration::from_millis(random.random_range(MOMENT));
        sleep(moment).await;
        let settings = broker.restart_settings();
        broker.kill().await?;
        broker = Broker::start(settings).await?;
        report(&ledger, round, moment)?;
    }
    load.stop_sending().await;
    drain(&ledger).await?;
    load.stop().await?;
    finish(broker, &settings, &ledger).await
}

fn report(ledger: &Shared, round: u64, moment: Duration) -> Result<()> {
    let ledger = locked(ledger);
    println!(
        "round {round}, killed after {moment:?}: {} sent, {} acknowledged, {} deliveries again",
        ledger.sent.len(),
        ledger.acked.len(),
        ledger.again,
    );
    ensure!(
        ledger.faults.is_empty(),
        "round {round}: {:#?}",
        ledger.faults
    );
    Ok(())
}

/// Waits until everything that is stored is acknowledged.
async fn drain(ledger: &Shared) -> Result<()> {
    let end = Instant::now() + DRAIN_LIMIT;
    loop {
        let left = locked(ledger).left();
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{left} messages did not come");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn finish(broker: Broker, settings: &Settings, ledger: &Shared) -> Result<()> {
    {
        let ledger = locked(ledger);
        ensure!(ledger.faults.is_empty(), "{:#?}", ledger.faults);
        ensure!(ledger.sent.len() > 100, "there was no load");
        ensure!(ledger.again > 0, "nothing was ever delivered again");
    }
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    let store = settings.store.to_str().context("the path is not UTF-8")?;
    let (status, output) = run_to_end(&settings.binary, &["verify", store]).await?;
    ensure!(status.success(), "verify: {status}\n{output}");
    Ok(())
}
