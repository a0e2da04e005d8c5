//! What one experiment hands to the report.

use serde::Serialize;

use crate::figures::Comparison;
use crate::goal::Goal;
use crate::quiet::Conditions;

/// One experiment's part of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What was asked.
    pub question: &'static str,
    /// What was expected, written down before the first run.
    pub prediction: &'static str,
    /// How it was measured.
    pub method: String,
    /// The figures as the page shows them.
    pub tables: Vec<Table>,
    /// Every ratio with its samples, for the JSON file and the surprises.
    pub comparisons: Vec<Comparison>,
    /// What the store is held to in this.
    pub goals: Vec<Goal>,
    /// What it shows, in a sentence.
    pub finding: String,
    /// What ran beside it.
    pub conditions: Conditions,
}

/// A table of the page.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// A line above it.
    pub caption: String,
    /// Its heading row.
    pub columns: Vec<String>,
    /// Its rows, each as long as the heading.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of comparisons: the case, both sides, their ratio and what was predicted.
    pub fn versus(
        caption: impl Into<String>,
        left: &str,
        right: &str,
        comparisons: &[Comparison],
    ) -> Self {
        let columns = ["case", left, right, "ratio (spread)", "predicted"]
            .map(String::from)
            .to_vec();
        let row = |c: &Comparison| {
            vec![
                c.case.clone(),
                c.left_shown(),
                c.right_shown(),
                c.ratio.to_string(),
                c.predicted.to_string(),
            ]
        };
        Self {
            caption: caption.into(),
            columns,
            rows: comparisons.iter().map(row).collect(),
        }
    }

    /// A table of ratios alone, for what another table shows in absolute figures.
    pub fn ratios(caption: impl Into<String>, comparisons: &[Comparison]) -> Self {
        let columns = ["case", "ratio of", "ratio (spread)", "predicted"]
            .map(String::from)
            .to_vec();
        let row = |c: &Comparison| {
            vec![
                c.case.clone(),
                c.ratio_of.clone(),
                c.ratio.to_string(),
                c.predicted.to_string(),
            ]
        };
        Self {
            caption: caption.into(),
            columns,
            rows: comparisons.iter().map(row).collect(),
        }
    }
}
