//! Runs scenarios side by side, each with a time limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Context, Scenario, Stage};
use crate::driver::Kind;

/// No scenario takes longer than this; the longest waits for clients that rest.
const LIMIT: Duration = Duration::from_secs(240);

/// How a scenario ended with one client.
#[derive(Debug)]
pub enum Outcome {
    /// It passed, in this time.
    Passed(Duration),
    /// It failed, for this reason.
    Failed(String),
    /// The client cannot run it, for this reason.
    Absent(&'static str),
}

/// A scenario's place in [`super::ALL`] and a client.
pub type Cell = (usize, Kind);

/// Runs `cells`, at most `jobs` at a time, and tells each outcome as it comes.
pub async fn run(
    stage: Arc<Stage>,
    cells: Vec<Cell>,
    jobs: usize,
    mut tell: impl FnMut(&'static Scenario, Kind, &Outcome),
) -> BTreeMap<Cell, Outcome> {
    let gate = Arc::new(Semaphore::new(jobs));
    let mut running = JoinSet::new();
    for cell in cells {
        let (gate, stage) = (gate.clone(), stage.clone());
        running.spawn(async move {
            let _permit = gate.acquire().await;
            (cell, run_one(&stage, cell).await)
        });
    }
    let mut outcomes = BTreeMap::new();
    while let Some(done) = running.join_next().await {
        let (cell, outcome) = done.expect("a scenario's panic is an outcome");
        tell(&super::ALL[cell.0], cell.1, &outcome);
        outcomes.insert(cell, outcome);
    }
    outcomes
}

async fn run_one(stage: &Arc<Stage>, (index, kind): Cell) -> Outcome {
    let scenario = &super::ALL[index];
    if let Some(reason) = scenario.needs.missing_in(kind) {
        return Outcome::Absent(reason);
    }
    let stage = stage.clone();
    let task = tokio::spawn(async move {
        let label = format!("{}-{}", scenario.id, kind);
        let context = Context {
            kind,
            label,
            stage: &stage,
        };
        timeout(LIMIT, (scenario.run)(&context)).await
    });
    let start = Instant::now();
    match task.await {
        Ok(Ok(Ok(()))) => Outcome::Passed(start.elapsed()),
        Ok(Ok(Err(error))) => Outcome::Failed(format!("{error:#}")),
        Ok(Err(_)) => Outcome::Failed(format!("no end within {LIMIT:?}")),
        Err(panic) => Outcome::Failed(panic.to_string()),
    }
}
