//! The figure `docs/benchmarks/crates.svg`.

use foliomq_benches::figures::{self, Spread};
use foliomq_benches::plot::{Axis, Bars, Figure, Group, tick};

use crate::peer::{Flush, Name};
use crate::results::{Results, Row, Work};

impl Results {
    /// Appends and reads, by size, a bar for each system.
    pub fn figure(&self) -> Figure {
        let subtitle = format!(
            "messages per second, median and spread of {} rounds",
            self.plan.rounds
        );
        Figure::new("FolioMQ and other crates", subtitle)
            .panel(self.panel(
                "append one at a time, nothing flushed",
                Work::Append,
                Flush::Never,
                1,
            ))
            .panel(self.panel(
                "append batches of 100, nothing flushed",
                Work::Append,
                Flush::Never,
                100,
            ))
            .panel(self.panel(
                "append one at a time, each flushed",
                Work::Append,
                Flush::Each,
                1,
            ))
            .panel(self.panel(
                "append batches of 100, each flushed",
                Work::Append,
                Flush::Each,
                100,
            ))
            .panel(self.panel("sequential read, warm", Work::Read, Flush::Never, 100))
    }

    fn panel(&self, title: &str, work: Work, flush: Flush, batch: usize) -> Bars {
        let fits =
            |row: &&Row| row.work == work && row.case.flush == flush && row.case.batch == batch;
        let group = |row: &Row| Group {
            name: figures::bytes(row.case.body as u64),
            bars: Name::ALL
                .iter()
                .map(|name| row.spread(*name))
                .collect::<Vec<Option<Spread>>>(),
        };
        Bars {
            title: title.to_owned(),
            y: Axis::log("messages per second", tick),
            series: Name::ALL
                .iter()
                .map(|name| name.title().to_owned())
                .collect(),
            groups: self.rows.iter().filter(fits).map(group).collect(),
        }
    }
}
