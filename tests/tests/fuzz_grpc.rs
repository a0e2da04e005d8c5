//! A short run of the gRPC fuzzer; `make fuzz-grpc` runs it for longer.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use foliomq_tests::broker::{Broker, Settings};
use foliomq_tests::grpc_fuzz::schema::Schema;
use foliomq_tests::grpc_fuzz::{self, reflection};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_breaks() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or_else(rand::random);
    let seconds = number("FUZZ_SECONDS").unwrap_or(10);
    println!("FUZZ_SEED={seed}");
    let folder = tempfile::tempdir()?;
    let settings = Settings::new(&folder.path().join("store"))?;
    let outcome = grpc_fuzz::run(settings, seed, Duration::from_secs(seconds)).await?;
    ensure!(
        outcome.findings.is_empty(),
        "FUZZ_SEED={seed}: {:#?}",
        outcome.findings
    );
    // Most of what is well-formed is answered; if not, nothing much was tried.
    ensure!(
        outcome.answered * 4 > outcome.calls && outcome.calls > 0,
        "{} of {} calls were answered",
        outcome.answered,
        outcome.calls
    );
    Ok(())
}

/// What the broker says of its services is all in the schema that programs are made from: none is forgotten.
#[tokio::test]
async fn every_method_that_the_broker_serves_is_fuzzed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = Broker::start(Settings::new(&folder.path().join("store"))?).await?;
    let served = reflection::methods(broker.address()).await?;
    let known = Schema::new()?.methods;
    let mut known: BTreeSet<_> = known.into_iter().map(|method| method.path).collect();
    // The older protocol of reflection describes itself only to those who speak it.
    known.retain(|path| !path.starts_with("/grpc.reflection.v1alpha."));
    ensure!(served == known, "served {served:#?}, known {known:#?}");
    ensure!(broker.terminate().await?.success());
    Ok(())
}
