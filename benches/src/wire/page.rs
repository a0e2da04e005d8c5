//! The page, and the JSON file: two views of the same.

use std::fmt::Write as _;

use foliomq_benches::figures::{count, significant};
use foliomq_benches::goal::{self, Goal};
use foliomq_benches::machine::Machine;
use foliomq_benches::quiet::Conditions;
use foliomq_benches::report::{write_part, write_rows, write_table};
use foliomq_benches::section::Table;
use serde::Serialize;

use crate::measure::{Sample, median, rate};
use crate::peers;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Section {
    pub number: u8,
    pub title: &'static str,
    /// How it was measured, and what it shows.
    pub text: String,
    pub tables: Vec<Table>,
    pub goals: Vec<Goal>,
    /// Every sample.
    pub samples: Vec<Sample>,
    /// Every sample of other servers and ours beside them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<peers::Row>,
}

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub struct Page {
    pub title: &'static str,
    pub command: String,
    pub machine: Machine,
    pub placement: String,
    pub settings: String,
    pub beside: Conditions,
    pub sections: Vec<Section>,
    pub took: f64,
}

const INTRODUCTION: &str = "\
What the broker does on the wire, beside a bare tonic server that decodes the same requests and answers in the same shape \
with nothing behind it: the floor. Both are measured in the same run, in turn; a ratio is taken within each round, and the \
tables show medians. The load generator speaks HTTP/2 frames itself and encodes its requests once; the cores that it kept \
busy stand beside those of the server, so that one can see which of the two was the limit.";

impl Page {
    /// The table of figures alone.
    pub fn held_to(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = write_table(&mut page, &self.goals());
        page
    }

    pub fn markdown(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut page);
        page
    }

    fn goals(&self) -> Table {
        let goals: Vec<Goal> = self
            .sections
            .iter()
            .flat_map(|section| section.goals.clone())
            .collect();
        let mut table = goal::table(&goals);
        "What the wire is held to. The machine's own figure is that of the bare tonic server, or of the disk; in figure 2 that of `write(2)` of the same \
         bytes into a new file."
            .clone_into(&mut table.caption);
        table
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        writeln!(
            page,
            "# {}\n\nThis page is written by the program: `{}`.\n\n{INTRODUCTION}\n",
            self.title, self.command
        )?;
        let mut rows = self.machine.rows();
        rows.push(("placement", self.placement.clone()));
        rows.push(("the broker's settings", self.settings.clone()));
        let beside = &self.beside;
        rows.push(("beside it", format!(
            "others kept {:.2} of {} cores busy, servers included; load average {} before, {} after",
            beside.others, beside.cores, beside.load_before, beside.load_after
        )));
        rows.push(("took", format!("{:.0} s", self.took)));
        write_rows(page, &rows)?;
        write_table(page, &self.goals())?;
        for section in &self.sections {
            let title = (section.number, section.title);
            write_part(page, title, &section.text, &section.tables)?;
        }
        Ok(())
    }
}

/// One row for each case: rate, latency and processors.
pub fn rates(caption: impl Into<String>, cases: &[(String, &[Sample])]) -> Table {
    let row = |(name, samples): &(String, &[Sample])| {
        let (p50, p99) = (
            median(samples, |sample| sample.report.latency.p50),
            median(samples, |sample| sample.report.latency.p99),
        );
        vec![
            name.clone(),
            format!("{} /s", count(median(samples, rate))),
            significant(median(samples, |sample| sample.report.megabytes)),
            format!("{p50:.0} / {p99:.0} us"),
            significant(median(samples, |sample| sample.server_cores)),
            significant(median(samples, |sample| sample.generator_cores)),
            significant(median(samples, Sample::seconds_per_gigabyte)),
        ]
    };
    let columns = [
        "case",
        "messages",
        "MB/s",
        "p50 / p99",
        "server cores",
        "generator cores",
        "server s per GB",
    ];
    Table {
        caption: caption.into(),
        columns: columns.map(String::from).to_vec(),
        rows: cases.iter().map(row).collect(),
    }
}
