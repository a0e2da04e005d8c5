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
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Where the table goes beside standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where the figures go for `make bench-delivery`, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
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
    let rows = goals(plan, &outcome).map(row);
    let page = page(plan, &build, &outcome, &rows);
    print!("{page}");
    let json = serde_json::json!({ "text": text(plan, &build), "rows": rows });
    let files = [(&arguments.out, page), (&arguments.json, json.to_string())];
    for (file, text) in files {
        if let Some(file) = file {
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
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

/// Its row in the table.
fn row(goal: Goal) -> [String; 5] {
    let verdict = if goal.met { "met" } else { "**short**" };
    let what = goal.what.to_owned();
    [
        POINT.to_string(),
        what,
        goal.measured,
        goal.target,
        verdict.to_owned(),
    ]
}

/// How it is measured.
fn text(plan: Plan, build: &str) -> String {
    format!(
        "{} lite topics of one topic, shared by {} clients of one group, over gRPC to the real broker (a {build} build); one message through \
         each. Memory is counted from after a first 1,000 of another topic have been used the same way.",
        plan.lite_topics, plan.clients
    )
}

fn page(plan: Plan, build: &str, outcome: &Outcome, rows: &[[String; 5]]) -> String {
    let mut page = format!("# Lite topics\n\n{}\n\n", text(plan, build));
    page += "| number | what | measured | target | met or short |\n|---|---|---|---|---|\n";
    for row in rows {
        page += &format!("| {} |\n", row.join(" | "));
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
