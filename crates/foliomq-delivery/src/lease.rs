//! The state machine of one queue as one group sees it: what is done, what is leased, what was never delivered.
//!
//! It knows neither store nor clock nor journal. A request is checked against it ([`Leases::standing`],
//! [`Leases::expired`]) and becomes a [`Change`]; the change is written to the journal and then applied. A restart applies
//! the journal's changes the same way, so there is one path to every state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::Timestamp;

/// One delivery that is not over. 16 bytes; with its places in the two trees a leased message takes about 90.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// When it ends.
    pub visible_at: Timestamp,
    /// Tells this delivery from earlier ones of the same message. It wraps; a handle carries `visible_at` beside it, which
    /// tells the handles of one delivery apart.
    pub sequence: u32,
    /// Deliveries so far, this one included; 0 after the only one was released.
    pub attempt: u16,
    /// Whether the lease may be renewed in place.
    pub auto_renew: bool,
}

/// A delivery as its receipt handle describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Of the message in its queue.
    pub offset: u64,
    /// See [`Lease::sequence`].
    pub sequence: u32,
    /// When the lease ended as the handle was made; a renewed lease ends later.
    pub visible_at: Timestamp,
    /// See [`Lease::auto_renew`].
    pub auto_renew: bool,
}

/// What became of the delivery that a [`Claim`] describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the current one and not over.
    Held(Lease),
    /// It is the current one, perhaps over, but its lease was changed since: another claim has taken the place of this one.
    Changed(Lease),
    /// The message is done; by whom is not kept.
    Done,
    /// The claim is void: expired, replaced, or never made.
    Void(&'static str),
}

/// Which handles of a delivery are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handles {
    /// The newest.
    Newest,
    /// Any that it had, until its message is delivered again: the answer that brought a newer one may have been lost.
    Any,
}

/// Why a claim is void in whose place there is another.
pub(crate) const REPLACED: &str = "it was replaced by a newer one";

/// What happened to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A receive leased messages.
    Taken(Taken),
    /// A message is done.
    Done {
        /// Its offset.
        offset: u64,
    },
    /// Messages are done: as many as one client settled at once.
    AllDone {
        /// Runs of their offsets, ascending.
        runs: Vec<Range<u64>>,
    },
    /// A message that was delivered is leased differently: extended, renewed, released, or held to become a dead letter.
    Leased {
        /// Its offset.
        offset: u64,
        /// The lease from now on.
        lease: Lease,
    },
    /// Everything below `next` is done, and the rest was never delivered.
    Reset {
        /// The next offset to deliver.
        next: u64,
    },
    /// The queue ends at `end`: what was known of later offsets is void, for new messages will have them.
    Cut {
        /// One past the queue's last offset.
        end: u64,
    },
}

/// One receive's part of a queue, all with the same end of lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// When the leases end.
    pub visible_at: Timestamp,
    /// Whether they may be renewed in place.
    pub auto_renew: bool,
    /// Of the first message in `again`, then `fresh`; each further one has the next (wrapping).
    pub sequence: u32,
    /// Expired leases that are delivered once more: offset and the new attempt.
    pub again: Vec<(u64, u16)>,
    /// Runs of offsets delivered for the first time, ascending. What lies between them below `next` was filtered out.
    pub fresh: Vec<Range<u64>>,
    /// The next offset never delivered.
    pub next: u64,
}

impl Taken {
    /// Offset and lease of each message, in the order of their sequences.
    pub fn leases(&self) -> impl Iterator<Item = (u64, Lease)> {
        let fresh = self.fresh.iter().cloned().flatten();
        let fresh = fresh.map(|offset| (offset, 1));
        let all = self.again.iter().copied().chain(fresh);
        let mut sequence = self.sequence;
        all.map(move |(offset, attempt)| {
            let lease = Lease {
                visible_at: self.visible_at,
                sequence,
                attempt,
                auto_renew: self.auto_renew,
            };
            sequence = sequence.wrapping_add(1);
            (offset, lease)
        })
    }
}

