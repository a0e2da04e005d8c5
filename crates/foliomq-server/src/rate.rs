//! How many messages pass in a second.

use std::sync::atomic::{AtomicU64, Ordering};

/// A rate goes over so many of the last whole seconds.
const WINDOW: u64 = 10;
/// More than the window, so that the second that is being counted takes the place of none that is summed.
const SLOTS: usize = 16;

/// Messages by the second in which they passed. To count takes no lock: it is done for each call.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// Of each a second, and how many passed in it, 32 bits each.
    slots: [AtomicU64; SLOTS],
    total: AtomicU64,
}

impl Rate {
    /// So many pass now, Unix milliseconds.
    pub(crate) fn add(&self, count: usize, now: u64) {
        if count == 0 {
            return;
        }
        self.total.fetch_add(count as u64, Ordering::Relaxed);
        let (second, count) = (now / 1000, u32::try_from(count).unwrap_or(u32::MAX));
        let added = |before| {
            let counted = counted(before, second).saturating_add(count);
            Some(second << 32 | u64::from(counted))
        };
        // It always adds.
        let _ = self
            .slot(second)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    /// Messages a second over the last whole seconds, as far as they began at `since` or later.
    pub(crate) fn per_second(&self, since: u64, now: u64) -> f64 {
        let (first, end) = (since / 1000, now / 1000);
        let seconds = end.saturating_sub(first).clamp(1, WINDOW);
        let passed = |second| counted(self.slot(second).load(Ordering::Relaxed), second);
        let window = end.saturating_sub(seconds)..end;
        let passed = window.map(|second| f64::from(passed(second)));
        passed.sum::<f64>() / seconds as f64
    }

    /// How many have passed since the broker started.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn slot(&self, second: u64) -> &AtomicU64 {
        &self.slots[second as usize % SLOTS]
    }
}

/// What a slot says of a second: nothing, if it is of another one.
fn counted(slot: u64, second: u64) -> u32 {
    if slot >> 32 == second & u64::from(u32::MAX) {
        slot as u32
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn whole_seconds_count_and_those_long_past_do_not() {
        let rate = Rate::default();
        assert_eq!(rate.per_second(0, NOW), 0.0);
        rate.add(30, NOW);
        rate.add(10, NOW + 999);
        rate.add(0, NOW + 5000);
        assert_eq!(rate.per_second(0, NOW + 999), 0.0);
        assert_eq!(rate.per_second(0, NOW + 1000), 4.0);
        assert_eq!(rate.per_second(0, NOW + 10_999), 4.0);
        assert_eq!(rate.per_second(0, NOW + 11_000), 0.0);
        // The same slot, later.
        assert_eq!(rate.total(), 40);
        rate.add(5, NOW + 16_000);
        assert_eq!(rate.per_second(0, NOW + 17_000), 0.5);
        rate.add(usize::MAX, NOW + 16_000);
        assert_eq!(rate.per_second(0, NOW + 17_000), f64::from(u32::MAX) / 10.0);
    }

    #[test]
    fn a_young_broker_counts_the_seconds_that_it_has() {
        let rate = Rate::default();
        rate.add(12, NOW);
        assert_eq!(rate.per_second(NOW, NOW + 500), 0.0);
        assert_eq!(rate.per_second(NOW, NOW + 2000), 6.0);
        assert_eq!(rate.per_second(NOW + 9000, NOW), 0.0, "the clock went back");
    }
}
