//! What the clients of a group read of the lite topics of a topic.

use super::{LITE, Record};
use crate::wire::{Input, put, put_all, put_text};

/// What happened to the lite topics that a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LiteChange {
    /// It reads these too.
    Add,
    /// It reads these no more.
    Remove,
    /// It reads none.
    Clear,
}

impl LiteChange {
    /// In the order of their codes.
    pub(super) const ALL: [Self; 3] = [Self::Add, Self::Remove, Self::Clear];
}

pub(super) fn encode(
    out: &mut Vec<u8>,
    group: u32,
    names: [&str; 2],
    change: LiteChange,
    topics: &[u32],
) {
    out.push(LITE);
    put(out, u64::from(group));
    names.iter().for_each(|name| put_text(out, name));
    out.push(change as u8);
    put(out, topics.len() as u64);
    put_all(out, topics.iter().copied().map(u64::from));
}

impl Input<'_> {
    pub(super) fn lite(&mut self) -> Option<Record> {
        let (group, topic, client) = (self.small()?, self.text()?, self.text()?);
        let change = *LiteChange::ALL.get(usize::from(self.byte()?))?;
        let topics = (0..self.count()?)
            .map(|_| self.small())
            .collect::<Option<_>>()?;
        Some(Record::Lite {
            group,
            topic,
            client,
            change,
            topics,
        })
    }
}
