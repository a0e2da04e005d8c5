//! A short run of the gRPC fuzzer; `make fuzz-grpc` runs it for longer.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Result, ensure};
use foliomq_tests::broker::Settings;
use foliomq_tests::grpc_fuzz;

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
