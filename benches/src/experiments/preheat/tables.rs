//! The figures of the preheat experiment as tables and ratios.

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{LONGEST, MODES, Pace, Run};
use crate::experiments::ratio;
use crate::figures::{Comparison, Spread, Unit, count, nanoseconds};
use crate::goal::Goal;
use crate::section::Table;

/// The percentiles of the report; the last is the largest of all.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

const COSTS: [&str; 6] = [
    "preheat",
    "appends /s",
    "faults in the appender",
    "faults in the store's threads",
    "processor time of preparing",
    "of the rest",
];

/// Percentiles over all rounds of a pace.
pub(super) fn latency_table(pace: Pace, runs: &[Vec<Run>]) -> Result<Table> {
    let mut rows = Vec::new();
    for ((mode, _), runs) in MODES.iter().zip(runs) {
        let mut all = Histogram::<u64>::new_with_bounds(1, LONGEST, 3)?;
        for run in runs {
            all.add(&run.latencies)?;
        }
        let mut row = vec![(*mode).to_owned()];
        row.extend(
            QUANTILES.map(|(_, quantile)| nanoseconds(all.value_at_quantile(quantile) as f64)),
        );
        row.push(count(all.len() as f64));
        rows.push(row);
    }
    let mut columns = vec!["preheat".to_owned()];
    columns.extend(QUANTILES.map(|(name, _)| name.to_owned()));
    columns.push("appends".to_owned());
    Ok(Table {
        caption: format!(
            "Latency of an append, {}, all rounds together:",
            pace.title()
        ),
        columns,
        rows,
    })
}

/// Rates, faults and processor time of a run of each mode.
pub(super) fn cost_table(pace: Pace, runs: &[Vec<Run>]) -> Table {
    let row = |(mode, runs): (&str, &[Run])| {
        let median = |figure: &dyn Fn(&Run) -> f64| {
            Spread::of(&runs.iter().map(figure).collect::<Vec<_>>()).median
        };
        vec![
            mode.to_owned(),
            count(median(&|run| {
                run.latencies.len() as f64 / run.took.as_secs_f64()
            })),
            count(median(&|run| run.appender_faults as f64)),
            count(median(&|run| run.background.faults as f64)),
            nanoseconds(median(&|run| run.background.preparing.as_nanos() as f64)),
            nanoseconds(median(&|run| run.background.rest.as_nanos() as f64)),
        ]
    };
    Table {
        caption: format!("What it cost, {}, median of a run:", pace.title()),
        columns: COSTS.map(String::from).to_vec(),
        rows: MODES
            .iter()
            .zip(runs)
            .map(|((mode, _), runs)| row((mode, runs)))
            .collect(),
    }
}

/// Ratios of the percentiles, round by round.
pub(super) fn compare(pace: Pace, runs: &[Vec<Run>]) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (name, quantile) in QUANTILES {
        let [window, off, segment] = [0, 1, 2].map(|mode: usize| -> Vec<f64> {
            runs[mode]
                .iter()
                .map(|run| run.latencies.value_at_quantile(quantile) as f64)
                .collect()
        });
        let case = format!("{}, {name}", pace.title());
        let without = match name {
            "p50" => (0.8, 1.5),
            "p99" | "p99.9" => (1.0, 50.0),
            _ => (3.0, 1000.0),
        };
        let unit = Unit::Nanoseconds;
        comparisons.push(Comparison::new(
            &case,
            "off / window",
            unit,
            (off, window.clone()),
            without,
        ));
        comparisons.push(Comparison::new(
            &case,
            "segment / window",
            unit,
            (segment, window),
            (0.3, 3.0),
        ));
    }
    comparisons
}

/// What the store is held to, by the runs with the window.
pub(super) fn goals(pace: Pace, runs: &[Run], idle: &Histogram<u64>) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (name, quantile, most) in [("p99.99", 0.9999, 20.0), ("max", 1.0, 2000.0)] {
        let microseconds = |run: &Run| run.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let worst = runs.iter().map(microseconds).reduce(f64::max);
        let what = format!("append latency, {}: {name}", pace.title());
        let own = idle.value_at_quantile(quantile) as f64 / 1e3;
        goals.push(Goal::at_most(2, what, worst, "µs", most).with_floor(own));
    }
    goals
}

/// What it shows.
pub(super) fn finding(open: Pace, comparisons: &[Comparison]) -> String {
    let of = |pace: Pace, quantile: &str, sides: &str| {
        ratio(comparisons, &format!("{}, {quantile}", pace.title()), sides)
    };
    format!(
        "Without preheating, p99.99 is {} that of the window in the open loop and {} at full speed; the largest {} and \
         {}. With the whole segment preheated p99.99 is {} and {}.",
        of(open, "p99.99", "off / window"),
        of(Pace::Full, "p99.99", "off / window"),
        of(open, "max", "off / window"),
        of(Pace::Full, "max", "off / window"),
        of(open, "p99.99", "segment / window"),
        of(Pace::Full, "p99.99", "segment / window"),
    )
}
