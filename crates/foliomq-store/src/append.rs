//! Appending messages.

use std::sync::Arc;

use foliomq_commitlog::{Appended, Draft, Kind};

use crate::error::StoreError;
use crate::message::Message;
use crate::registry::TopicState;
use crate::shared::Shared;

/// What [`Store::submit`](crate::Store::submit) appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The queue that all of them are in.
    pub queue: u32,
    /// One for each message, in order; never empty.
    pub appended: Vec<Appended>,
}

impl Submitted {
    /// The position after the last: they may be acknowledged once that is committed.
    pub fn end(&self) -> u64 {
        self.appended.last().map_or(0, Appended::end)
    }
}

impl Shared {
    /// One message, not yet committed.
    pub(crate) fn append_one(
        &self,
        topic: &str,
        queue: Option<u32>,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        let (topic, queue) = self.target(topic, queue)?;
        self.check_body(message)?;
        let heads = message.heads();
        let parts = message.parts(&heads);
        topic.append(
            || self.log.append(&draft(&topic, queue, &parts)),
            Appended::end,
        )
    }

    /// All of them or none, one after the other in one queue, not yet committed.
    pub(crate) fn append_all(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[Message<'_>],
    ) -> Result<Submitted, StoreError> {
        if messages.is_empty() {
            return Err(StoreError::illegal("a batch holds at least one message"));
        }
        if let [message] = messages {
            let (state, queue) = self.target(topic, queue)?;
            let appended = self.append_one(&state.meta.name, Some(queue), message)?;
            return Ok(Submitted {
                queue,
                appended: vec![appended],
            });
        }
        let (topic, queue) = self.target(topic, queue)?;
        messages
            .iter()
            .try_for_each(|message| self.check_body(message))?;
        let heads: Vec<_> = messages.iter().map(Message::heads).collect();
        let parts: Vec<_> = messages
            .iter()
            .zip(&heads)
            .map(|(message, heads)| message.parts(heads))
            .collect();
        let drafts: Vec<_> = parts
            .iter()
            .map(|parts| draft(&topic, queue, parts))
            .collect();
        let end = |appended: &Vec<Appended>| appended.last().map_or(0, Appended::end);
        let appended = topic.append(|| self.log.append_batch(&drafts), end)?;
        Ok(Submitted { queue, appended })
    }

    /// Where a message goes, if messages are taken at all.
    fn target(
        &self,
        topic: &str,
        queue: Option<u32>,
    ) -> Result<(Arc<TopicState>, u32), StoreError> {
        self.admit()?;
        let topic = self.registry.get(topic)?;
        let queue = queue.unwrap_or_else(|| topic.take_turn());
        topic.number(queue)?;
        Ok((topic, queue))
    }

    fn check_body(&self, message: &Message<'_>) -> Result<(), StoreError> {
        let (size, limit) = (message.body().len(), self.options.max_body);
        if size > limit {
            Err(StoreError::BodyTooLarge { size, limit })
        } else {
            Ok(())
        }
    }
}

fn draft<'a>(topic: &'a TopicState, queue: u32, parts: &'a [&'a [u8]]) -> Draft<'a> {
    Draft {
        kind: Kind::Message,
        topic: &topic.meta.name,
        queue_id: queue,
        next_offset: &topic.next_offsets[queue as usize],
        message: parts,
    }
}
