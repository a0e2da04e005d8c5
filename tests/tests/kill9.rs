//! kill -9 at random moments, again and again, under load.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliomq_tests::admin::Admin;
use foliomq_tests::broker::{Broker, Settings, run_to_end};
use foliomq_tests::driver::Kind;
use foliomq_tests::load::{Load, Shared, drain, locked};
use foliomq_tests::session::Session;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const TOPIC: &str = "load";
const SENDERS: u32 = 8;
const RECEIVERS: u32 = 3;
/// The kill comes within this time after the load has begun.
const MOMENT_MS: std::ops::Range<u64> = 100..1500;
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// `KILL9_ROUNDS` and `KILL9_SEED` change the number of rounds and repeat a run's random moments.
fn setting(name: &str, default: impl FnOnce() -> u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name} is not a number")),
        Err(_) => Ok(default()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync() -> Result<()> {
    nothing_acknowledged_is_lost("sync", 20).await
}

/// A process that dies takes nothing with it that it has written: the page cache stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asynchronous() -> Result<()> {
    nothing_acknowledged_is_lost("async", 10).await
}

async fn nothing_acknowledged_is_lost(flush: &'static str, rounds: u64) -> Result<()> {
    let seed = setting("KILL9_SEED", rand::random)?;
    let rounds = setting("KILL9_ROUNDS", || rounds)?;
    println!("KILL9_SEED={seed} KILL9_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        flush,
        ..Settings::new(&folder.path().join("store"))?
    };
    let ledger = Shared::default();

    let mut broker = Broker::start(settings.clone()).await?;
    Admin::connect(broker.address())
        .await?
        .create_topic(TOPIC)
        .await?;
    for round in 1..=rounds {
        let moment = Duration::from_millis(random.random_range(MOMENT_MS));
        broker = kill_and_restart(broker, moment, &ledger)
            .await
            .with_context(|| format!("round {round}, killed after {moment:?}"))?;
    }
    receive_the_rest(&broker, &ledger).await?;
    finish(broker, &settings).await
}

/// One round: load, kill, restart, check.
async fn kill_and_restart(broker: Broker, moment: Duration, ledger: &Shared) -> Result<Broker> {
    let load = Load::start(broker.address(), TOPIC, SENDERS, RECEIVERS, ledger).await?;
    tokio::time::sleep(moment).await;
    let settings = broker.restart_settings();
    broker.kill().await?;
    load.stop().await?;
    let broker = Broker::start(settings).await?;
    let contents = Admin::connect(broker.address())
        .await?
        .contents(TOPIC)
        .await?;
    let ledger = locked(ledger);
    println!(
        "{moment:>7.0?}: {} sends and {} acks acknowledged, {} stored",
        ledger.sent.len(),
        ledger.acked.len(),
        contents.len(),
    );
    ledger.check(&contents)?;
    Ok(broker)
}

/// What nobody has acknowledged yet still comes, and what somebody has does not.
async fn receive_the_rest(broker: &Broker, ledger: &Shared) -> Result<()> {
    let session = Session::open(Kind::Raw, broker.address(), &[]).await?;
    let consumer = session.simple("load", TOPIC).await?;
    drain(&consumer, ledger, DRAIN_LIMIT).await?;
    let ledger = locked(ledger);
    ensure!(
        ledger.came_back.is_empty(),
        "acked and came again: {:?}",
        ledger.came_back
    );
    ensure!(
        !ledger.acked.is_empty() && !ledger.sent.is_empty(),
        "there was no load"
    );
    Ok(())
}

async fn finish(broker: Broker, settings: &Settings) -> Result<()> {
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    let store = settings.store.to_str().context("the path is not UTF-8")?;
    let (status, output) = run_to_end(&settings.binary, &["verify", store]).await?;
    ensure!(status.success(), "verify: {status}\n{output}");
    println!("{output}");
    Ok(())
}
