//! The figures of the page.

use foliomq_benches::figures::{Spread, bytes};
use foliomq_benches::plot::{Axis, Bars, Figure, Group, Lines, Point, Series, tick};

use crate::plan::{Condition, Order};
use crate::results::{Results, Row};
use crate::ways::Way;

/// The size that conditions are compared at.
const BODY: usize = 1 << 10;

impl Results {
    /// Name and content of every figure.
    pub fn figures(&self) -> [(&'static str, Figure); 3] {
        [
            ("read-ratio.svg", self.ratios()),
            ("read-sizes.svg", self.sizes()),
            ("read-conditions.svg", self.conditions()),
        ]
    }

    /// How many times as fast as a `pread` per message, by size.
    fn ratios(&self) -> Figure {
        let figure = Figure::new(
            "By reference, against one pread per message",
            "times as fast, warm, one thread",
        );
        [Order::Sequential, Order::Random, Order::Scattered]
            .into_iter()
            .fold(figure, |figure, order| {
                let ways = [
                    (Way::Mapped, "mapped, cursor"),
                    (Way::Shares, "mapped, read_many"),
                    (Way::Memory, "bare memory"),
                ];
                let series = ways
                    .map(|(way, name)| self.line(name, order, |row| row.ratio(way, Way::Pread)));
                figure.panel(Lines {
                    title: order.title().to_owned(),
                    x: size_axis(),
                    y: Axis::log("times a bare pread", tick),
                    series: series.into(),
                })
            })
    }

    /// Gigabytes per second by size.
    fn sizes(&self) -> Figure {
        let figure = Figure::new(
            "Reading, by size of the body",
            "body bytes per second, warm, one thread",
        );
        Order::ALL.into_iter().fold(figure, |figure, order| {
            let ways = Way::ALL.into_iter().filter(|way| way.can(order));
            let bytes = |row: &Row, way| {
                row.rate(way)
                    .map(|rate| scaled(rate, row.case.body as f64 / 1e9))
            };
            let series = ways.map(|way| self.line(way.title(), order, |row| bytes(row, way)));
            figure.panel(Lines {
                title: order.title().to_owned(),
                x: size_axis(),
                y: Axis::log("GB/s", tick),
                series: series.collect(),
            })
        })
    }

    /// Messages per second by condition.
    fn conditions(&self) -> Figure {
        let figure = Figure::new(
            "Reading, by condition",
            format!("messages per second, bodies of {}", bytes(BODY as u64)),
        );
        Order::ALL.into_iter().fold(figure, |figure, order| {
            let ways: Vec<Way> = Way::ALL
                .into_iter()
                .filter(|way| way.can(order) && *way != Way::Memory)
                .collect();
            let group = |condition: Condition| {
                let row = self.row(BODY, order, condition)?;
                Some(Group {
                    name: short(condition).to_owned(),
                    bars: ways.iter().map(|way| row.rate(*way)).collect(),
                })
            };
            figure.panel(Bars {
                title: order.title().to_owned(),
                y: Axis::log("messages per second", tick),
                series: ways.iter().map(|way| way.title().to_owned()).collect(),
                groups: Condition::ALL.into_iter().filter_map(group).collect(),
            })
        })
    }

    fn line(&self, name: &str, order: Order, y: impl Fn(&Row) -> Option<Spread>) -> Series {
        let point = |body: &usize| {
            let row = self.row(*body, order, Condition::Warm)?;
            Some(Point {
                x: *body as f64,
                y: y(row)?,
            })
        };
        Series::new(name, self.plan.bodies.iter().filter_map(point).collect())
    }
}

fn size_axis() -> Axis {
    Axis::log("body", |body| bytes(body as u64))
}

fn scaled(spread: Spread, by: f64) -> Spread {
    Spread {
        median: spread.median * by,
        low: spread.low * by,
        high: spread.high * by,
    }
}

fn short(condition: Condition) -> &'static str {
    match condition {
        Condition::Warm => "warm",
        Condition::TwoThreads => "2 threads",
        Condition::Writer => "writer",
        Condition::Cold => "cold",
        Condition::Pressure => "half memory",
    }
}
