//! How much is measured.

use std::time::Duration;

use serde::Serialize;

use crate::peer::Flush;

/// Sizes and durations.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Its name in the report.
    pub name: &'static str,
    /// Counted rounds; one more comes first and is not counted.
    pub rounds: usize,
    /// Bytes of a body.
    pub bodies: Vec<usize>,
    /// Body bytes of a run at most.
    pub bytes: u64,
    /// Messages of a run at most.
    pub messages: u64,
    /// How long the appends of a run take at most.
    pub limit: Duration,
    /// Appends in which the system calls are counted.
    pub counted: u64,
    /// Messages that are appended before `kill -9`.
    pub killed: u64,
}

/// Messages of an append.
pub const BATCHES: [usize; 2] = [1, 100];
/// Passes over what was appended; the first has page faults.
pub const PASSES: usize = 3;

/// How the logs that are read were appended: whole and quickly.
pub const READ_BATCH: usize = BATCHES[1];

/// One row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Case {
    /// When an append is on the device.
    pub flush: Flush,
    /// Bytes of a body.
    pub body: usize,
    /// Messages of an append.
    pub batch: usize,
}

impl Plan {
    /// About ten minutes.
    pub fn full() -> Self {
        Self {
            name: "full",
            rounds: 5,
            bodies: vec![128, 1 << 10, 16 << 10],
            bytes: 256 << 20,
            messages: 400_000,
            limit: Duration::from_millis(700),
            counted: 200,
            killed: 20_000,
        }
    }

    /// Under two minutes.
    pub fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 2,
            bodies: vec![1 << 10],
            bytes: 64 << 20,
            limit: Duration::from_millis(300),
            counted: 50,
            killed: 2_000,
            ..Self::full()
        }
    }

    /// All rows.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for flush in [Flush::Never, Flush::Each] {
            for &body in &self.bodies {
                cases.extend(BATCHES.map(|batch| Case { flush, body, batch }));
            }
        }
        cases
    }

    /// Messages of a run with bodies of this size: whole batches.
    pub fn messages(&self, body: usize) -> u64 {
        let most = BATCHES[1] as u64;
        self.messages.min(self.bytes / body as u64) / most * most
    }
}
