//! The table of clients and scenarios.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::driver::Kind;
use crate::scenario::{ALL, Cell, Outcome};

const TITLE_WIDTH: usize = 58;
const CELL_WIDTH: usize = 8;

/// The table of `outcomes`, with a column for each of `kinds`, and below it every reason.
pub fn table(kinds: &[Kind], outcomes: &BTreeMap<Cell, Outcome>) -> String {
    let mut text = format!("{:>3}  {:TITLE_WIDTH$}", "#", "scenario");
    for kind in kinds {
        _ = write!(text, " {kind:>CELL_WIDTH$}");
    }
    text.push('\n');
    for (index, scenario) in ALL.iter().enumerate() {
        if !kinds
            .iter()
            .any(|kind| outcomes.contains_key(&(index, *kind)))
        {
            continue;
        }
        _ = write!(text, "{:>3}  {:TITLE_WIDTH$}", scenario.id, scenario.title);
        for kind in kinds {
            let mark = outcomes.get(&(index, *kind)).map_or(String::new(), mark);
            _ = write!(text, " {mark:>CELL_WIDTH$}");
        }
        text.push('\n');
    }
    text + &reasons(outcomes)
}

/// Whether anything failed.
pub fn failed(outcomes: &BTreeMap<Cell, Outcome>) -> bool {
    outcomes
        .values()
        .any(|outcome| matches!(outcome, Outcome::Failed(_)))
}

fn mark(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(_) => "ok".into(),
        Outcome::Failed(_) => "FAIL".into(),
        Outcome::Absent(_) => "-".into(),
    }
}

fn reasons(outcomes: &BTreeMap<Cell, Outcome>) -> String {
    let mut text = String::new();
    for ((index, kind), outcome) in outcomes {
        let id = ALL[*index].id;
        match outcome {
            Outcome::Passed(_) => {}
            Outcome::Failed(reason) => _ = write!(text, "\nFAIL {id} {kind}: {reason}"),
            Outcome::Absent(reason) => _ = write!(text, "\n-    {id} {kind}: {reason}"),
        }
    }
    text
}
