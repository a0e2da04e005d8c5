//! The page, and the JSON file: two views of the same.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use foliomq_benches::goal::{self, Goal};
use foliomq_benches::machine::Machine;
use foliomq_benches::quiet::Conditions;
use foliomq_benches::report::{write_part, write_rows, write_table};
use foliomq_benches::section::Table;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scale::Scale;

/// One part of a figure.
#[derive(Debug, Serialize)]
pub struct Section {
    pub number: u8,
    pub title: &'static str,
    /// How it was measured.
    pub text: String,
    pub tables: Vec<Table>,
    pub goals: Vec<Goal>,
    /// What was measured, as it came.
    pub figures: Value,
}

/// What `make bench-lite` has written: figure 6.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lite {
    /// How it was measured.
    text: String,
    /// Number, what, measured, target, met or short.
    rows: Vec<[String; 5]>,
}

impl Lite {
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} has an unknown form", file.display()))
    }
}

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub struct Page {
    pub command: String,
    pub machine: Machine,
    pub build: &'static str,
    pub settings: String,
    pub scale: Scale,
    /// Whether the sizes are those of the targets.
    pub is_full: bool,
    pub beside: Conditions,
    pub sections: Vec<Section>,
    pub lite: Option<Lite>,
    pub took: f64,
}

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
        let goals = self
            .sections
            .iter()
            .flat_map(|section| section.goals.clone());
        let mut table = goal::table(&goals.collect::<Vec<_>>());
        // Nothing here has a figure of the machine's own.
        table.columns.truncate(5);
        table.rows.iter_mut().for_each(|row| row.truncate(5));
        let lite = self.lite.iter().flat_map(|lite| &lite.rows);
        table.rows.extend(lite.map(|row| row.to_vec()));
        table.caption = "What delivery is held to.".to_owned();
        if !self.is_full {
            table.caption += " **The counts are smaller than those of the targets.**";
        }
        table
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        writeln!(
            page,
            "# Delivery\n\nThis page is written by the program: `{}`.\n\nDelayed messages, acks and leases, measured where they live: in the \
             library, without a network, but where a section says otherwise. Ratios are of two things that were measured in turn, in one run; \
             tables show medians.\n",
            self.command
        )?;
        let mut rows = self.machine.rows();
        rows.push(("build", self.build.to_owned()));
        rows.push(("settings", self.settings.clone()));
        let beside = &self.beside;
        rows.push((
            "beside it",
            format!(
                "others kept {:.2} of {} cores busy{}; load average {} before, {} after",
                beside.others,
                beside.cores,
                if beside.disturbed() {
                    ": the machine was shared"
                } else {
                    ""
                },
                beside.load_before,
                beside.load_after
            ),
        ));
        rows.push(("took", format!("{:.0} s", self.took)));
        write_rows(page, &rows)?;
        write_table(page, &self.goals())?;
        for section in &self.sections {
            let title = (section.number, section.title);
            write_part(page, title, &section.text, &section.tables)?;
        }
        if let Some(lite) = &self.lite {
            writeln!(
                page,
                "## 6. Lite topics\n\n{} More of it: [lite.md](lite.md).",
                lite.text
            )?;
        }
        Ok(())
    }
}
