//! The state machine against a naive model: one entry for each message, looked through as a whole.

use proptest::prelude::*;

use crate::Timestamp;
use crate::lease::{Change, Claim, Lease, Leases, Standing, Taken};
use crate::receive::runs;
use crate::record::Record;

const INVISIBLE: Timestamp = 10;

#[derive(Debug, Clone)]
enum Step {
    Take {
        most: usize,
        skip: u64,
        auto_renew: bool,
    },
    TakeAgain {
        most: usize,
    },
    Ack {
        which: prop::sample::Index,
    },
    AckAll {
        from: prop::sample::Index,
    },
    Change {
        which: prop::sample::Index,
        by: Timestamp,
    },
    Renew {
        which: prop::sample::Index,
    },
    Release {
        which: prop::sample::Index,
    },
    Pass {
        time: Timestamp,
    },
    Retain {
        from: prop::sample::Index,
    },
    Reset {
        to: prop::sample::Index,
    },
    Cut {
        end: prop::sample::Index,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (1..9usize, 0..3u64, any::<bool>()).prop_map(|(most, skip, auto_renew)| Step::Take { most, skip, auto_renew }),
        4 => (1..9usize).prop_map(|most| Step::TakeAgain { most }),
        8 => index().prop_map(|which| Step::Ack { which }),
        2 => index().prop_map(|from| Step::AckAll { from }),
        3 => (index(), 0..25u64).prop_map(|(which, by)| Step::Change { which, by }),
        2 => index().prop_map(|which| Step::Renew { which }),
        2 => index().prop_map(|which| Step::Release { which }),
        5 => (0..8u64).prop_map(|time| Step::Pass { time }),
        1 => index().prop_map(|from| Step::Retain { from }),
        1 => index().prop_map(|to| Step::Reset { to }),
        1 => index().prop_map(|end| Step::Cut { end }),
    ]
}

/// What the model knows of a message that was delivered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    Done,
    Out { visible_at: Timestamp, attempt: u16 },
}

/// The machine, a second one fed with decoded records, and the model.
#[derive(Default)]
struct World {
    now: Timestamp,
    leases: Leases,
    replayed: Leases,
    model: Vec<Entry>,
    /// Every claim ever handed out, and whether it is the message's newest.
    claims: Vec<(Claim, bool)>,
}

impl World {
    fn commit(&mut self, change: Change) {
        self.leases.apply(&change);
        let mut bytes = Vec::new();
        Record::Change {
            subscription: 1,
            queue: 0,
            change,
        }
        .encode(&mut bytes);
        match Record::decode(&bytes) {
            Some(Record::Change { change, .. }) => self.replayed.apply(&change),
            other => panic!("{other:?}"),
        }
    }

    fn hand_out(&mut self, offset: u64) {
        self.void(|claim| claim.offset == offset);
        let Lease {
            visible_at,
            sequence,
            auto_renew,
            ..
        } = self.leases.lease(offset).unwrap();
        let claim = Claim {
            offset,
            sequence,
            visible_at,
            auto_renew,
        };
        // A change back to an earlier end makes an earlier claim good again.
        self.claims.retain(|(other, _)| *other != claim);
        self.claims.push((claim, true));
    }

    fn void(&mut self, which: impl Fn(&Claim) -> bool) {
        for (claim, newest) in &mut self.claims {
            *newest &= !which(claim);
        }
    }

    /// What the model says of a claim.
    fn is_held(&self, claim: &Claim, newest: bool) -> bool {
        let entry = self.model.get(claim.offset as usize);
        newest && matches!(entry, Some(Entry::Out { visible_at, .. }) if *visible_at > self.now)
    }

    fn choose(&self, which: &prop::sample::Index) -> Option<(Claim, Option<Lease>)> {
        if self.claims.is_empty() {
            return None;
        }
        let (claim, newest) = self.claims[which.index(self.claims.len())];
        let standing = self.leases.standing(&claim, self.now);
        let held = if let Standing::Held(lease) = standing {
            Some(lease)
        } else {
            None
        };
        assert_eq!(
            held.is_some(),
            self.is_held(&claim, newest),
            "{claim:?} {standing:?} at {}",
            self.now
        );
        let done = self.model.get(claim.offset as usize) == Some(&Entry::Done);
        assert_eq!(standing == Standing::Done, done);
        Some((claim, held))
    }

    fn take(&mut self, most: usize, skip: u64, auto_renew: bool) {
        let start = self.leases.next() + skip;
        let next = start + most as u64;
        let run = start..next;
        let sequence = self.leases.sequence();
        let visible_at = self.now + INVISIBLE;
        self.commit(Change::Taken(Taken {
            visible_at,
            auto_renew,
            sequence,
            again: vec![],
            fresh: vec![run],
            next,
        }));
        self.model.resize(start as usize, Entry::Done);
        self.model.resize(
            next as usize,
            Entry::Out {
                visible_at,
                attempt: 1,
            },
        );
        (start..next).for_each(|offset| self.hand_out(offset));
    }

