//! What was measured, as a figure.

use foliomq_load::plot::{Axis, Bars, Figure, Group, tick};
use foliomq_load::spread::Spread;
use foliomq_load::{Latency, Report};

use super::reports;
use super::side::{Outcome, Side};

/// Latencies by their share where there are any, and the rate.
pub fn figure(sides: &[Side], outcomes: &[Vec<Outcome>]) -> Figure {
    let series: Vec<String> = sides.iter().map(name).collect();
    let spread = |of: &dyn Fn(&Report) -> f64| {
        let side = |outcomes: &Vec<Outcome>| {
            let samples: Vec<f64> = reports(outcomes).map(of).collect();
            Some(Spread::of(&samples)).filter(|spread| spread.median > 0.0)
        };
        outcomes.iter().map(side).collect::<Vec<_>>()
    };
    let rate = Bars {
        title: "Rate".to_owned(),
        y: Axis::linear("messages per second", tick),
        series: series.clone(),
        groups: vec![Group {
            name: "messages".to_owned(),
            bars: spread(&|report| report.rate),
        }],
    };
    let figure =
        Figure::new("foliomq bench", "median of the rounds, lowest to highest").panel(rate);
    let shares = Latency::default().quantiles().map(|(name, _)| name);
    let groups = shares.iter().enumerate().map(|(index, name)| Group {
        name: (*name).to_owned(),
        bars: spread(&|report| report.latency.quantiles()[index].1),
    });
    let latency = Bars {
        title: "Latency, by the share of messages that took no longer".to_owned(),
        y: Axis::log("microseconds", tick),
        series,
        groups: groups.collect(),
    };
    let mut all = outcomes.iter().flat_map(|outcomes| reports(outcomes));
    match all.any(|report| report.latency.count > 0) {
        true => figure.panel(latency),
        false => figure,
    }
}

fn name(side: &Side) -> String {
    match &side.change {
        Some(change) => format!("{}: {change}", side.name),
        None => side.name.to_owned(),
    }
}
