//! The slot ring, and the waking of sleepers, under every interleaving that loom finds.

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/sleepers.rs"]
mod sleepers;

/// Loom's atomics. Loom takes a sequentially consistent access for an acquire or release one, and orders its fences only:
/// so such an access is given a fence, which is somewhat stronger: it also orders what is weaker beside it.
mod sync {
    use loom::sync::atomic;
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};

    #[derive(Debug, Default)]
    pub(crate) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn load(&self, order: Ordering) -> u64 {
            ordered(order);
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.0.store(value, order);
            ordered(order);
        }

        pub(crate) fn compare_exchange(
            &self,
            from: u64,
            to: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            ordered(success);
            let result = self.0.compare_exchange(from, to, success, failure);
            ordered(success);
            result
        }
    }

    fn ordered(order: Ordering) {
        if order == Ordering::SeqCst {
            fence(order);
        }
    }
}

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use ring::Ring;
use sleepers::{FOREIGN, announce, recount, take};

/// Two neighbours, published at once: one of the two threads passes the last.
#[test]
fn no_slot_is_left_behind() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let ring = Arc::new(Ring::new(2));
        let other = ring.clone();
        let second = thread::spawn(move || other.publish(1, 20));
        let first = ring.publish(0, 10);
        let second = second.join().unwrap();
        assert_eq!(ring.oldest(), 2);
        assert_eq!(first.max(second), Some(20));
    });
}

/// A position, the word of its sleepers, and what the kernel does for those who sleep on a word.
#[derive(Default)]
struct Moving {
    position: AtomicU64,
    word: AtomicU32,
    kernel: Mutex<()>,
    wakes: Condvar,
}

impl Moving {
    fn advance(&self) {
        self.position.fetch_add(1, Ordering::AcqRel);
        if take(&self.word) & FOREIGN != 0 {
            let _kernel = self.kernel.lock().unwrap();
            self.wakes.notify_all();
        }
    }

    /// Wakes one of those who sleep, who is to wake the others.
    fn advance_for_one(&self) {
        self.position.fetch_add(1, Ordering::AcqRel);
        if recount(&self.word) {
            let _kernel = self.kernel.lock().unwrap();
            self.wakes.notify_one();
        }
    }

    /// Sleeps until the position is at least `end`. Loom reports a thread that nobody wakes as a deadlock.
    fn wait_for(&self, end: u64) {
        while self.position.load(Ordering::Acquire) < end {
            let found = announce(&self.word, FOREIGN);
            if self.position.load(Ordering::Acquire) >= end {
                return;
            }
            let kernel = self.kernel.lock().unwrap();
            if self.word.load(Ordering::SeqCst) == found {
                drop(self.wakes.wait(kernel).unwrap());
            }
        }
    }
}

fn sleepers(waiters: usize, movers: u64) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let moving = Arc::new(Moving::default());
        let mut threads = Vec::new();
        for _ in 0..waiters {
            let moving = moving.clone();
            threads.push(thread::spawn(move || moving.wait_for(movers)));
        }
        for _ in 1..movers {
            let moving = moving.clone();
            threads.push(thread::spawn(move || moving.advance()));
        }
        moving.advance();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn nobody_sleeps_past_a_move() {
    sleepers(1, 1);
}

#[test]
fn nobody_sleeps_past_one_of_two_moves() {
    sleepers(1, 2);
}

#[test]
fn two_sleepers_are_both_woken() {
    sleepers(2, 1);
}

/// As at the end of a flush: one of two is woken, and wakes the other, who may have been about to sleep.
#[test]
fn one_who_is_woken_wakes_the_other() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let moving = Arc::new(Moving::default());
        let other = moving.clone();
        let sleeper = thread::spawn(move || {
            other.wait_for(1);
            other.advance();
        });
        moving.advance_for_one();
        moving.wait_for(2);
        sleeper.join().unwrap();
    });
}
