//! The table: for each mode and fault, what was promised and what was lost.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::take::{Cut, Take};

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When the store acknowledges.
    pub mode: String,
    /// How it writes.
    pub writer: String,
    /// What happened to it.
    pub fault: String,
    /// Whether the fault was planted in the rig itself, which must find it.
    pub planted: bool,
    /// How often.
    pub images: u64,
    /// Messages that must not be lost, over all images.
    pub promised: u64,
    /// Messages that were.
    pub lost: u64,
    /// Images where something else was wrong: a hole, a store that does not open, a topic that is gone.
    pub unsound: u64,
}

impl Line {
    /// Whether it is as it must be: nothing lost, or, of a planted fault, something.
    pub fn good(&self) -> bool {
        (self.lost == 0 && self.unsound == 0) != self.planted
    }

    /// The line of one recording.
    pub fn of(take: &Take, cuts: &[Cut]) -> Self {
        let sum = |count: fn(&Cut) -> u64| cuts.iter().map(count).sum();
        Self {
            mode: take.mode.name().to_owned(),
            // Each life has its own.
            writer: "both".to_owned(),
            fault: match &take.without {
                Some(flush) => format!("without {flush}"),
                None => take.fault.name().to_owned(),
            },
            planted: take.planted(),
            images: cuts.len() as u64,
            promised: sum(|cut| cut.outcome.promised),
            lost: sum(|cut| cut.outcome.lost),
            unsound: sum(|cut| u64::from(!cut.outcome.problems.is_empty())),
        }
    }
}

/// All lines.
#[derive(Debug, Default)]
pub struct Table(Vec<Line>);

impl Table {
    /// Adds to the line of the same mode and fault.
    pub fn add(&mut self, line: Line) {
        let same = |known: &&mut Line| {
            (&known.mode, &known.writer, &known.fault) == (&line.mode, &line.writer, &line.fault)
        };
        match self.0.iter_mut().find(same) {
            None => self.0.push(line),
            Some(known) => {
                known.images += line.images;
                known.promised += line.promised;
                known.lost += line.lost;
                known.unsound += line.unsound;
            }
        }
    }

    /// Whether every line is as it must be.
    pub fn good(&self) -> bool {
        self.0.iter().all(Line::good)
    }

    /// For people.
    pub fn print(&self) {
        row([
            "mode", "writer", "fault", "images", "promised", "lost", "unsound", "",
        ]);
        for line in &self.0 {
            let counts = [line.images, line.promised, line.lost, line.unsound];
            let [images, promised, lost, unsound] = counts.map(|count| count.to_string());
            let verdict = match (line.planted, line.good()) {
                (true, true) => "planted, and found",
                (true, false) => "planted, and NOT found",
                (false, true) => "",
                (false, false) => "WRONG",
            };
            let (mode, writer, fault) = (&line.mode, &line.writer, &line.fault);
            row([
                mode, writer, fault, &images, &promised, &lost, &unsound, verdict,
            ]);
        }
    }

    /// For programs: one JSON object a line.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()?;
        fs::write(path, lines.join("\n") + "\n")
            .with_context(|| format!("writing {}", path.display()))
    }
}

fn row(
    [
        mode,
        writer,
        fault,
        images,
        promised,
        lost,
        unsound,
        verdict,
    ]: [&str; 8],
) {
    let counts = format!("{images:>6} {promised:>9} {lost:>7} {unsound:>7}");
    println!("{mode:<5} {writer:<6} {fault:<21} {counts}  {verdict}");
}
