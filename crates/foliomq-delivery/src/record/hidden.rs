//! Hidden messages: a part of them in a snapshot, and who was asked about one.

use super::Record;
use crate::pending::{Half, Saved};
use crate::wire::{Input, put_all};

pub(super) fn encode(out: &mut Vec<u8>, seen: u64, messages: &[Saved]) {
    put_all(out, [seen, messages.len() as u64]);
    messages.iter().for_each(|message| message.encode(out));
}

pub(super) fn encode_asked(out: &mut Vec<u8>, id: u64, half: &Half) {
    put_all(out, [id, half.since, half.ask_at, u64::from(half.asked)]);
}

impl Input<'_> {
    pub(super) fn pending(&mut self) -> Option<Record> {
        let (first, last) = self.part()?;
        let seen = self.number()?;
        let messages = (0..self.count()?).map(|_| Saved::decode(self));
        Some(Record::Pending {
            first,
            last,
            seen,
            messages: messages.collect::<Option<_>>()?,
        })
    }

    pub(super) fn asked(&mut self) -> Option<Record> {
        Some(Record::Asked {
            id: self.number()?,
            half: Half {
                since: self.number()?,
                ask_at: self.number()?,
                asked: self.small()?,
            },
        })
    }
}
