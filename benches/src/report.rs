//! The page `docs/benchmarks.md`, written from the figures.

use std::fmt::Write as _;

use serde::Serialize;

use crate::goal::{self, Goal};
use crate::machine::Machine;
use crate::scale::Scale;
use crate::section::{Section, Table};

/// Everything that a run found: the page and the JSON file are two views of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The command that produced it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// How much was measured.
    pub scale: Scale,
    /// One for each experiment.
    pub sections: Vec<Section>,
    /// Goals that other programs have measured in the same run of everything.
    pub goals: Vec<Goal>,
    /// Seconds that all of it took.
    pub took: f64,
}

const INTRODUCTION: &str = "\
Two things are measured side by side in one run: in turn, over several rounds, in an order that turns with each round \
(A B, then B A), after a round that is not counted. A ratio is taken within each round; the tables give the median of \
these ratios and, in parentheses, the lowest and the highest. No sample is dropped. Absolute figures are medians and \
belong to this machine and this hour; the ratios are what carries over. What was expected was written down before the \
first run (an exception says so), and a median outside of it is listed as a surprise.";

impl Report {
    /// The table of goals alone.
    pub fn held_to(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = write_table(&mut page, &goal::table(&self.goals()));
        page
    }

    /// The page.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "# Benchmarks\n")?;
        writeln!(
            page,
            "This page is written by the program: `{}`.\n\n{INTRODUCTION}\n",
            self.command
        )?;
        self.write_machine(page)?;
        writeln!(page, "## In short\n")?;
        for section in &self.sections {
            writeln!(page, "- **{}.** {}", section.title, section.finding)?;
        }
        for section in &self.sections {
            write_section(page, section)?;
        }
        writeln!(page, "## Held to\n")?;
        write_table(page, &goal::table(&self.goals()))
    }

    /// Of all sections.
    fn goals(&self) -> Vec<Goal> {
        let sections = self.sections.iter().flat_map(|section| &section.goals);
        sections.chain(&self.goals).cloned().collect()
    }

    fn write_machine(&self, page: &mut String) -> std::fmt::Result {
        let m = &self.machine;
        let mut rows = m.rows();
        let scale = &self.scale;
        rows.push((
            "scale",
            format!(
                "{}, {} rounds, {:.0} s in all",
                scale.name, scale.rounds, self.took
            ),
        ));
        write_rows(page, &rows)?;
        if m.in_memory() {
            writeln!(
                page,
                "**The stores were in memory: what is said here about flushes means nothing.**\n"
            )?;
        }
        Ok(())
    }
}

fn write_section(page: &mut String, section: &Section) -> std::fmt::Result {
    let Section {
        title,
        question,
        prediction,
        method,
        finding,
        ..
    } = section;
    writeln!(page, "\n## {title}\n")?;
    writeln!(page, "**Asked.** {question}\n")?;
    writeln!(page, "**Expected.** {prediction}\n")?;
    writeln!(page, "**Measured.** {method}\n")?;
    for table in &section.tables {
        write_table(page, table)?;
    }
    writeln!(page, "**Shown.** {finding}\n")?;
    write_surprises(page, section)?;
    write_conditions(page, section)
}

/// Adds a table of names and what belongs to each, without a heading.
pub fn write_rows(page: &mut String, rows: &[(&str, String)]) -> std::fmt::Result {
    writeln!(page, "| | |\n|---|---|")?;
    for (name, value) in rows {
        writeln!(page, "| {name} | {value} |")?;
    }
    writeln!(page)
}

/// Adds a part of a page: its number and title, a text, and tables.
pub fn write_part(
    page: &mut String,
    (number, title): (u8, &str),
    text: &str,
    tables: &[Table],
) -> std::fmt::Result {
    writeln!(page, "## {number}. {title}\n\n{text}\n")?;
    tables.iter().try_for_each(|table| write_table(page, table))
}

/// Writes a table with the line above it.
pub fn write_table(page: &mut String, table: &Table) -> std::fmt::Result {
    writeln!(page, "{}\n", table.caption)?;
    writeln!(page, "| {} |", table.columns.join(" | "))?;
    writeln!(page, "|{}", "---|".repeat(table.columns.len()))?;
    for row in &table.rows {
        writeln!(page, "| {} |", row.join(" | "))?;
    }
    writeln!(page)
}

fn write_surprises(page: &mut String, section: &Section) -> std::fmt::Result {
    let surprises: Vec<String> = section
        .comparisons
        .iter()
        .filter_map(|c| c.surprise())
        .collect();
    if surprises.is_empty() {
        return writeln!(
            page,
            "**Surprises.** None: every median lies within the prediction.\n"
        );
    }
    writeln!(
        page,
        "**Surprises.** {} of {} medians:\n",
        surprises.len(),
        section.comparisons.len()
    )?;
    for surprise in surprises {
        writeln!(page, "- {surprise}")?;
    }
    writeln!(page)
}

fn write_conditions(page: &mut String, section: &Section) -> std::fmt::Result {
    let c = &section.conditions;
    write!(
        page,
        "**Beside it.** Load average before {}, after {}; others and the kernel kept {:.2} of {} cores busy; {:.0} s, \
         after a wait of {:.0} s for a quiet machine.",
        c.load_before, c.load_after, c.others, c.cores, c.took, c.waited
    )?;
    match c.disturbed() {
        true => writeln!(page, " **Not quiet: take the spread, not the median.**"),
        false => writeln!(page),
    }
}
