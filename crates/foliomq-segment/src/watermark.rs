//! A position that only grows, and the waiting for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener, Listener};

/// A position (bytes) that only grows. Waiters block with a timeout or await, without a runtime.
#[derive(Debug)]
pub struct Watermark {
    value: AtomicU64,
    event: Event,
}

impl Watermark {
    /// Starts at `value`.
    pub fn new(value: u64) -> Self {
        Self {
            value: AtomicU64::new(value),
            event: Event::new(),
        }
    }

    /// The position now. What lies below it is visible to the caller.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Moves to `value` if that is higher, and wakes the waiters.
    pub fn advance(&self, value: u64) {
        if self.value.fetch_max(value, Ordering::AcqRel) < value {
            self.event.notify(usize::MAX);
        }
    }

    /// Wakes every waiter without moving, so that they look at what else has changed (a poisoned log, a close).
    pub fn wake(&self) {
        self.event.notify(usize::MAX);
    }

    /// A listener for the next move or wake. Take it first, then look at [`value`](Self::value), then wait.
    pub fn listen(&self) -> EventListener {
        self.event.listen()
    }

    /// Blocks until the position passes `seen` or the time is over; returns the position then.
    pub fn wait_past(&self, seen: u64, timeout: Duration) -> u64 {
        let deadline = Instant::now() + timeout;
        loop {
            let listener = self.listen();
            let value = self.value();
            if value > seen || listener.wait_deadline(deadline).is_none() {
                return self.value();
            }
        }
    }
}
