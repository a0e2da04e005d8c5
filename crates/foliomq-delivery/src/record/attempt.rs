//! The last batch of a queue that was asked for by name.

use super::{ATTEMPT, Record};
use crate::wire::{Input, put, put_all, put_text};

pub(super) fn encode(out: &mut Vec<u8>, place: [u32; 2], id: &str, leases: &[(u64, u32)]) {
    out.push(ATTEMPT);
    put_all(out, place.map(u64::from));
    put_text(out, id);
    put(out, leases.len() as u64);
    for (offset, sequence) in leases {
        put(out, *offset);
        out.extend_from_slice(&sequence.to_le_bytes());
    }
}

impl Input<'_> {
    pub(super) fn attempt(&mut self) -> Option<Record> {
        let (subscription, queue, id) = (self.small()?, self.small()?, self.text()?);
        let leases = (0..self.count()?)
            .map(|_| Some((self.number()?, self.sequence()?)))
            .collect::<Option<_>>()?;
        Some(Record::Attempt {
            subscription,
            queue,
            id,
            leases,
        })
    }
}
