//! A position that only grows, and the waiting for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use event_listener::{Event, EventListener, Listener};

/// A position (bytes) that only grows. Waiters block with a timeout or await, without a runtime.
#[derive(Debug)]
pub struct Watermark {
    value: CachePadded<AtomicU64>,
    /// Set while somebody may be listening, so that moving costs no more than a look at it while nobody is.
    awaited: AtomicBool,
    event: Event,
}

impl Watermark {
    /// Starts at `value`.
    pub fn new(value: u64) -> Self {
        Self {
            value: CachePadded::new(AtomicU64::new(value)),
            awaited: AtomicBool::new(false),
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
            self.wake();
        }
    }

    /// Moves to `value`, which is not lower, for the one thread that may at the time. Wakes nobody: say
    /// [`wake`](Self::wake) afterwards.
    pub(crate) fn set(&self, value: u64) {
        debug_assert!(self.value.load(Ordering::Relaxed) <= value);
        self.value.store(value, Ordering::Release);
    }

    /// Wakes every waiter without moving, so that they look at what else has changed (a poisoned log, a close).
    pub fn wake(&self) {
        // With the fence in `listen`: either this sees that somebody listens, or he sees what was changed before this.
        fence(Ordering::SeqCst);
        if self.awaited.load(Ordering::Relaxed) {
            // Whoever listens from here on sets it again.
            self.awaited.store(false, Ordering::SeqCst);
            self.event.notify(usize::MAX);
        }
    }

    /// A listener for the next move or wake. Take it first, then look at [`value`](Self::value), then wait.
    pub fn listen(&self) -> EventListener {
        let listener = self.event.listen();
        self.awaited.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        listener
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
