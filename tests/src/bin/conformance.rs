//! Runs the conformance scenarios against the real broker with every client that can, and prints
//! which client passes which.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use foliomq_tests::binary::BINARY_VARIABLE;
use foliomq_tests::broker::{Broker, Settings};
use foliomq_tests::driver::Kind;
use foliomq_tests::report;
use foliomq_tests::scenario::{ALL, Cell, Outcome, Scenario, Stage, run};

/// Which clients work with FolioMQ, and in what.
#[derive(Parser)]
struct Arguments {
    /// The foliomq binary [default: the newest of target/release and target/debug].
    #[arg(long, env = BINARY_VARIABLE)]
    binary: Option<PathBuf>,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these clients: python, node, rust, raw.
    #[arg(long, value_delimiter = ',')]
    client: Vec<Kind>,
    /// How many scenarios run at a time; most of them wait most of the time.
    #[arg(long, default_value_t = 10)]
    jobs: usize,
    /// List the scenarios and leave.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in ALL {
            println!("{:>3}  {}", scenario.id, scenario.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let unknown = arguments
        .only
        .iter()
        .find(|id| !ALL.iter().any(|known| known.id == **id));
    ensure!(
        unknown.is_none(),
        "no scenario {}: --list shows them",
        unknown.map_or("", |id| id)
    );
    let kinds = match arguments.client.is_empty() {
        true => Kind::ALL.to_vec(),
        false => arguments.client.clone(),
    };
    conformance(&arguments, &kinds).await
}

async fn conformance(arguments: &Arguments, kinds: &[Kind]) -> Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    let mut settings = Settings::new(&store)?;
    if let Some(binary) = &arguments.binary {
        settings.binary = binary.canonicalize()?;
    }
    println!("broker: {}", settings.binary.display());
    let mut broker = Broker::start(settings.clone()).await?;
    let stage = Arc::new(Stage {
        settings,
        address: broker.address(),
        store,
    });
    let start = Instant::now();
    let outcomes = run(stage, cells(arguments, kinds), arguments.jobs, tell).await;
    println!("\n{}", report::table(kinds, &outcomes));
    println!("\n{:.0} s", start.elapsed().as_secs_f64());
    let alive = broker.alive()?;
    if !alive {
        println!("\nthe broker ended:\n{}", broker.output());
    } else {
        let status = broker.terminate().await?;
        ensure!(status.success(), "the broker left with {status}");
    }
    let good = alive && !report::failed(&outcomes);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The chosen scenarios with the chosen clients.
fn cells(arguments: &Arguments, kinds: &[Kind]) -> Vec<Cell> {
    let chosen =
        |id: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == id);
    let indexes = ALL
        .iter()
        .enumerate()
        .filter(|(_, scenario)| chosen(scenario.id));
    // The longest stand at the end of the table: they begin first.
    let indexes = indexes.rev();
    indexes
        .flat_map(|(index, _)| kinds.iter().map(move |kind| (index, *kind)))
        .collect()
}

fn tell(scenario: &'static Scenario, kind: Kind, outcome: &Outcome) {
    match outcome {
        Outcome::Passed(time) => {
            println!("ok   {} {kind} {:.1} s", scenario.id, time.as_secs_f64())
        }
        Outcome::Failed(reason) => println!("FAIL {} {kind}: {reason}", scenario.id),
        Outcome::Absent(_) => {}
    }
}
