//! The numbers that something was promised of, and what was expected of the others before the first run.

use foliomq_benches::figures::{Predicted, Spread, bytes};
use serde::Serialize;

use crate::plan::{Condition, Order};
use crate::results::{Results, Row};
use crate::ways::Way;

/// A number with a target.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// What was measured.
    pub what: String,
    /// How many times as fast as the other way.
    pub ratio: Spread,
    /// The same per processor time of the reader.
    pub processor: Spread,
    /// The least that is wanted.
    pub target: f64,
}

/// Size, order, and how many times as fast as one `pread` per message the cursor is to be.
const TARGETS: [(usize, Order, f64); 4] = [
    (1 << 10, Order::Sequential, 3.0),
    (1 << 10, Order::Random, 2.5),
    (128, Order::Sequential, 8.0),
    (128, Order::Random, 8.0),
];

/// By reference against `pread`, both through the consume queue; beside it the bare `pread`, which has no index to ask.
pub const AGAINST: [Way; 2] = [Way::Buffered, Way::Pread];

impl Verdict {
    /// `met` or `short`.
    pub fn word(&self) -> &'static str {
        if self.ratio.median >= self.target {
            "met"
        } else {
            "short"
        }
    }
}

impl Results {
    /// Of the sizes that were measured.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (body, order, target) in TARGETS {
            let Some(row) = self.row(body, order, Condition::Warm) else {
                continue;
            };
            for against in AGAINST {
                let ratio = row.ratio(Way::Mapped, against);
                let processor = row.processor_ratio(Way::Mapped, against);
                verdicts.extend(ratio.zip(processor).map(|(ratio, processor)| Verdict {
                    what: format!(
                        "{}, {}: by reference / {}",
                        bytes(body as u64),
                        order.title(),
                        against.title()
                    ),
                    ratio,
                    processor,
                    target,
                }));
            }
        }
        verdicts
    }

    /// Where the ratio of the cursor to the bare `pread` is not what was predicted.
    pub fn surprises(&self) -> Vec<String> {
        self.rows.iter().filter_map(surprise).collect()
    }
}

fn surprise(row: &Row) -> Option<String> {
    let ratio = row.ratio(Way::Mapped, Way::Pread)?;
    let Predicted { low, high } = predicted(row);
    let side = match ratio.median {
        median if median < low => "below",
        median if median > high => "above",
        _ => return None,
    };
    let case = row.case;
    let (body, order, condition) = (
        bytes(case.body as u64),
        case.order.title(),
        case.condition.title(),
    );
    Some(format!(
        "{body}, {order}, {condition}: {ratio}, {side} the predicted {low} to {high}"
    ))
}

/// How many times as fast as a bare `pread` the cursor was expected to be.
pub fn predicted(row: &Row) -> Predicted {
    let (low, high) = match (row.case.condition, row.case.order, row.case.body) {
        // The device decides; a fault reads as far ahead as a read does. At random a fault drags in its neighbourhood.
        (Condition::Cold, Order::Random, _) => (0.1, 2.0),
        (Condition::Cold, _, _) => (0.7, 1.5),
        // Mapped pages are dearer to reclaim than read ones.
        (Condition::Pressure, _, _) => (0.3, 1.5),
        // No call of some 250 ns, no copy. The copy of large bodies makes them hot for the touching after it.
        (_, Order::Random, body) if body <= 1 << 10 => (1.5, 4.0),
        (_, _, body) if body <= 1 << 10 => (2.0, 5.0),
        (_, _, body) if body <= 4 << 10 => (1.5, 4.0),
        _ => (1.2, 3.0),
    };
    Predicted { low, high }
}
