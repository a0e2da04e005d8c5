//! Fuzzes the gRPC surface of the real binary for as long as asked.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use foliomq_tests::binary::BINARY_VARIABLE;
use foliomq_tests::broker::Settings;
use foliomq_tests::grpc_fuzz;

/// Random programs of hostile requests against every gRPC method.
#[derive(Parser)]
struct Arguments {
    /// The foliomq binary [default: the newest of target/release and target/debug].
    #[arg(long, env = BINARY_VARIABLE)]
    binary: Option<PathBuf>,
    /// How long, in seconds.
    #[arg(long, env = "FUZZ_SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Repeats the choices of a run [default: at random].
    #[arg(long, env = "FUZZ_SEED")]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut settings = Settings::new(&folder.path().join("store"))?;
    settings.flush = "async";
    if let Some(binary) = arguments.binary {
        settings.binary = binary.canonicalize()?;
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("{}: FUZZ_SEED={seed}", settings.binary.display());
    let time = Duration::from_secs(arguments.seconds);
    let outcome = grpc_fuzz::run(settings, seed, time).await?;
    println!(
        "{} batches, {} calls, {} answered with OK by gRPC, at most {} MiB of anonymous memory",
        outcome.batches, outcome.calls, outcome.answered, outcome.memory
    );
    for ((path, what), (count, finding)) in &outcome.findings {
        println!("\n{count} x {path}\n  {what}\n  {}", finding.call);
    }
    Ok(match outcome.findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
