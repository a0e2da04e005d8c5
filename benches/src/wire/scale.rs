//! How much is measured.

use std::time::Duration;

use foliomq_benches::floors::Budget;
use serde::Serialize;

/// How much is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Scale {
    /// Rounds, in each of which everything is measured once.
    pub rounds: usize,
    /// Each measurement.
    pub time: Duration,
    /// Before each.
    pub warmup: Duration,
    /// Bodies of figure 3, bytes.
    pub bodies: Vec<usize>,
    /// Bytes of stored messages that figure 3 delivers again and again.
    pub stored: u64,
    /// A latency's measurement.
    pub latency: Duration,
    /// How long a consumer does not read.
    pub stall: Duration,
    /// Receives that wait.
    pub polls: usize,
    /// What the machine's own figures may take.
    #[serde(skip)]
    pub floors: Budget,
}

impl Scale {
    /// About ten minutes.
    pub fn full() -> Self {
        Self {
            rounds: 3,
            time: Duration::from_secs(2),
            warmup: Duration::from_millis(500),
            bodies: vec![
                64,
                256,
                1 << 10,
                4 << 10,
                16 << 10,
                64 << 10,
                256 << 10,
                1 << 20,
            ],
            stored: 256 << 20,
            latency: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            polls: 1000,
            floors: Budget::FULL,
        }
    }

    /// Under three minutes.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            time: Duration::from_secs(1),
            warmup: Duration::from_millis(300),
            bodies: vec![64, 256, 1 << 10, 4 << 10, 16 << 10, 1 << 20],
            stored: 64 << 20,
            latency: Duration::from_secs(4),
            stall: Duration::from_secs(5),
            polls: 1000,
            floors: Budget::QUICK,
        }
    }

    /// A few seconds, for a test.
    pub fn smoke() -> Self {
        Self {
            rounds: 1,
            time: Duration::from_millis(400),
            warmup: Duration::from_millis(100),
            bodies: vec![256, 4 << 10],
            stored: 1 << 20,
            latency: Duration::from_millis(400),
            stall: Duration::from_millis(300),
            polls: 40,
            floors: Budget::SMOKE,
        }
    }
}
