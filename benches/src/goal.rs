//! What the store is held to: a figure, what was measured, and whether that meets it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::section::Table;

/// One of the figures that the store is held to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Goal {
    /// Number of the point that it belongs to.
    pub point: u8,
    /// What is measured.
    pub what: String,
    /// What was measured; `None` where it could not be.
    pub measured: Option<f64>,
    /// What follows the figure: `x`, `us`, `bytes`.
    pub unit: String,
    /// What it is to be.
    pub target: Target,
    /// The same figure of this machine with nothing of the store in the way, measured in the same run.
    #[serde(default)]
    pub floor: Option<f64>,
}

/// A bound.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

impl Goal {
    /// At least `target`.
    pub fn at_least(
        point: u8,
        what: impl Into<String>,
        measured: impl Into<Option<f64>>,
        unit: &'static str,
        target: f64,
    ) -> Self {
        Self::new(point, what, measured, unit, Target::AtLeast(target))
    }

    /// At most `target`.
    pub fn at_most(
        point: u8,
        what: impl Into<String>,
        measured: impl Into<Option<f64>>,
        unit: &'static str,
        target: f64,
    ) -> Self {
        Self::new(point, what, measured, unit, Target::AtMost(target))
    }

    fn new(
        point: u8,
        what: impl Into<String>,
        measured: impl Into<Option<f64>>,
        unit: &'static str,
        target: Target,
    ) -> Self {
        Self {
            point,
            what: what.into(),
            measured: measured.into(),
            unit: unit.to_owned(),
            target,
            floor: None,
        }
    }

    /// With what is measured in the store's place where nothing of it is in the way.
    pub fn with_floor(mut self, floor: impl Into<Option<f64>>) -> Self {
        self.floor = floor.into();
        self
    }

    /// Whether the figure meets its target; `None` if it was not measured.
    pub fn met(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(match self.target {
            Target::AtLeast(bound) => measured >= bound,
            Target::AtMost(bound) => measured <= bound,
        })
    }

    fn row(&self) -> Vec<String> {
        let figure = |figure: Option<f64>| match figure {
            Some(figure) => format!("{} {}", shown(figure), self.unit),
            None => "-".to_owned(),
        };
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "**short**",
            None => "not measured",
        };
        vec![
            self.point.to_string(),
            self.what.clone(),
            figure(self.measured),
            format!("{} {}", self.target, self.unit),
            verdict.to_owned(),
            figure(self.floor),
        ]
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {}", shown(*bound)),
            Self::AtMost(bound) => write!(f, "≤ {}", shown(*bound)),
        }
    }
}

/// A figure that another program has compared with a target, as it stands in that program's JSON file.
#[derive(Debug, Deserialize)]
struct Verdict {
    what: String,
    against: serde_json::Value,
    ratio: Ratio,
    target: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Ratio {
    median: f64,
}

/// The goals of the comparison with other crates, from the JSON file that it wrote.
pub fn of_crates(json: &str) -> serde_json::Result<Vec<Goal>> {
    #[derive(Deserialize)]
    struct File {
        verdicts: Vec<Verdict>,
    }
    let goal = |verdict: Verdict| {
        let target = verdict.target?;
        let against = verdict
            .against
            .as_str()
            .unwrap_or("the fastest other")
            .to_owned();
        let what = format!("{} / {against}", verdict.what);
        Some(Goal::at_least(6, what, verdict.ratio.median, "x", target))
    };
    let file: File = serde_json::from_str(json)?;
    Ok(file.verdicts.into_iter().filter_map(goal).collect())
}

/// The table that a run ends with.
pub fn table(goals: &[Goal]) -> Table {
    let mut goals: Vec<&Goal> = goals.iter().collect();
    goals.sort_by_key(|goal| goal.point);
    Table {
        caption: "What the store is held to. The machine's own figure is what the same run shows where nothing of the \
                  store is in the way; each section says of what."
            .to_owned(),
        columns: [
            "number",
            "what",
            "measured",
            "target",
            "met or short",
            "the machine's own",
        ]
        .map(String::from)
        .to_vec(),
        rows: goals.into_iter().map(Goal::row).collect(),
    }
}

/// Up to three significant digits, and no more decimals than are needed.
fn shown(figure: f64) -> String {
    let text = match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_short_or_not_measured() {
        assert_eq!(Goal::at_least(1, "", 2.5, "x", 2.5).met(), Some(true));
        assert_eq!(Goal::at_most(1, "", 2.6, "x", 2.5).met(), Some(false));
        assert_eq!(Goal::at_most(1, "", None, "x", 2.5).met(), None);
    }

    #[test]
    fn figures_have_no_needless_decimals() {
        assert_eq!(
            [0.5, 2.0, 1.15, 123.4, 20.25].map(shown),
            ["0.5", "2", "1.15", "123", "20.2"]
        );
    }
}
