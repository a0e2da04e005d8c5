//! What is measured, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Sizes and durations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Its name on the page.
    pub name: String,
    /// Bytes of a message, or of a piece of a segment.
    pub sizes: Vec<usize>,
    /// Sizes whose latency is measured.
    pub paced_sizes: Vec<usize>,
    /// Counted rounds; one more, which checks every byte and counts system calls, comes first.
    pub rounds: usize,
    /// How long a run sends.
    pub run: Duration,
    /// How long a run for latency sends.
    pub paced_run: Duration,
    /// Body bytes of the queue that is read, for each size.
    pub queue_bytes: u64,
    /// Bytes that are compared, for each size and way.
    pub checked_bytes: usize,
    /// Networks on which it is looked where the processor's time goes.
    pub profiled: Vec<network::Kind>,
    /// Bytes of a segment.
    pub segment: u64,
}

impl Plan {
    /// Under fifteen minutes.
    pub fn full() -> Self {
        let sizes = [
            128,
            KIB,
            4 * KIB,
            16 * KIB,
            64 * KIB,
            256 * KIB,
            MIB,
            4 * MIB,
            16 * MIB,
        ];
        Self {
            name: "full".into(),
            sizes: sizes.to_vec(),
            paced_sizes: vec![128, KIB, 4 * KIB, 16 * KIB],
            rounds: 5,
            run: Duration::from_millis(100),
            paced_run: Duration::from_millis(200),
            queue_bytes: 32 << 20,
            checked_bytes: 32 * MIB,
            profiled: network::Kind::ALL.to_vec(),
            segment: 64 << 20,
        }
    }

    /// Under two minutes.
    pub fn quick() -> Self {
        Self {
            name: "quick".into(),
            sizes: vec![128, KIB, 4 * KIB, 64 * KIB, MIB],
            paced_sizes: vec![128, 4 * KIB],
            rounds: 3,
            run: Duration::from_millis(15),
            paced_run: Duration::from_millis(50),
            queue_bytes: 16 << 20,
            checked_bytes: 4 * MIB,
            profiled: vec![network::Kind::Loopback],
            ..Self::full()
        }
    }

    /// A second or two, for the test that the program runs; its figures mean nothing.
    pub fn smoke() -> Self {
        Self {
            name: "smoke".into(),
            sizes: vec![128, 16 * KIB, 512 * KIB],
            paced_sizes: vec![128],
            rounds: 2,
            run: Duration::from_millis(2),
            paced_run: Duration::from_millis(5),
            queue_bytes: 64 << 10,
            checked_bytes: MIB,
            profiled: Vec::new(),
            segment: 16 << 20,
        }
    }
}
