//! How often the log was flushed, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The flushes of a log since it was opened: those that did something, and did not fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushBill {
    /// How many. One serves everybody who waits.
    pub flushes: u64,
    /// Bytes of the log that they made durable.
    pub bytes: u64,
    /// Time that they took, all together.
    pub time: Duration,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    flushes: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Flushed {
    /// One flush of so many bytes took so long.
    pub(crate) fn add(&self, bytes: u64, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> FlushBill {
        FlushBill {
            flushes: self.flushes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}