/// The leases of one (group, topic, queue). Everything below [`next`](Self::next) and not leased is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    next: u64,
    sequence: u32,
    leased: BTreeMap<u64, Lease>,
    /// (end of lease, offset) of every lease: finding what expired costs no look at what did not.
    expiry: BTreeSet<(Timestamp, u64)>,
}

impl Leases {
    /// Nothing leased, everything below `next` done. `sequence` is the first that a lease gets.
    pub fn new(next: u64, sequence: u32) -> Self {
        Self {
            next,
            sequence,
            ..Self::default()
        }
    }

    /// The first offset never delivered.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The sequence that the next lease gets.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Begins another range of sequences: after a restart that may have forgotten the last leases, their handles must
    /// not fit new ones.
    pub fn begin_sequence(&mut self, sequence: u32) {
        self.sequence = sequence;
    }

    /// Every message below it is done.
    pub fn committed(&self) -> u64 {
        self.leased
            .first_key_value()
            .map_or(self.next, |(offset, _)| *offset)
    }

    /// How many messages are leased.
    pub fn in_flight(&self) -> usize {
        self.leased.len()
    }

    /// When the first lease ends, or ended.
    pub fn earliest(&self) -> Option<Timestamp> {
        self.expiry.first().map(|(time, _)| *time)
    }

