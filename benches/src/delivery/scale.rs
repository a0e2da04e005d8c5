//! How much is measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scale {
    /// Rounds, in each of which both sides of a ratio are measured once.
    pub rounds: usize,
    /// Delayed messages that wait.
    pub pending: u64,
    /// Messages of one turn of the comparison of delayed messages with others.
    pub turn: u64,
    /// How long the process is watched while nothing is due.
    pub idle: Duration,
    /// Stored messages that are consumed, with acks and without.
    pub stored: u64,
    /// Each measurement over loopback.
    pub time: Duration,
    /// Messages of one group that are received and not acknowledged.
    pub in_flight: u64,
}

impl Scale {
    /// The sizes of the targets: about ten minutes.
    pub fn full() -> Self {
        Self {
            rounds: 3,
            pending: 1_000_000,
            turn: 100_000,
            idle: Duration::from_secs(20),
            stored: 300_000,
            time: Duration::from_secs(2),
            in_flight: 10_000_000,
        }
    }

    /// A tenth: about a minute.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            pending: 100_000,
            turn: 50_000,
            idle: Duration::from_secs(2),
            stored: 100_000,
            time: Duration::from_secs(1),
            in_flight: 1_000_000,
        }
    }

    /// A few seconds, for a test.
    pub fn smoke() -> Self {
        Self {
            rounds: 1,
            pending: 2000,
            turn: 500,
            idle: Duration::from_millis(200),
            stored: 1000,
            time: Duration::from_millis(100),
            in_flight: 5000,
        }
    }
}
