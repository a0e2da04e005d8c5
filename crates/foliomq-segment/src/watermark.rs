//! A position that only grows, and the waiting for it: in this process, or from others.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use event_listener::{Event, EventListener, Listener};
use rustix::thread::futex;

use crate::control::Pages;
use crate::sleepers::{self, FOREIGN, LOCAL};

/// A position (bytes) that only grows. Waiters block with a timeout or await, without a runtime; those of other processes
/// sleep on a futex, if the watermark lives in a [`Control`](crate::Control) file.
///
/// # Moving and waiting
///
/// Besides the position there is a word that says whether anybody sleeps: bits `LOCAL` and `FOREIGN`, and above them a
/// count of the times that sleepers were woken. Whoever moves stores the position, passes a fence, and looks at the word;
/// whoever waits sets his bit, passes a fence, and looks at the position. All four are in one order of sequentially
/// consistent fences, so at least one sees what the other did: the position has moved for the waiter, or the bit is set
/// for the mover. So a move that nobody waits for costs one store, one fence and one load, and no system call.
///
/// The mover that finds a bit swaps the word for the next count without bits, and wakes all. A waiter sleeps only while the
/// word still is what it was when he set his bit: had he been passed over in between, the count has changed, and the
/// kernel sends him back to look again. A waiter that dies leaves his bit behind, which costs one needless wake.
pub struct Watermark {
    value: NonNull<AtomicU64>,
    sleepers: NonNull<AtomicU32>,
    /// What both words lie in.
    memory: Memory,
    event: Event,
}

/// Keeps the words of a watermark where they are.
enum Memory {
    Own(#[expect(dead_code, reason = "held for its address")] Arc<Own>),
    Shared(#[expect(dead_code, reason = "held for its address")] Arc<Pages>),
}

#[derive(Default)]
struct Own {
    value: CachePadded<AtomicU64>,
    sleepers: CachePadded<AtomicU32>,
}

// SAFETY: the words are atomics, in memory that `memory` keeps in place for as long as the watermark lives.
unsafe impl Send for Watermark {}
// SAFETY: as above.
unsafe impl Sync for Watermark {}

impl Watermark {
    /// Starts at `value`, in memory of this process alone.
    pub fn new(value: u64) -> Self {
        let own = Arc::new(Own::default());
        own.value.store(value, Ordering::Relaxed);
        Self {
            value: NonNull::from(&*own.value),
            sleepers: NonNull::from(&*own.sleepers),
            memory: Memory::Own(own),
            event: Event::new(),
        }
    }

    /// In the words of a control file, as they are.
    pub(crate) fn in_pages(pages: &Arc<Pages>, value: usize, sleepers: usize) -> Self {
        Self {
            value: NonNull::from(pages.long(value)),
            sleepers: NonNull::from(pages.word(sleepers)),
            memory: Memory::Shared(pages.clone()),
            event: Event::new(),
        }
    }

    /// The position now. What lies below it is visible to the caller.
    pub fn value(&self) -> u64 {
        self.position().load(Ordering::Acquire)
    }

    /// Moves to `value` if that is higher, and wakes the waiters.
    pub fn advance(&self, value: u64) {
        if self.position().fetch_max(value, Ordering::AcqRel) < value {
            self.wake();
        }
    }

    /// Moves to `value`, which is not lower, for the one thread that may at the time. Wakes nobody: say
    /// [`wake`](Self::wake) afterwards.
    pub(crate) fn set(&self, value: u64) {
        debug_assert!(self.position().load(Ordering::Relaxed) <= value);
        self.position().store(value, Ordering::Release);
    }

    /// Wakes every waiter without moving, so that they look at what else has changed (a poisoned log, a close).
    pub fn wake(&self) {
        match sleepers::take(self.sleepers()) {
            0 => {}
            bits => self.wake_all(bits),
        }
    }

    #[cold]
    fn wake_all(&self, bits: u32) {
        if bits & FOREIGN != 0 {
            // It fails only for an address that is no word of memory.
            let _ = futex::wake(self.sleepers(), futex::Flags::empty(), i32::MAX as u32);
        }
        if bits & LOCAL != 0 {
            self.event.notify(usize::MAX);
        }
    }

    /// A listener for the next move or wake. Take it first, then look at [`value`](Self::value), then wait.
    pub fn listen(&self) -> EventListener {
        let listener = self.event.listen();
        sleepers::announce(self.sleepers(), LOCAL);
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

    fn position(&self) -> &AtomicU64 {
        // SAFETY: `memory` keeps the word in place, and it is only ever accessed as an atomic.
        unsafe { self.value.as_ref() }
    }

    fn sleepers(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.sleepers.as_ref() }
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = matches!(self.memory, Memory::Shared(_));
        f.debug_struct("Watermark")
            .field("value", &self.value())
            .field("shared", &shared)
            .finish_non_exhaustive()
    }
}
