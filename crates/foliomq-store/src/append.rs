//! Appending messages.

use std::sync::atomic::AtomicU64;

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
        topic: &TopicState,
        queue: Option<u32>,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        let target = self.target(topic, queue)?;
        self.append_to(topic, target, message)
    }

    fn append_to(
        &self,
        topic: &TopicState,
        target: (u32, &AtomicU64),
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        self.check_body(message)?;
        let heads = message.heads();
        let parts = message.parts(&heads);
        self.log
            .append(&draft(topic, target, &parts))
            .map_err(|error| topic.refusal(error))
    }

    /// All of them or none, one after the other in one queue, not yet committed.
    pub(crate) fn append_all(
        &self,
        topic: &TopicState,
        queue: Option<u32>,
        messages: &[Message<'_>],
    ) -> Result<Submitted, StoreError> {
        if messages.is_empty() {
            return Err(StoreError::illegal("a batch holds at least one message"));
        }
        let (queue, next) = self.target(topic, queue)?;
        if let [message] = messages {
            let appended = vec![self.append_to(topic, (queue, next), message)?];
            return Ok(Submitted { queue, appended });
        }
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
            .map(|parts| draft(topic, (queue, next), parts))
            .collect();
        let appended = self
            .log
            .append_batch(&drafts)
            .map_err(|error| topic.refusal(error))?;
        Ok(Submitted { queue, appended })
    }

    /// The queue that a message goes to, with the offset that comes next there, if messages are taken at all.
    fn target<'t>(
        &self,
        topic: &'t TopicState,
        queue: Option<u32>,
    ) -> Result<(u32, &'t AtomicU64), StoreError> {
        self.admit()?;
        let queue = queue.unwrap_or_else(|| topic.take_turn());
        Ok((queue, topic.place(queue)?))
    }

    pub(crate) fn check_body(&self, message: &Message<'_>) -> Result<(), StoreError> {
        let (size, limit) = (message.body().len(), self.options.max_body);
        if size > limit {
            Err(StoreError::BodyTooLarge { size, limit })
        } else {
            Ok(())
        }
    }
}

fn draft<'a>(
    topic: &'a TopicState,
    (queue, next_offset): (u32, &'a AtomicU64),
    parts: &'a [&'a [u8]],
) -> Draft<'a> {
    Draft {
        kind: Kind::Message,
        topic: &topic.meta.name,
        queue_id: queue,
        next_offset,
        closed: Some(&topic.closed),
        message: parts,
    }
}
