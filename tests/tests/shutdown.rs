//! Leaving on SIGTERM, and starting where another broker runs already.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliomq_tests::admin::Admin;
use foliomq_tests::broker::{Broker, Settings, run_to_end};
use foliomq_tests::load::{Load, Shared, locked};

const TOPIC: &str = "load";
/// Messages that are sent before the end, and how long they may take.
const LOAD: usize = 200;
const LIMIT: Duration = Duration::from_secs(60);

/// Under load: calls in flight are answered, the exit code is 0, and nothing needs recovery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::start(Settings::new(&folder.path().join("store"))?).await?;
    Admin::connect(broker.address())
        .await?
        .create_topic(TOPIC)
        .await?;
    let ledger = Shared::default();
    let load = Load::start(broker.address(), TOPIC, 8, 3, &ledger).await?;
    let loaded = async {
        while locked(&ledger).sent.len() < LOAD {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let loaded = tokio::time::timeout(LIMIT, loaded).await;
    loaded.context("there was no load")?;
    broker.signal_termination()?;
    let status = broker.exited().await?;
    load.stop().await?;
    ensure!(
        status.success(),
        "the broker left with {status}:\n{}",
        broker.output()
    );

    let broker = Broker::start(broker.restart_settings()).await?;
    let contents = Admin::connect(broker.address())
        .await?
        .contents(TOPIC)
        .await?;
    let sent = {
        let ledger = locked(&ledger);
        ledger.check(&contents)?;
        ledger.sent.len()
    };
    // Each sender had at most one call under way, and a graceful end answers those.
    ensure!(
        contents.len() == sent,
        "{} messages stored, {sent} answered",
        contents.len()
    );
    let output = broker.output();
    ensure!(
        !output.contains("recover"),
        "a clean restart recovered something:\n{output}"
    );
    broker.terminate().await.map(drop)
}

/// A second broker on the same store or the same port leaves with an error that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_instance() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = Settings::new(&folder.path().join("store"))?;
    let broker = Broker::start(settings.clone()).await?;
    let store = settings.store.to_str().context("the path is not UTF-8")?;
    let address = broker.address().to_string();

    let other = folder.path().join("other");
    let other = other.to_str().context("the path is not UTF-8")?;
    let same_store = ["serve", "--store-dir", store, "--listen", "127.0.0.1:0"];
    let same_port = ["serve", "--store-dir", other, "--listen", &address];
    for (arguments, named) in [(same_store, store), (same_port, &address)] {
        let (status, output) = run_to_end(&settings.binary, &arguments).await?;
        ensure!(!status.success(), "two brokers serve:\n{output}");
        ensure!(
            output.contains(named),
            "the error does not name {named}:\n{output}"
        );
        ensure!(!output.contains("panicked"), "{output}");
    }
    broker.terminate().await.map(drop)
}
