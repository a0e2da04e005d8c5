//! The figures of the page.

use foliomq_benches::figures::{self, Spread};
use foliomq_benches::plot::{Axis, Bars, Figure, Group, Lines, Point, Series, tick};

use crate::network;
use crate::results::{Cell, Paced, Results};
use crate::run::Sample;
use crate::source::Pattern;

/// Each with its file name.
pub fn all(results: &Results) -> Vec<(String, Figure)> {
    let subtitle = format!(
        "median of {} rounds, whiskers from the lowest to the highest; both axes logarithmic",
        results.plan.rounds
    );
    let throughput = Curve {
        label: "MB/s",
        value: |cell| cell.spread(|sample| sample.throughput() / 1e6),
    };
    let cost = Curve {
        label: "CPU s per GB, both ends",
        value: |cell| cell.spread(Sample::cost),
    };
    let calls = Curve {
        label: "system calls per message",
        value: |cell| Spread::of(&[cell.calls()]),
    };
    let figure = |title: &str, patterns: &[Pattern], curve: &Curve| {
        let panels = results
            .networks()
            .into_iter()
            .flat_map(|network| patterns.iter().map(move |p| (network, *p)));
        let panels = panels.filter(|(network, pattern)| network.carries(*pattern));
        panels.fold(
            Figure::new(title, &subtitle),
            |figure, (network, pattern)| figure.panel(curve.panel(results, network, pattern)),
        )
    };
    let (scattered, bulk) = ([Pattern::Scattered], [Pattern::Bulk, Pattern::Polled]);
    let mut all = vec![
        (
            "throughput-scattered",
            figure(
                "Throughput, messages scattered in the log",
                &scattered,
                &throughput,
            ),
        ),
        (
            "throughput-bulk",
            figure("Throughput, segments in bulk", &bulk, &throughput),
        ),
        (
            "cpu-scattered",
            figure(
                "Processor time, messages scattered in the log",
                &scattered,
                &cost,
            ),
        ),
        (
            "cpu-bulk",
            figure("Processor time, segments in bulk", &bulk[..1], &cost),
        ),
        (
            "calls",
            figure(
                "System calls of the sender, messages scattered in the log",
                &scattered,
                &calls,
            ),
        ),
    ];
    all.push(("latency", latency(results)));
    all.into_iter()
        .map(|(name, figure)| (format!("transfer-{name}.svg"), figure))
        .collect()
}

/// What is drawn over the size.
struct Curve {
    label: &'static str,
    value: fn(&Cell) -> Spread,
}

impl Curve {
    fn panel(&self, results: &Results, network: network::Kind, pattern: Pattern) -> Lines {
        let points = |way| {
            let cells = results.cells.iter().filter(move |cell| {
                let place = cell.place;
                (place.network, place.pattern, place.way) == (network, pattern, way)
            });
            cells
                .map(|cell| Point {
                    x: cell.place.size as f64,
                    y: (self.value)(cell),
                })
                .collect()
        };
        let ways = results
            .ways(Pattern::Scattered)
            .into_iter()
            .filter(|way| way.fits(pattern));
        let what = if pattern == Pattern::Scattered {
            "bytes of a message"
        } else {
            "bytes handed over at once"
        };
        Lines {
            title: match pattern {
                Pattern::Polled => format!("{}, consumer never sleeps", network.name()),
                _ => network.name().to_owned(),
            },
            x: Axis::log(what, |size| figures::bytes(size as u64)),
            y: Axis::log(self.label, tick),
            series: ways
                .map(|way| Series::new(way.name(), points(way)))
                .collect(),
        }
    }
}

/// The median of each size, a panel for each network.
fn latency(results: &Results) -> Figure {
    let subtitle = format!(
        "median, µs, from when a message was due to when the consumer had it; {} rounds",
        results.plan.rounds
    );
    results.networks().into_iter().fold(
        Figure::new("Latency of single messages", subtitle),
        |figure, network| {
            let here: Vec<&Paced> = results
                .paced
                .iter()
                .filter(|paced| paced.place.network == network)
                .collect();
            let ways: Vec<_> = results
                .ways(Pattern::Scattered)
                .into_iter()
                .filter(|way| way.fits_alone())
                .collect();
            let micros = |spread: Spread| Spread {
                median: spread.median / 1e3,
                low: spread.low / 1e3,
                high: spread.high / 1e3,
            };
            let group = |&size: &usize| Group {
                name: figures::bytes(size as u64),
                bars: ways
                    .iter()
                    .map(|way| {
                        here.iter()
                            .find(|paced| (paced.place.size, paced.place.way) == (size, *way))
                    })
                    .map(|paced| paced.map(|paced| micros(paced.p50)))
                    .collect(),
            };
            figure.panel(Bars {
                title: network.name().to_owned(),
                y: Axis::linear("µs", tick),
                series: ways.iter().map(|way| way.name().to_owned()).collect(),
                groups: results.plan.paced_sizes.iter().map(group).collect(),
            })
        },
    )
}