    /// When the next lease ends that has not ended at `now`.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let later = (now.saturating_add(1), 0)..;
        self.expiry.range(later).next().map(|(time, _)| *time)
    }

    /// The lease of a message, if it has one.
    pub fn lease(&self, offset: u64) -> Option<Lease> {
        self.leased.get(&offset).copied()
    }

    /// All leases, by offset.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Lease)> {
        self.leased.iter().map(|(offset, lease)| (*offset, *lease))
    }

    /// Leases that are over at `now`, the longest expired first.
    pub fn expired(&self, now: Timestamp) -> impl Iterator<Item = (u64, Lease)> {
        self.expired_since(0, now)
    }

    /// Leases that ended between `from` and `now`, both included.
    pub fn expired_since(
        &self,
        from: Timestamp,
        now: Timestamp,
    ) -> impl Iterator<Item = (u64, Lease)> {
        let from = from.min(now);
        self.expiry
            .range((from, 0)..=(now, u64::MAX))
            .map(|(_, offset)| (*offset, self.leased[offset]))
    }

    /// What became of a delivery.
    pub fn standing(&self, claim: &Claim, now: Timestamp) -> Standing {
        if claim.offset >= self.next {
            return Standing::Void("the message is not delivered");
        }
        let Some(lease) = self.lease(claim.offset) else {
            return Standing::Done;
        };
        let renewed = lease.auto_renew && claim.auto_renew;
        if lease.sequence != claim.sequence {
            Standing::Void(REPLACED)
        } else if lease.visible_at != claim.visible_at && !renewed {
            Standing::Changed(lease)
        } else if lease.visible_at <= now {
            Standing::Void("it has expired")
        } else {
            Standing::Held(lease)
        }
    }

    /// The same, where perhaps older claims of the delivery are good too.
    pub(crate) fn standing_by(&self, claim: &Claim, now: Timestamp, good: Handles) -> Standing {
        match self.standing(claim, now) {
            Standing::Changed(lease) if good == Handles::Any && lease.visible_at > now => {
                Standing::Held(lease)
            }
            standing => standing,
        }
    }

    /// Makes a change true. Each is complete in itself: it does not depend on the state that it meets.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Taken(taken) => self.take(taken),
            Change::Done { offset } => self.end(*offset),
            Change::AllDone { runs } => runs
                .iter()
                .cloned()
                .flatten()
                .for_each(|offset| self.end(offset)),
            Change::Leased { offset, lease } => {
                self.put(*offset, *lease);
                if lease.sequence == self.sequence {
                    self.sequence = lease.sequence.wrapping_add(1);
                }
            }
            Change::Reset { next } => *self = Self::new(*next, self.sequence),
            Change::Cut { end } => self.cut(*end),
        }
    }

    /// Messages below `start` are gone from the store; so are their leases.
    pub fn skip_to(&mut self, start: u64) {
        while let Some((&offset, _)) = self.leased.first_key_value()
            && offset < start
        {
            self.end(offset);
        }
        self.next = self.next.max(start);
    }

    /// Takes up a lease that a snapshot kept.
    pub(crate) fn restore(&mut self, offset: u64, lease: Lease) {
        self.put(offset, lease);
    }

    fn take(&mut self, taken: &Taken) {
        self.sequence = taken.sequence;
        for (offset, lease) in taken.leases() {
            self.put(offset, lease);
            self.sequence = lease.sequence.wrapping_add(1);
        }
        self.next = taken.next;
    }

    fn cut(&mut self, end: u64) {
        for (offset, lease) in self.leased.split_off(&end) {
            self.expiry.remove(&(lease.visible_at, offset));
        }
        self.next = self.next.min(end);
    }

    fn put(&mut self, offset: u64, lease: Lease) {
        if let Some(old) = self.leased.insert(offset, lease) {
            self.expiry.remove(&(old.visible_at, offset));
        }
        self.expiry.insert((lease.visible_at, offset));
    }

    fn end(&mut self, offset: u64) {
        if let Some(lease) = self.leased.remove(&offset) {
            self.expiry.remove(&(lease.visible_at, offset));
        }
        if self.leased.is_empty() {
            // An empty tree keeps the memory of its root: of many idle queues that would be most of it.
            (self.leased, self.expiry) = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(visible_at: Timestamp, sequence: u32, fresh: Range<u64>) -> Change {
        let next = fresh.end;
        Change::Taken(Taken {
            visible_at,
            sequence,
            fresh: vec![fresh],
            next,
            ..Taken::default()
        })
    }

    fn claim(offset: u64, lease: Lease) -> Claim {
        Claim {
            offset,
            sequence: lease.sequence,
            visible_at: lease.visible_at,
            auto_renew: lease.auto_renew,
        }
    }

    /// Offsets 0..3 leased until 100.
    fn three() -> Leases {
        let mut leases = Leases::new(0, 7);
        leases.apply(&taken(100, 7, 0..3));
        leases
    }

    #[test]
    fn committed_is_the_lowest_lease_or_next() {
        let mut leases = three();
        assert_eq!(
            (leases.committed(), leases.next(), leases.in_flight()),
            (0, 3, 3)
        );
        leases.apply(&Change::Done { offset: 1 });
        assert_eq!(leases.committed(), 0);
        leases.apply(&Change::Done { offset: 0 });
        assert_eq!(leases.committed(), 2);
        leases.apply(&Change::Done { offset: 2 });
        assert_eq!(
            (leases.committed(), leases.in_flight(), leases.earliest()),
            (3, 0, None)
        );
    }

    #[test]
    fn filtered_out_messages_are_done() {
        let mut leases = Leases::default();
        leases.apply(&Change::Taken(Taken {
            visible_at: 9,
            fresh: vec![1..2, 4..5],
            next: 8,
            ..Taken::default()
        }));
        assert_eq!(
            leases.iter().map(|(offset, _)| offset).collect::<Vec<_>>(),
            [1, 4]
        );
        assert_eq!((leases.committed(), leases.next()), (1, 8));
    }

    #[test]
    fn a_claim_is_good_until_its_lease_ends() {
        let leases = three();
        let claim = claim(1, leases.lease(1).unwrap());
        assert!(matches!(leases.standing(&claim, 99), Standing::Held(_)));
        assert_eq!(
            leases.standing(&claim, 100),
            Standing::Void("it has expired")
        );
        let never = Claim { offset: 3, ..claim };
        assert_eq!(
            leases.standing(&never, 0),
            Standing::Void("the message is not delivered")
        );
    }

    #[test]
    fn an_older_delivery_is_void_and_a_done_message_is_done() {
        let mut leases = three();
        let old = claim(0, leases.lease(0).unwrap());
        let sequence = leases.sequence();
        leases.apply(&Change::Taken(Taken {
            visible_at: 300,
            sequence,
            again: vec![(0, 2)],
            next: 3,
            ..Taken::default()
        }));
        assert_eq!(leases.lease(0).unwrap().attempt, 2);
        assert!(matches!(leases.standing(&old, 50), Standing::Void(_)));
        leases.apply(&Change::Done { offset: 0 });
        assert_eq!(leases.standing(&old, 500), Standing::Done);
    }

    #[test]
    fn renewal_keeps_the_claim_and_a_changed_lease_does_not() {
        let mut leases = Leases::default();
        leases.apply(&Change::Taken(Taken {
            visible_at: 100,
            auto_renew: true,
            fresh: vec![0..1, 1..2],
            next: 2,
            ..Taken::default()
        }));
        let [first, second] = [0, 1].map(|offset| claim(offset, leases.lease(offset).unwrap()));
        let renewed = Lease {
            visible_at: 900,
            ..leases.lease(0).unwrap()
        };
        leases.apply(&Change::Leased {
            offset: 0,
            lease: renewed,
        });
        assert_eq!(leases.standing(&first, 899), Standing::Held(renewed));
        assert!(matches!(leases.standing(&first, 900), Standing::Void(_)));
        let changed = Lease {
            visible_at: 900,
            sequence: leases.sequence(),
            ..leases.lease(1).unwrap()
        };
        leases.apply(&Change::Leased {
            offset: 1,
            lease: changed,
        });
        assert!(matches!(leases.standing(&second, 50), Standing::Void(_)));
        assert!(matches!(
            leases.standing(&claim(1, changed), 50),
            Standing::Held(_)
        ));
        assert_ne!(
            leases.sequence(),
            changed.sequence,
            "the sequence was used up"
        );
    }

    #[test]
    fn a_claim_of_a_changed_delivery_is_told_from_one_of_an_earlier_delivery() {
        let mut leases = three();
        let first = claim(1, leases.lease(1).unwrap());
        let changed = Lease {
            visible_at: 900,
            ..leases.lease(1).unwrap()
        };
        leases.apply(&Change::Leased {
            offset: 1,
            lease: changed,
        });
        assert_eq!(leases.standing(&first, 50), Standing::Changed(changed));
        assert_eq!(
            leases.standing(&claim(1, changed), 50),
            Standing::Held(changed)
        );
        let sequence = leases.sequence();
        leases.apply(&Change::Taken(Taken {
            visible_at: 2000,
            sequence,
            again: vec![(1, 2)],
            next: 3,
            ..Taken::default()
        }));
        assert_eq!(leases.standing(&first, 950), Standing::Void(REPLACED));
    }

    #[test]
    fn expired_leases_come_in_the_order_of_their_end() {
        let mut leases = three();
        let early = Lease {
            visible_at: 40,
            ..leases.lease(2).unwrap()
        };
        leases.apply(&Change::Leased {
            offset: 2,
            lease: early,
        });
        let expired = |now| {
            leases
                .expired(now)
                .map(|(offset, _)| offset)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (expired(39), expired(40), expired(100)),
            (vec![], vec![2], vec![2, 0, 1])
        );
        assert_eq!(
            leases
                .expired_since(41, 200)
                .map(|(offset, _)| offset)
                .collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(leases.earliest(), Some(40));
    }

    #[test]
    fn retention_a_cut_and_a_reset_drop_leases() {
        let mut leases = three();
        leases.skip_to(2);
        assert_eq!(
            (leases.committed(), leases.in_flight(), leases.earliest()),
            (2, 1, Some(100))
        );
        leases.skip_to(10);
        assert_eq!(
            (leases.committed(), leases.next(), leases.earliest()),
            (10, 10, None)
        );

        let mut leases = three();
        leases.apply(&Change::Cut { end: 1 });
        assert_eq!((leases.in_flight(), leases.next()), (1, 1));

        let mut leases = three();
        let sequence = leases.sequence();
        leases.apply(&Change::Reset { next: 2 });
        assert_eq!(
            leases,
            Leases::new(2, sequence),
            "sequences go on, so that older handles are void"
        );
    }

    #[test]
    fn a_lease_is_small() {
        assert_eq!(size_of::<Lease>(), 16);
    }
}
