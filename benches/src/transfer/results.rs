//! What all runs together found.

use foliomq_benches::figures::Spread;
use foliomq_benches::machine::Machine;
use serde::{Deserialize, Serialize};

use crate::network;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::run::{Checked, Cores, Sample};
use crate::source::Pattern;
use crate::ways;

/// Everything: the JSON file is this, the page is a view of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    /// The command that repeats it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// Settings of the network that decide.
    pub settings: Vec<(String, String)>,
    /// Where the ends ran.
    pub cores: Option<Cores>,
    /// How much was measured.
    pub plan: Plan,
    /// Bytes of the log that was sent from.
    pub log_bytes: u64,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// Full speed.
    pub cells: Vec<Cell>,
    /// Single messages at a fixed rate.
    pub paced: Vec<Paced>,
    /// Where the processor's time went.
    pub profiles: Vec<Profile>,
    /// Seconds that all of it took.
    pub took: f64,
}

/// What a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where the bytes travelled.
    pub network: network::Kind,
    /// How they lay.
    pub pattern: Pattern,
    /// Bytes of a piece.
    pub size: usize,
    /// How they were sent.
    pub way: ways::Kind,
}

/// One way with one size on one network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// The round that is not timed.
    pub checked: Checked,
    /// One for each round.
    pub rounds: Vec<Sample>,
}

/// How late single messages were, nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paced {
    /// Which; the pattern does not matter.
    #[serde(flatten)]
    pub place: Place,
    /// Nanoseconds between two messages.
    pub interval: u64,
    /// Messages of all rounds.
    pub messages: u64,
    /// The median of each round.
    pub p50: Spread,
    /// The 90th percentile of each round.
    pub p90: Spread,
    /// The 99th percentile of each round.
    pub p99: Spread,
    /// 99.9th percentile over all rounds.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Cell {
    /// A figure of each round.
    pub fn each(&self, figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    /// Its median and spread.
    pub fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(&self.each(figure))
    }

    /// System calls for a piece, in the round that was checked.
    pub fn calls(&self) -> f64 {
        self.checked.calls as f64 / self.checked.pieces.max(1) as f64
    }
}

impl Results {
    /// The cell at a place, if it was measured.
    pub fn cell(&self, place: Place) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.place == place && !cell.rounds.is_empty())
    }

    /// The networks that were up, in their order.
    pub fn networks(&self) -> Vec<network::Kind> {
        let measured =
            |network: &network::Kind| self.cells.iter().any(|cell| cell.place.network == *network);
        network::Kind::ALL.into_iter().filter(measured).collect()
    }

    /// The ways that ran with a pattern, in their order.
    pub fn ways(&self, pattern: Pattern) -> Vec<ways::Kind> {
        let measured = |way: &ways::Kind| {
            self.cells
                .iter()
                .any(|cell| cell.place.way == *way && cell.place.pattern == pattern)
        };
        ways::Kind::ALL.into_iter().filter(measured).collect()
    }

    /// A figure of one cell divided by that of another, round by round.
    pub fn ratio(
        &self,
        left: Place,
        right: Place,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let (left, right) = (
            self.cell(left)?.each(&figure),
            self.cell(right)?.each(&figure),
        );
        let ratios: Vec<f64> = left
            .iter()
            .zip(right)
            .map(|(l, r)| l / r.max(f64::MIN_POSITIVE))
            .collect();
        Some(Spread::of(&ratios))
    }
}
