//! A group reads a topic.

use super::{Record, SUBSCRIPTION};
use crate::wire::{Input, put, put_all, put_text};

pub(super) fn encode(out: &mut Vec<u8>, ids: [u32; 3], topic: &str, starts: &[u64]) {
    out.push(SUBSCRIPTION);
    put_all(out, ids.map(u64::from));
    put_text(out, topic);
    put(out, starts.len() as u64);
    put_all(out, starts.iter().copied());
}

impl Input<'_> {
    pub(super) fn subscription(&mut self) -> Option<Record> {
        let (id, group, topic_id) = (self.small()?, self.small()?, self.small()?);
        let topic = self.text()?;
        let starts = (0..self.count()?)
            .map(|_| self.number())
            .collect::<Option<_>>()?;
        Some(Record::Subscription {
            id,
            group,
            topic_id,
            topic,
            starts,
        })
    }
}