    fn take_again(&mut self, most: usize) {
        let expired: Vec<(u64, Lease)> = self.leases.expired(self.now).take(most).collect();
        let mut by_model: Vec<(Timestamp, u64)> = Vec::new();
        for (offset, entry) in self.model.iter().enumerate() {
            match entry {
                Entry::Out { visible_at, .. } if *visible_at <= self.now => {
                    by_model.push((*visible_at, offset as u64))
                }
                _ => {}
            }
        }
        by_model.sort_unstable();
        assert!(
            expired
                .iter()
                .map(|(offset, _)| offset)
                .eq(by_model.iter().take(most).map(|(_, offset)| offset))
        );
        let again: Vec<(u64, u16)> = expired
            .iter()
            .map(|(offset, lease)| (*offset, lease.attempt + 1))
            .collect();
        let (visible_at, sequence, next) = (
            self.now + INVISIBLE,
            self.leases.sequence(),
            self.leases.next(),
        );
        self.commit(Change::Taken(Taken {
            visible_at,
            sequence,
            again: again.clone(),
            next,
            ..Taken::default()
        }));
        for (offset, attempt) in again {
            let Entry::Out {
                attempt: before, ..
            } = self.model[offset as usize]
            else {
                panic!("redelivered what is done")
            };
            assert_eq!(attempt, before + 1);
            self.model[offset as usize] = Entry::Out {
                visible_at,
                attempt,
            };
            self.hand_out(offset);
        }
    }

    fn replace(&mut self, offset: u64, lease: Lease) {
        self.commit(Change::Leased { offset, lease });
        self.model[offset as usize] = Entry::Out {
            visible_at: lease.visible_at,
            attempt: lease.attempt,
        };
    }

    /// All that are leased from an offset on.
    fn ack_all(&mut self, from: &prop::sample::Index) {
        let from = from.index(self.model.len() + 1) as u64;
        let leased = self.leases.iter().map(|(offset, _)| offset);
        let offsets: Vec<u64> = leased.filter(|&offset| offset >= from).collect();
        for &offset in &offsets {
            self.model[offset as usize] = Entry::Done;
        }
        let runs = runs(offsets.into_iter());
        self.commit(Change::AllDone { runs });
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Take {
                most,
                skip,
                auto_renew,
            } => self.take(*most, *skip, *auto_renew),
            Step::TakeAgain { most } => self.take_again(*most),
            Step::Pass { time } => self.now += time,
            Step::Ack { which } => {
                if let Some((Claim { offset, .. }, Some(_))) = self.choose(which) {
                    self.commit(Change::Done { offset });
                    self.model[offset as usize] = Entry::Done;
                }
            }
            Step::AckAll { from } => self.ack_all(from),
            Step::Change { which, by } => {
                if let Some((Claim { offset, .. }, Some(lease))) = self.choose(which) {
                    let lease = Lease {
                        visible_at: self.now + by,
                        sequence: match lease.auto_renew {
                            true => self.leases.sequence(),
                            false => lease.sequence,
                        },
                        ..lease
                    };
                    self.replace(offset, lease);
                    self.hand_out(offset);
                }
            }
            Step::Renew { which } => {
                if let Some((
                    Claim {
                        offset,
                        auto_renew: true,
                        ..
                    },
                    Some(lease),
                )) = self.choose(which)
                {
                    self.replace(
                        offset,
                        Lease {
                            visible_at: self.now + INVISIBLE,
                            ..lease
                        },
                    );
                }
            }
            Step::Release { which } => {
                if let Some((Claim { offset, .. }, Some(lease))) = self.choose(which) {
                    let (sequence, attempt) = (self.leases.sequence(), lease.attempt - 1);
                    self.void(|claim| claim.offset == offset);
                    self.replace(
                        offset,
                        Lease {
                            visible_at: self.now,
                            sequence,
                            attempt,
                            ..lease
                        },
                    );
                }
            }
            Step::Retain { from } => self.retain(from.index(self.model.len() + 5)),
            Step::Reset { to } => {
                let next = to.index(self.model.len() + 1);
                self.commit(Change::Reset { next: next as u64 });
                self.model.truncate(next);
                self.model.fill(Entry::Done);
                self.void(|_| true);
            }
            Step::Cut { end } => {
                let end = end.index(self.model.len() + 1);
                self.commit(Change::Cut { end: end as u64 });
                self.model.truncate(end);
                self.void(|claim| claim.offset >= end as u64);
            }
        }
    }

    fn retain(&mut self, start: usize) {
        self.leases.skip_to(start as u64);
        self.replayed.skip_to(start as u64);
        self.model.resize(start.max(self.model.len()), Entry::Done);
        self.model[..start].fill(Entry::Done);
    }

    fn compare(&self) {
        let out = |entry: &Entry| matches!(entry, Entry::Out { .. });
        let committed = self.model.iter().position(out).unwrap_or(self.model.len());
        let earliest = self.model.iter().filter_map(|entry| {
            if let Entry::Out { visible_at, .. } = entry {
                Some(*visible_at)
            } else {
                None
            }
        });
        assert_eq!(self.leases.next(), self.model.len() as u64);
        assert_eq!(self.leases.committed(), committed as u64);
        assert_eq!(
            self.leases.in_flight(),
            self.model.iter().filter(|entry| out(entry)).count()
        );
        assert_eq!(self.leases.earliest(), earliest.min());
        for (offset, lease) in self.leases.iter() {
            let Lease {
                visible_at,
                attempt,
                ..
            } = lease;
            assert_eq!(
                self.model[offset as usize],
                Entry::Out {
                    visible_at,
                    attempt
                }
            );
        }
        assert_eq!(
            self.leases, self.replayed,
            "the journal's records make another state"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_machine_does_as_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            world.compare();
        }
    }
}
