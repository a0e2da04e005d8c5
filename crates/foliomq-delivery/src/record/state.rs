//! A part of a queue's whole state in a snapshot.

use super::Record;
use super::change::put_lease;
use crate::lease::Lease;
use crate::wire::{Input, put_all};

pub(super) fn encode(out: &mut Vec<u8>, next: u64, leases: &[(u64, Lease)]) {
    put_all(out, [next, leases.len() as u64]);
    for (offset, lease) in leases {
        put_lease(out, *offset, lease);
    }
}

impl Input<'_> {
    pub(super) fn state(&mut self) -> Option<Record> {
        let (subscription, queue) = (self.small()?, self.small()?);
        let (first, last) = self.part()?;
        let next = self.number()?;
        let leases = (0..self.count()?)
            .map(|_| self.lease())
            .collect::<Option<_>>()?;
        Some(Record::State {
            subscription,
            queue,
            first,
            last,
            next,
            leases,
        })
    }
}
