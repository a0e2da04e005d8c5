//! Samples, their median and spread, and the ratio of two things measured in turn.

use std::fmt;

pub use foliomq_load::spread::{Spread, significant};
use serde::Serialize;

/// The ratio that was predicted before anything was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Predicted {
    /// Lowest ratio that is no surprise.
    pub low: f64,
    /// Highest ratio that is no surprise.
    pub high: f64,
}

impl fmt::Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.low, self.high)
    }
}

/// What a sample counts, which decides how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Messages per second, of bodies of so many bytes.
    MessagesPerSecond {
        /// Bytes of a body.
        body: usize,
    },
    /// Nanoseconds.
    Nanoseconds,
    /// Device bytes per appended byte.
    BytesPerByte,
}

impl Unit {
    /// A sample as a person reads it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::MessagesPerSecond { body } => {
                let megabytes = value * body as f64 / 1e6;
                format!("{} /s, {} MB/s", count(value), significant(megabytes))
            }
            Self::Nanoseconds => nanoseconds(value),
            Self::BytesPerByte => format!("{value:.2}"),
        }
    }
}

/// Two things measured in turn: sample `i` of either side comes from round `i`.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What was the same on both sides: `1 KiB, 2 threads`.
    pub case: String,
    /// What is divided by what: `store / write()`.
    pub ratio_of: String,
    /// Of the samples of both sides.
    pub unit: Unit,
    /// The dividend's sample of each round.
    pub left: Vec<f64>,
    /// The divisor's sample of each round.
    pub right: Vec<f64>,
    /// The prediction for the ratio.
    pub predicted: Predicted,
    /// Median and spread of the ratio over the rounds.
    pub ratio: Spread,
}

impl Comparison {
    /// Divides round by round.
    pub fn new(
        case: impl Into<String>,
        ratio_of: impl Into<String>,
        unit: Unit,
        (left, right): (Vec<f64>, Vec<f64>),
        (low, high): (f64, f64),
    ) -> Self {
        let ratios: Vec<f64> = left
            .iter()
            .zip(&right)
            .map(|(l, r)| l / r.max(f64::MIN_POSITIVE))
            .collect();
        Self {
            case: case.into(),
            ratio_of: ratio_of.into(),
            unit,
            left,
            right,
            predicted: Predicted { low, high },
            ratio: Spread::of(&ratios),
        }
    }

    /// How the median lies outside the prediction, if it does.
    pub fn surprise(&self) -> Option<String> {
        let Predicted { low, high } = self.predicted;
        let side = match self.ratio.median {
            m if m < low => "below",
            m if m > high => "above",
            _ => return None,
        };
        Some(format!(
            "{}, {}: {}, {side} the predicted {}",
            self.case, self.ratio_of, self.ratio, self.predicted
        ))
    }

    /// The dividend's median, written in its unit.
    pub fn left_shown(&self) -> String {
        self.unit.show(Spread::of(&self.left).median)
    }

    /// The divisor's median, written in its unit.
    pub fn right_shown(&self) -> String {
        self.unit.show(Spread::of(&self.right).median)
    }
}

/// From the lowest to the highest median of several comparisons: `1.2 to 3.4 times`.
pub fn reach(comparisons: &[Comparison]) -> String {
    let medians: Vec<f64> = comparisons
        .iter()
        .map(|comparison| comparison.ratio.median)
        .collect();
    let Spread { low, high, .. } = Spread::of(&medians);
    format!("{} to {} times", significant(low), significant(high))
}

/// `1.23 M`, `45.6 k`, `789`.
pub fn count(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", significant(v / 1e6)),
        v if v >= 1e3 => format!("{} k", significant(v / 1e3)),
        v => significant(v),
    }
}

/// `123 ns`, `4.5 µs`, `6.7 ms`.
pub fn nanoseconds(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{} s", significant(v / 1e9)),
        v if v >= 1e6 => format!("{} ms", significant(v / 1e6)),
        v if v >= 1e3 => format!("{} µs", significant(v / 1e3)),
        v => format!("{v:.0} ns"),
    }
}

/// `128 B`, `16 KiB`, `64 MiB`, `1 GiB`; the largest unit that divides it evenly.
pub fn bytes(value: u64) -> String {
    match value {
        v if v >= 1 << 30 && v % (1 << 30) == 0 => format!("{} GiB", v >> 30),
        v if v >= 1 << 20 && v % (1 << 20) == 0 => format!("{} MiB", v >> 20),
        v if v >= 1 << 10 && v % (1 << 10) == 0 => format!("{} KiB", v >> 10),
        v => format!("{v} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        let comparison = Comparison::new(
            "case",
            "a / b",
            Unit::Nanoseconds,
            (vec![1.0, 8.0, 3.0], vec![1.0, 2.0, 1.5]),
            (0.5, 1.5),
        );
        assert_eq!(
            comparison.ratio,
            Spread {
                median: 2.0,
                low: 1.0,
                high: 4.0
            }
        );
        assert!(
            comparison
                .surprise()
                .unwrap()
                .contains("above the predicted 0.5 to 1.5")
        );
    }

    #[test]
    fn sizes_and_rates_are_written_in_the_unit_that_fits() {
        assert_eq!(bytes(128), "128 B");
        assert_eq!(bytes(16 << 10), "16 KiB");
        assert_eq!(bytes((1 << 20) + 1), "1048577 B");
        assert_eq!(
            Unit::MessagesPerSecond { body: 1000 }.show(2.5e6),
            "2.50 M /s, 2500 MB/s"
        );
        assert_eq!(nanoseconds(1_500.0), "1.50 µs");
    }
}
