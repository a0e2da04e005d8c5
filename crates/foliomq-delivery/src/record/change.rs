//! What happened to a queue, and the leases in it.

use std::ops::Range;

use super::{ALL_DONE, CUT, DONE, LEASED, RESET, TAKEN};
use crate::Timestamp;
use crate::lease::{Change, Lease, Taken};
use crate::wire::{Input, put, put_all};

const AUTO_RENEW: u8 = 1;

/// The bytes of a change, without owning it.
pub(crate) fn encode_change(out: &mut Vec<u8>, subscription: u32, queue: u32, change: &Change) {
    let kind = match change {
        Change::Taken(_) => TAKEN,
        Change::Done { .. } => DONE,
        Change::AllDone { .. } => ALL_DONE,
        Change::Leased { .. } => LEASED,
        Change::Reset { .. } => RESET,
        Change::Cut { .. } => CUT,
    };
    out.push(kind);
    put_all(out, [subscription, queue].map(u64::from));
    match change {
        Change::Taken(taken) => put_taken(out, taken),
        Change::AllDone { runs } => put_runs(out, runs),
        Change::Leased { offset, lease } => put_lease(out, *offset, lease),
        Change::Done { offset: number }
        | Change::Reset { next: number }
        | Change::Cut { end: number } => put(out, *number),
    }
}

fn put_taken(out: &mut Vec<u8>, taken: &Taken) {
    out.push(if taken.auto_renew { AUTO_RENEW } else { 0 });
    out.extend_from_slice(&taken.sequence.to_le_bytes());
    put_all(
        out,
        [taken.visible_at, taken.next, taken.again.len() as u64],
    );
    for (offset, attempt) in &taken.again {
        put_all(out, [*offset, u64::from(*attempt)]);
    }
    put_runs(out, &taken.fresh);
}

/// Ascending runs: the gap before each, and its length.
fn put_runs(out: &mut Vec<u8>, runs: &[Range<u64>]) {
    put(out, runs.len() as u64);
    let mut at = 0;
    for run in runs {
        put_all(out, [run.start - at, run.end - run.start]);
        at = run.end;
    }
}

pub(super) fn put_lease(out: &mut Vec<u8>, offset: u64, lease: &Lease) {
    put_all(out, [offset, lease.visible_at, u64::from(lease.attempt)]);
    out.extend_from_slice(&lease.sequence.to_le_bytes());
    out.push(if lease.auto_renew { AUTO_RENEW } else { 0 });
}

impl Input<'_> {
    pub(super) fn change(&mut self, kind: u8) -> Option<Change> {
        Some(match kind {
            TAKEN => Change::Taken(self.taken()?),
            DONE => Change::Done {
                offset: self.number()?,
            },
            ALL_DONE => Change::AllDone { runs: self.runs()? },
            LEASED => {
                let (offset, lease) = self.lease()?;
                Change::Leased { offset, lease }
            }
            RESET => Change::Reset {
                next: self.number()?,
            },
            CUT => Change::Cut {
                end: self.number()?,
            },
            _ => return None,
        })
    }

    fn taken(&mut self) -> Option<Taken> {
        let auto_renew = self.byte()? & AUTO_RENEW != 0;
        let sequence = self.sequence()?;
        let (visible_at, next) = (self.number()?, self.number()?);
        let again = (0..self.count()?)
            .map(|_| Some((self.number()?, self.small()?)))
            .collect::<Option<_>>()?;
        let fresh = self.runs()?;
        Some(Taken {
            visible_at,
            auto_renew,
            sequence,
            again,
            fresh,
            next,
        })
    }

    fn runs(&mut self) -> Option<Vec<Range<u64>>> {
        let mut at = 0;
        (0..self.count()?).map(|_| self.run(&mut at)).collect()
    }

    /// A run of offsets that begins at or after `at`, which moves to its end.
    fn run(&mut self, at: &mut u64) -> Option<Range<u64>> {
        let start = at.checked_add(self.number()?)?;
        *at = start.checked_add(self.number()?)?;
        Some(start..*at)
    }

    pub(super) fn sequence(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.slice(4)?.try_into().ok()?))
    }

    pub(super) fn lease(&mut self) -> Option<(u64, Lease)> {
        let (offset, visible_at): (u64, Timestamp) = (self.number()?, self.number()?);
        let attempt = self.small()?;
        let sequence = self.sequence()?;
        let auto_renew = self.byte()? & AUTO_RENEW != 0;
        Some((
            offset,
            Lease {
                visible_at,
                sequence,
                attempt,
                auto_renew,
            },
        ))
    }
}
