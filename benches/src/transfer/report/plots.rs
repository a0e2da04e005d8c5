//! The figures of the page.

use foliomq_benches::figures::{self, Spread};
use foliomq_benches::plot::{Axis, Figure, Lines, Point, Series, tick};

use crate::network;
use crate::results::{Cell, Results};
use crate::run::Sample;
use crate::source::Pattern;
use crate::ways;

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
            Figure::new(title, &subtitle).colours(names()),
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

/// The median over the size, a panel for each network.
fn latency(results: &Results) -> Figure {
    let subtitle = format!(
        "median of {} rounds' medians, whiskers from the lowest to the highest, from when a message was due to when the consumer had it",
        results.plan.rounds
    );
    let figure = Figure::new("Latency of single messages", subtitle).colours(names());
    results
        .networks()
        .into_iter()
        .fold(figure, |figure, network| {
            let series = results
                .ways(Pattern::Scattered)
                .into_iter()
                .filter(|way| way.fits_alone())
                .map(|way| {
                    let here = results
                        .paced
                        .iter()
                        .filter(|p| (p.place.network, p.place.way) == (network, way));
                    Series::new(
                        way.name(),
                        here.map(|p| Point {
                            x: p.place.size as f64,
                            y: micros(p.p50),
                        })
                        .collect(),
                    )
                });
            figure.panel(Lines {
                title: network.name().to_owned(),
                x: Axis::log("bytes of a message", |size| figures::bytes(size as u64)),
                y: Axis::log("µs", tick),
                series: series.collect(),
            })
        })
}

fn micros(nanoseconds: Spread) -> Spread {
    let Spread { median, low, high } = nanoseconds;
    Spread {
        median: median / 1e3,
        low: low / 1e3,
        high: high / 1e3,
    }
}

/// A way has the same colour in every figure.
fn names() -> [&'static str; 9] {
    ways::Kind::ALL.map(ways::Kind::name)
}
