//! The ways to run a store that are told apart.

use std::path::Path;
use std::time::Duration;

use foliomq_store::{Flush, Options, Preheat, Retention, WriterKind};
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
    writer: WriterKind,
}

/// Every durability mode.
pub const MODES: &[Mode] = &[
    Mode {
        name: "sync, mapped writer",
        flush: Flush::Sync,
        writer: WriterKind::Mapped,
    },
    Mode {
        name: "sync, staged writer",
        flush: Flush::Sync,
        writer: WriterKind::Staged,
    },
    Mode {
        name: "async, mapped writer",
        flush: Flush::Async { interval: INTERVAL },
        writer: WriterKind::Mapped,
    },
    Mode {
        name: "async, staged writer",
        flush: Flush::Async { interval: INTERVAL },
        writer: WriterKind::Staged,
    },
];

impl Mode {
    /// Whether an append that was waited for is promised.
    pub fn is_sync(&self) -> bool {
        self.flush == Flush::Sync
    }

    /// Whether what was appended survives the death of the process, flushed or not.
    pub fn survives_kill(&self) -> bool {
        self.writer == WriterKind::Mapped
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
            size: [None, Some(3 * SEGMENT), Some(1)][random.random_range(0..3)],
            interval: Duration::from_millis(10),
            ..Retention::default()
        };
        let mut options = Options::new(dir)
            .segment_size(SEGMENT)
            .flush(self.flush)
            .writer(self.writer)
            .preheat(preheat)
            .retention(retention);
        options.max_body = BODY;
        options
    }
}
