//! Whose turn it is to flush: one leads, and those who wait for him sleep apart from those who wait for the next.

use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_segment::Lobby;
use parking_lot::{Mutex, MutexGuard};

use crate::header::ALIGN;

/// The flushes of a log, one after the other.
///
/// Whoever waits while a flush is under way is covered by that one or by the next; each of both kinds sleeps in a lobby of
/// its own. At the end of a flush those whom it covered are woken, all at once, and of the others a single one: he leads
/// the next flush, and they sleep on. So an append costs two switches of threads however many there are.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lead: Mutex<()>,
    /// Position up to which the flush under way (or the last, if none is) makes the log durable; in its lowest bits, which
    /// are free since records are aligned, the last digit of that flush's number. One word, so that both are of one time.
    covered: AtomicU64,
    lobbies: [Lobby; 2],
}

/// The right to flush. Given up, it passes to one of those who wait.
#[derive(Debug)]
pub(crate) struct Lead<'a> {
    turns: &'a Turns,
    guard: Option<MutexGuard<'a, ()>>,
    began: bool,
}

impl Turns {
    /// To flush at once, unless somebody does.
    pub(crate) fn try_lead(&self) -> Option<Lead<'_>> {
        self.lead.try_lock().map(|guard| self.led_with(guard))
    }

    /// To flush once nobody else does.
    pub(crate) fn lead(&self) -> Lead<'_> {
        self.led_with(self.lead.lock())
    }

    fn led_with<'a>(&'a self, guard: MutexGuard<'a, ()>) -> Lead<'a> {
        Lead {
            turns: self,
            guard: Some(guard),
            began: false,
        }
    }

    /// Sleeps while somebody flushes, until the flush that covers `end` (an append that is whole) is over or it is this
    /// thread's turn; not if `still` says that there is nothing to wait for. May also return for no reason.
    pub(crate) fn wait(&self, end: u64, still: impl FnOnce() -> bool) {
        let covered = self.covered.load(Ordering::SeqCst);
        let number = covered % ALIGN;
        let mine = if end <= covered - number {
            number
        } else {
            number + 1
        };
        self.lobby(mine).sleep_if(|| {
            self.covered.load(Ordering::SeqCst) == covered && self.lead.is_locked() && still()
        });
    }

    /// Wakes everyone, to look at what else has changed (a poisoned log, a close).
    pub(crate) fn wake(&self) {
        self.lobbies.iter().for_each(Lobby::wake_all);
    }

    fn lobby(&self, number: u64) -> &Lobby {
        &self.lobbies[(number % 2) as usize]
    }
}

impl Lead<'_> {
    /// The flush begins, and makes the log durable up to `end`, where a record ends.
    pub(crate) fn covers(&mut self, end: u64) {
        debug_assert!(end.is_multiple_of(ALIGN), "{end} is within a record");
        let number = (self.turns.covered.load(Ordering::SeqCst) + 1) % ALIGN;
        self.turns.covered.store(end | number, Ordering::SeqCst);
        self.began = true;
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Before anyone is woken: one of them leads the next flush.
        self.guard = None;
        if !self.began {
            return self.turns.wake();
        }
        let number = self.turns.covered.load(Ordering::SeqCst) % ALIGN;
        self.turns.lobby(number).wake_all();
        self.turns.lobby(number + 1).wake_one();
    }
}

const _: () = assert!(ALIGN.is_power_of_two() && ALIGN > 2);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// As in a log: appends wait for flushes that cover them, and lead some.
    #[test]
    fn nobody_is_forgotten() {
        let turns = Turns::default();
        let (appended, durable) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let end = appended.fetch_add(ALIGN, Ordering::SeqCst) + ALIGN;
                        wait(&turns, end, &appended, &durable);
                    }
                });
            }
        });
        assert_eq!(durable.into_inner(), 16 * 2_000 * ALIGN);
    }

    fn wait(turns: &Turns, end: u64, appended: &AtomicU64, durable: &AtomicU64) {
        while durable.load(Ordering::SeqCst) < end {
            match turns.try_lead() {
                Some(mut lead) => {
                    let all = appended.load(Ordering::SeqCst);
                    lead.covers(all);
                    thread::yield_now();
                    durable.fetch_max(all, Ordering::SeqCst);
                }
                None => turns.wait(end, || durable.load(Ordering::SeqCst) < end),
            }
        }
    }

    #[test]
    fn a_lead_given_up_before_its_flush_wakes_all() {
        let (turns, over) = (Turns::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let lead = turns.lead();
            for end in [0, ALIGN] {
                let (turns, over) = (&turns, &over);
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        turns.wait(end, || !over.load(Ordering::SeqCst));
                    }
                });
            }
            over.store(true, Ordering::SeqCst);
            drop(lead);
        });
    }
}
