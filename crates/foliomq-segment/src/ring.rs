//! The ring in which slots are marked as published, in any order, and passed in theirs.

use crate::sync::{AtomicU64, Ordering};

/// Slots that are reserved and not all published; each has a place for its sequence number.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Sequence number of the oldest slot that is not published.
    oldest: AtomicU64,
    places: Box<[Place]>,
}

/// State of the slot whose sequence number maps to this place.
#[derive(Debug, Default)]
struct Place {
    /// Sequence number + 1 of the last slot published here.
    published: AtomicU64,
    /// Position after that slot.
    end: AtomicU64,
}

impl Ring {
    /// For at most `places` slots at a time.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            oldest: AtomicU64::default(),
            places: (0..places).map(|_| Place::default()).collect(),
        }
    }

    /// Sequence number of the oldest slot that is not published.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::SeqCst)
    }

    /// Marks a slot as written and passes every slot up to the first that is not: the end of the last one passed.
    pub(crate) fn publish(&self, sequence: u64, end: u64) -> Option<u64> {
        let place = self.place(sequence);
        place.end.store(end, Ordering::Relaxed);
        // SeqCst here and on `oldest`: of two threads that publish neighbours at once, at least one sees both.
        place.published.store(sequence + 1, Ordering::SeqCst);
        let mut passed = None;
        loop {
            let oldest = self.oldest();
            let place = self.place(oldest);
            if place.published.load(Ordering::SeqCst) != oldest + 1 {
                return passed;
            }
            let end = place.end.load(Ordering::Relaxed);
            if self
                .oldest
                .compare_exchange(oldest, oldest + 1, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                passed = Some(end);
            }
        }
    }

    fn place(&self, sequence: u64) -> &Place {
        &self.places[sequence as usize % self.places.len()]
    }
}
