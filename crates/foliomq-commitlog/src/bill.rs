//! What preheating costs, and what it buys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foliomq_segment::PAGE;

use crate::options::Preheat;

/// What preheating cost and what it bought, since the log was opened. Pages are of 4 KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PreheatBill {
    /// Time that the preparing threads spent on it.
    pub time: Duration,
    /// Pages made resident and writable.
    pub pages: u64,
    /// Pages that the append head found ready: as many faults that no append had to take.
    pub avoided: u64,
    /// Pages that the head reached before they were ready.
    pub missed: u64,
}

/// The same, while it is counted.
#[derive(Debug)]
pub(crate) struct Bill {
    /// Where the log went on when it was opened.
    start: u64,
    nanoseconds: AtomicU64,
    bytes: AtomicU64,
    avoided: AtomicU64,
    missed: AtomicU64,
}

impl Bill {
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            nanoseconds: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            avoided: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// So many bytes were made ready in this time.
    pub(crate) fn prepared(&self, bytes: u64, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The head went from `from` to `to`, and found everything below `ready` as it should be.
    pub(crate) fn passed(&self, from: u64, to: u64, ready: u64) {
        let avoided = ready.clamp(from, to) - from;
        self.avoided.fetch_add(avoided, Ordering::Relaxed);
        self.missed
            .fetch_add(to - from - avoided, Ordering::Relaxed);
    }

    /// The sum, with the head at `position`. Without a window nobody follows the head: all of its way counts.
    pub(crate) fn total(&self, preheat: Preheat, position: u64) -> PreheatBill {
        let way = position.saturating_sub(self.start);
        let (avoided, missed) = match preheat {
            Preheat::Window { .. } => (
                self.avoided.load(Ordering::Relaxed),
                self.missed.load(Ordering::Relaxed),
            ),
            Preheat::Segment => (way, 0),
            Preheat::Off => (0, way),
        };
        PreheatBill {
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            pages: self.bytes.load(Ordering::Relaxed) / PAGE,
            avoided: avoided / PAGE,
            missed: missed / PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ready_is_avoided_and_the_rest_missed() {
        let bill = Bill::new(0);
        bill.passed(0, 3 * PAGE, 10 * PAGE);
        bill.passed(3 * PAGE, 8 * PAGE, 4 * PAGE);
        bill.passed(8 * PAGE, 9 * PAGE, 4 * PAGE);
        let total = bill.total(Preheat::Window { bytes: PAGE }, 9 * PAGE);
        assert_eq!((total.avoided, total.missed), (4, 5));
    }
}
