//! The ways to run a store that are told apart.

use std::path::Path;
use std::time::Duration;

use foliomq_store::{Flush, Options, Preheat, Retention};
use rand::RngExt;
use rand::rngs::StdRng;

/// Bytes of a segment: the smallest, so that there are many rolls.
pub const SEGMENT: u64 = Options::MIN_SEGMENT;
/// Largest body, bytes.
pub(crate) const BODY: usize = 8 << 10;
/// In async mode the log is flushed this often.
const INTERVAL: Duration = Duration::from_millis(2);

/// A durability mode. What is not part of it (preheating, retention) is chosen at random for each start.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// As it stands in the table.
    pub name: &'static str,
    flush: Flush,
}

/// Every durability mode.
pub const MODES: &[Mode] = &[
    Mode {
        name: "sync",
        flush: Flush::Sync,
    },
    Mode {
        name: "async",
        flush: Flush::Async { interval: INTERVAL },
    },
];

impl Mode {
    /// Whether an append that was waited for is promised.
    pub fn is_sync(&self) -> bool {
        self.flush == Flush::Sync
    }

    /// Settings of a store in `dir`.
    pub(crate) fn options(&self, dir: &Path, random: &mut StdRng) -> Options {
        let preheat = match random.random_range(0..3) {
            0 => Preheat::Window { bytes: 16 << 10 },
            1 => Preheat::Segment,
            _ => Preheat::Off,
        };
        let retention = Retention {
            age: None,
            size: random.random_bool(0.5).then_some(3 * SEGMENT),
            interval: Duration::from_millis(10),
            ..Retention::default()
        };
        let mut options = Options::new(dir)
            .segment_size(SEGMENT)
            .flush(self.flush)
            .preheat(preheat)
            .retention(retention);
        options.max_body = BODY;
        options
    }
}
