//! Measures lite topics over gRPC against the real broker: 100,000 with one subscriber each.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use foliomq_tests::binary::BINARY_VARIABLE;
use foliomq_tests::broker::{Broker, Settings};
use foliomq_tests::lite_load::{Outcome, Plan, run};

/// What lite topics are held to, as a table.
#[derive(Parser)]
struct Arguments {
    /// The foliomq binary [default: the newest of target/release and target/debug].
    #[arg(long, env = BINARY_VARIABLE)]
    binary: Option<PathBuf>,
    /// Lite topics, each with one subscriber.
    #[arg(long, default_value_t = 100_000)]
    lite_topics: usize,
    /// Clients that share them; each may have 2,000.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Seconds for which the broker is watched while nothing happens.
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Where the table goes beside standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut settings = Settings::new(&folder.path().join("store"))?;
    if let Some(binary) = &arguments.binary {
        settings.binary.clone_from(binary);
    }
    let folder_of = settings
        .binary
        .parent()
        .and_then(|folder| folder.file_name());
    let build = folder_of.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let broker = Broker::start(settings).await?;
    let plan = Plan {
        lite_topics: arguments.lite_topics,
        clients: arguments.clients,
        idle: Duration::from_secs(arguments.idle),
    };
    let outcome = run(broker.address(), broker.id()?, plan).await?;
    broker.terminate().await?;
    let goals = goals(plan, &outcome);
    let page = page(plan, &build, &outcome, &goals);
    print!("{page}");
    if let Some(out) = &arguments.out {
        std::fs::write(out, page).with_context(|| format!("writing {}", out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A figure and its bound: number of the point, what, measured, target, and whether it is met.
struct Goal {
    what: &'static str,
    measured: String,
    target: String,
    met: bool,
}

/// The point that these figures belong to.
const POINT: u8 = 6;
/// Bytes for each lite topic, at most.
const MOST_BYTES: f64 = 1024.0;
/// Share of one core while nothing happens, at most: near zero.
const MOST_IDLE: f64 = 0.02;

fn goals(plan: Plan, outcome: &Outcome) -> [Goal; 3] {
    let all = plan.lite_topics;
    [
        Goal {
            what: "lite topics whose subscriber got their message",
            measured: outcome.received.to_string(),
            target: format!("{all}"),
            met: outcome.received == all,
        },
        Goal {
            what: "private memory of the broker for each, used once",
            measured: format!("{:.0} bytes", outcome.used_bytes),
            target: format!("≤ {MOST_BYTES:.0} bytes"),
            met: outcome.used_bytes <= MOST_BYTES,
        },
        Goal {
            what: "one core, while all clients wait",
            measured: format!("{:.2} %", outcome.idle_cpu * 100.0),
            target: format!("≤ {:.0} %", MOST_IDLE * 100.0),
            met: outcome.idle_cpu <= MOST_IDLE,
        },
    ]
}

fn page(plan: Plan, build: &str, outcome: &Outcome, goals: &[Goal]) -> String {
    let mut page = String::from("# Lite topics\n\n");
    page += &format!(
        "{} lite topics of one topic, shared by {} clients of one group, over gRPC to the real broker (a {build} build); one message through each.\n\n",
        plan.lite_topics, plan.clients
    );
    page += "| number | what | measured | target | met or short |\n|---|---|---|---|---|\n";
    for Goal {
        what,
        measured,
        target,
        met,
    } in goals
    {
        let verdict = if *met { "met" } else { "**short**" };
        page += &format!("| {POINT} | {what} | {measured} | {target} | {verdict} |\n");
    }
    let [subscribed, through] = outcome.times.map(|time| time.as_secs_f64());
    page += &format!(
        "\nSubscribed, before any message, each takes {:.0} bytes. Subscribing took {subscribed:.1} s, sending, receiving and \
         acknowledging one message of each {through:.1} s: these two say more of the machine than of the broker.\n\n\
         `make bench-lite` repeats it.\n",
        outcome.subscribed_bytes
    );
    page
}
