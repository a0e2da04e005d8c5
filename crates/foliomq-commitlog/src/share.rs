//! How much of the device reads of what is not in memory may take at once: the rest of it is for what is appended and flushed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;

/// Reads of what is not in memory since the log was opened; see [`Options::cold_reads`](crate::Options::cold_reads).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ColdReads {
    /// Those that have had the device.
    pub reads: u64,
    /// Those that have it now.
    pub running: u64,
    /// Those that wait for their turn.
    pub waiting: u64,
}

thread_local! {
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// Reads of what was not in memory that this thread has made so far, of all logs: whoever compares it before and after a read
/// knows whether that waited for the device.
pub fn cold_reads_here() -> u64 {
    HERE.get()
}

/// Places at the device, given in the order in which they are asked for: whoever reads much gets as many turns as whoever
/// reads little.
#[derive(Debug)]
pub(crate) struct Share {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    running: u64,
    reads: u64,
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    called: AtomicBool,
    thread: Thread,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Share);

impl Share {
    /// Of so many places, at least one.
    pub(crate) fn new(places: usize) -> Self {
        let state = State {
            free: places.max(1),
            running: 0,
            reads: 0,
            waiting: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Waits for a place.
    pub(crate) fn place(&self) -> Place<'_> {
        HERE.set(HERE.get().wrapping_add(1));
        if let Some(waiter) = self.take_or_wait() {
            while !waiter.called.load(Ordering::Acquire) {
                std::thread::park();
            }
        }
        Place(self)
    }

    /// `None`: it is taken.
    fn take_or_wait(&self) -> Option<Arc<Waiter>> {
        let mut state = self.state.lock();
        // A place that becomes free goes to the first who waits, so that none is free while somebody does.
        if state.free > 0 {
            state.free -= 1;
            state.running += 1;
            state.reads += 1;
            return None;
        }
        let waiter = Arc::new(Waiter {
            called: AtomicBool::new(false),
            thread: std::thread::current(),
        });
        state.waiting.push_back(waiter.clone());
        Some(waiter)
    }

    pub(crate) fn bill(&self) -> ColdReads {
        let state = self.state.lock();
        ColdReads {
            reads: state.reads,
            running: state.running,
            waiting: state.waiting.len() as u64,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let Some(next) = state.waiting.pop_front() else {
            state.free += 1;
            state.running -= 1;
            return;
        };
        state.reads += 1;
        drop(state);
        next.called.store(true, Ordering::Release);
        next.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn bill(reads: u64, running: u64, waiting: u64) -> ColdReads {
        ColdReads {
            reads,
            running,
            waiting,
        }
    }

    #[test]
    fn no_more_have_the_device_than_there_are_places_and_the_first_to_ask_is_the_first_to_get_one()
    {
        let share = Share::new(2);
        let (first, second) = (share.place(), share.place());
        let (came, coming) = mpsc::channel();
        thread::scope(|scope| {
            for n in 0..3 {
                let (share, came) = (&share, came.clone());
                scope.spawn(move || {
                    let place = share.place();
                    came.send((n, place)).unwrap();
                });
                // The next asks once this one waits.
                while share.bill().waiting != n + 1 {
                    thread::yield_now();
                }
            }
            assert_eq!(share.bill(), bill(2, 2, 3));
            assert!(coming.try_recv().is_err(), "nobody overtakes");
            drop(second);
            let (n, third) = coming.recv().unwrap();
            assert_eq!((n, share.bill()), (0, bill(3, 2, 2)));
            drop(first);
            let (n, fourth) = coming.recv().unwrap();
            assert_eq!((n, share.bill()), (1, bill(4, 2, 1)));
            drop(third);
            let (n, fifth) = coming.recv().unwrap();
            assert_eq!((n, share.bill()), (2, bill(5, 2, 0)));
            drop((fourth, fifth));
        });
        assert_eq!(share.bill(), bill(5, 0, 0));
    }

    #[test]
    fn there_is_always_a_place() {
        let share = Share::new(0);
        let before = cold_reads_here();
        drop(share.place());
        drop(share.place());
        assert_eq!(share.bill(), bill(2, 0, 0));
        assert_eq!(cold_reads_here() - before, 2);
    }
}
