//! By which folios pages are made ready: by large ones only while the head is fast, and while they cost less.
//!
//! A large folio takes one fault where small ones take hundreds. But it wants memory that hangs together: where there is
//! none the kernel moves pages about to make some, and on a machine that gives free memory back to its host that is
//! just the memory that was given back, at ten times the cost. Small ones take what somebody let go of a moment ago. Which
//! of the two costs less depends on the hour, so both are tried, and what they cost is compared.

use std::time::Duration;

use foliomq_segment::{Folios, PAGE, Prepared};

/// From so many bytes a second on the head is fast. A flush writes the head's folio as a whole: at this rate and two
/// flushes a second that is one byte in sixteen more, below it would be too many.
const FAST: u64 = 64 << 20;
/// The kind that is not chosen is tried again after so many bytes, and after twice as many each time that it loses.
const TRIAL: u64 = 64 << 20;
/// At most after so many.
const LONGEST: u64 = 1 << 30;
/// What is smaller says little of what a page costs, bytes.
const LEAST: u64 = 64 * PAGE;

/// What was paid, and what follows from it.
#[derive(Debug)]
pub(crate) struct Choice {
    fast: bool,
    small: Cost,
    large: Cost,
    /// Bytes made ready by the chosen kind since the last trial.
    since: u64,
    /// After so many comes the next.
    pause: u64,
}

/// Nanoseconds for a page: a mean of what came last. 0 until something came.
#[derive(Debug, Default, Clone, Copy)]
struct Cost(f64);

impl Default for Choice {
    fn default() -> Self {
        Self {
            fast: false,
            small: Cost::default(),
            large: Cost::default(),
            since: 0,
            pause: TRIAL,
        }
    }
}

impl Choice {
    /// The head has moved by `bytes` within `time`.
    pub(crate) fn moved(&mut self, bytes: u64, time: Duration) {
        self.fast = bytes as f64 >= FAST as f64 * time.as_secs_f64();
    }

    /// What comes next.
    pub(crate) fn next(&self) -> Folios {
        match self.cheaper() {
            _ if !self.fast => Folios::Small,
            cheaper if self.since < self.pause => cheaper,
            cheaper => other(cheaper),
        }
    }

    /// This was made ready by `folios`.
    pub(crate) fn paid(&mut self, folios: Folios, prepared: &Prepared) {
        let bytes = prepared.positions.end - prepared.positions.start;
        let trial = folios != self.cheaper();
        if bytes >= LEAST {
            let cost = prepared.cost.as_nanos() as f64 / (bytes / PAGE) as f64;
            self.cost(folios).learn(cost);
        }
        if !self.fast {
            return;
        }
        if trial {
            let won = folios == self.cheaper();
            self.pause = if won {
                TRIAL
            } else {
                LONGEST.min(self.pause * 2)
            };
            self.since = 0;
        } else {
            self.since += bytes;
        }
    }

    fn cheaper(&self) -> Folios {
        if self.large.0 <= self.small.0 || self.small.0 == 0.0 {
            Folios::Large
        } else {
            Folios::Small
        }
    }

    fn cost(&mut self, folios: Folios) -> &mut Cost {
        match folios {
            Folios::Small => &mut self.small,
            Folios::Large => &mut self.large,
        }
    }
}

impl Cost {
    fn learn(&mut self, cost: f64) {
        self.0 = if self.0 == 0.0 {
            cost
        } else {
            self.0 + (cost - self.0) / 4.0
        };
    }
}

fn other(folios: Folios) -> Folios {
    match folios {
        Folios::Small => Folios::Large,
        Folios::Large => Folios::Small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Makes `mib` ready, a piece of 2 MiB at a time, where pages cost so many nanoseconds; returns how much by large ones.
    fn go_on(choice: &mut Choice, mib: u64, small: u64, large: u64) -> u64 {
        let mut by_large = 0;
        for _ in 0..mib / 2 {
            let folios = choice.next();
            let cost = match folios {
                Folios::Small => small,
                Folios::Large => large,
            };
            let prepared = Prepared {
                positions: 0..2 * MIB,
                cost: Duration::from_nanos(cost * 2 * MIB / PAGE),
            };
            choice.paid(folios, &prepared);
            by_large += if folios == Folios::Large { 2 } else { 0 };
        }
        by_large
    }

    fn fast() -> Choice {
        let mut choice = Choice::default();
        choice.moved(FAST, Duration::from_secs(1));
        choice
    }

    #[test]
    fn a_slow_head_gets_small_ones_whatever_they_cost() {
        let mut choice = Choice::default();
        choice.moved(FAST - 1, Duration::from_secs(1));
        assert_eq!(go_on(&mut choice, 1000, 500, 100), 0);
    }

    #[test]
    fn a_fast_head_gets_the_cheaper_ones_and_few_of_the_others() {
        let by_large = go_on(&mut fast(), 4096, 500, 150);
        assert!((4080..4096).contains(&by_large), "{by_large}");
        let by_large = go_on(&mut fast(), 4096, 500, 5000);
        // The first stretch, until small ones are tried; then one piece now and then.
        assert!((2..=64 + 16).contains(&by_large), "{by_large}");
    }

    #[test]
    fn what_becomes_cheaper_is_found_again() {
        let mut choice = fast();
        go_on(&mut choice, 4096, 500, 5000);
        // At most the longest pause, and a few trials until the mean of what they cost has come down.
        go_on(&mut choice, 16 << 10, 500, 100);
        assert!(go_on(&mut choice, 1024, 500, 100) >= 1020);
        // What becomes dearer is noticed at once.
        assert!(go_on(&mut choice, 1024, 500, 5000) <= 16);
    }

    #[test]
    fn a_few_pages_say_nothing() {
        let mut choice = fast();
        let prepared = Prepared {
            positions: 0..LEAST - PAGE,
            cost: Duration::from_secs(1),
        };
        choice.paid(Folios::Large, &prepared);
        choice.paid(Folios::Small, &prepared);
        assert_eq!((choice.large.0, choice.small.0), (0.0, 0.0));
    }
}
