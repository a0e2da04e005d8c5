//! What was found.

use foliomq_benches::figures::Spread;
use foliomq_benches::machine::Machine;
use foliomq_benches::quiet::Conditions;
use serde::Serialize;

use crate::measure::Sample;
use crate::plan::{Condition, Order, Plan};
use crate::ways::Way;

/// The JSON file, and what the page is made of.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The command that produced it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What ran beside.
    pub beside: Conditions,
    /// How much was measured.
    pub plan: Plan,
    /// Messages per second.
    pub rows: Vec<Row>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

/// What was the same for all ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Bytes of a body.
    pub body: usize,
    /// In which order.
    pub order: Order,
    /// What else was so.
    pub condition: Condition,
}

/// One case.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which.
    pub case: Case,
    /// One for each way that can.
    pub cells: Vec<Cell>,
}

/// One way in one case: a sample for each round.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// The way.
    pub way: Way,
    /// Messages per second.
    pub rates: Vec<f64>,
    /// Messages per second of processor time of the reading threads: what remains true on a busy machine.
    pub processor: Vec<f64>,
    /// Bytes read from the device per byte of the bodies.
    pub device: Vec<f64>,
}

impl Cell {
    /// Without samples yet.
    pub fn new(way: Way) -> Self {
        Self {
            way,
            rates: Vec::new(),
            processor: Vec::new(),
            device: Vec::new(),
        }
    }

    /// Adds a round.
    pub fn add(&mut self, sample: Sample) {
        self.rates.push(sample.rate);
        self.processor.push(sample.processor);
        self.device.push(sample.device);
    }
}

impl Row {
    /// One way's samples.
    pub fn cell(&self, way: Way) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.way == way)
    }

    /// Messages per second.
    pub fn rate(&self, way: Way) -> Option<Spread> {
        Some(Spread::of(&self.cell(way)?.rates))
    }

    /// The rate of one way divided by that of another, round by round.
    pub fn ratio(&self, way: Way, other: Way) -> Option<Spread> {
        let (left, right) = (self.cell(way)?, self.cell(other)?);
        Some(divided(&left.rates, &right.rates))
    }

    /// The same per processor time.
    pub fn processor_ratio(&self, way: Way, other: Way) -> Option<Spread> {
        let (left, right) = (self.cell(way)?, self.cell(other)?);
        Some(divided(&left.processor, &right.processor))
    }
}

/// Round by round.
fn divided(left: &[f64], right: &[f64]) -> Spread {
    let ratios: Vec<f64> = left.iter().zip(right).map(|(l, r)| l / r).collect();
    Spread::of(&ratios)
}

impl Results {
    /// The row of a case.
    pub fn row(&self, body: usize, order: Order, condition: Condition) -> Option<&Row> {
        let case = Case {
            body,
            order,
            condition,
        };
        self.rows.iter().find(|row| row.case == case)
    }
}
