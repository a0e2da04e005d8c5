//! All figures, for those who want to look for themselves.

use foliomq_benches::figures::{self, significant};

use crate::network;
use crate::results::{Cell, Place, Results};
use crate::run::Sample;
use crate::source::Pattern;

use super::details;
use super::table::{Table, bold};

/// The section.
pub fn section(results: &Results) -> String {
    let mut text = "## All figures\n\nMedians; the best of a row is bold. Every round is in [transfer.json](transfer.json).\n\n\
                    ![System calls per message](transfer-calls.svg)\n\n"
        .to_owned();
    for network in results.networks() {
        for pattern in Pattern::ALL
            .into_iter()
            .filter(|pattern| network.carries(*pattern))
        {
            let title = format!("{}, {}", network.name(), pattern.name());
            text += &details(&title, &tables(results, network, pattern));
        }
    }
    text
}

fn tables(results: &Results, network: network::Kind, pattern: Pattern) -> String {
    let mut text = String::new();
    for figure in &FIGURES {
        if pattern == Pattern::Polled && figure.of_both_ends {
            continue;
        }
        text += &format!(
            "{}:\n\n{}",
            figure.title,
            figure.table(results, network, pattern)
        );
    }
    text
}

/// One kind of figure.
struct Figure {
    title: &'static str,
    value: fn(&Cell) -> f64,
    show: fn(f64) -> String,
    best: fn(f64, f64) -> bool,
    of_both_ends: bool,
}

const FIGURES: [Figure; 6] = [
    Figure {
        title: "MB/s",
        value: |cell| cell.spread(|sample| sample.throughput() / 1e6).median,
        show: significant,
        best: |a, b| a > b,
        of_both_ends: false,
    },
    Figure {
        title: "Messages (or pieces) per second",
        value: |cell| {
            cell.spread(|sample| sample.pieces as f64 / sample.seconds)
                .median
        },
        show: figures::count,
        best: |a, b| a > b,
        of_both_ends: false,
    },
    Figure {
        title: "CPU s/GB, sender",
        value: |cell| cell.spread(Sample::sender_cost).median,
        show: significant,
        best: |a, b| a < b,
        of_both_ends: false,
    },
    Figure {
        title: "CPU s/GB, both ends",
        value: |cell| cell.spread(Sample::cost).median,
        show: significant,
        best: |a, b| a < b,
        of_both_ends: true,
    },
    Figure {
        title: "System calls of the sender per message",
        value: Cell::calls,
        show: |calls| format!("{}", (calls * 1e3).round() / 1e3),
        best: |a, b| a < b,
        of_both_ends: false,
    },
    Figure {
        title: "Packets sent again, all rounds",
        value: |cell| cell.rounds.iter().map(|round| round.again as f64).sum(),
        show: |count| format!("{count}"),
        best: |_, _| false,
        of_both_ends: false,
    },
];

impl Figure {
    fn table(&self, results: &Results, network: network::Kind, pattern: Pattern) -> String {
        let ways: Vec<_> = results
            .ways(Pattern::Scattered)
            .into_iter()
            .filter(|way| way.fits(pattern))
            .collect();
        let columns = std::iter::once("size").chain(ways.iter().map(|way| way.name()));
        let mut table = Table::new(columns);
        for &size in &results.plan.sizes {
            let values: Vec<Option<f64>> = ways
                .iter()
                .map(|&way| {
                    results
                        .cell(Place {
                            network,
                            pattern,
                            size,
                            way,
                        })
                        .map(self.value)
                })
                .collect();
            let is_best = |value: f64| {
                !values
                    .iter()
                    .flatten()
                    .any(|other| (self.best)(*other, value))
            };
            let choice = values
                .iter()
                .flatten()
                .any(|a| values.iter().flatten().any(|b| (self.best)(*a, *b)));
            let show = |value: &Option<f64>| {
                value.map_or("–".into(), |value| {
                    bold((self.show)(value), choice && is_best(value))
                })
            };
            table.row(std::iter::once(figures::bytes(size as u64)).chain(values.iter().map(show)));
        }
        table.markdown()
    }
}
