//! Following a queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_listener::{EventListener, Listener};
use foliomq_commitlog::AppendError;

use crate::error::StoreError;
use crate::registry::TopicState;
use crate::shared::Shared;
use crate::stored::StoredMessage;

/// A position in a queue that follows its tail.
#[derive(Debug)]
pub struct Tail {
    shared: Arc<Shared>,
    topic: Arc<TopicState>,
    queue: u32,
    offset: u64,
}

impl Tail {
    pub(crate) fn new(
        shared: Arc<Shared>,
        topic: Arc<TopicState>,
        queue: u32,
        offset: u64,
    ) -> Self {
        Self {
            shared,
            topic,
            queue,
            offset,
        }
    }

    /// Offset of the message that comes next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is there now, or `None`. Messages that retention has removed are passed over.
    pub fn try_next(&mut self) -> Result<Option<StoredMessage>, StoreError> {
        let number = self.topic.number(self.queue)?;
        loop {
            let start = self.shared.queues.offsets(number).start;
            self.offset = self.offset.max(start).max(self.topic.floor(self.queue));
            let Some(entry) = self.shared.queues.entry(number, self.offset)? else {
                return Ok(None);
            };
            let message = self.shared.message_if_there(&entry)?;
            self.offset += 1;
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Blocks until there is one; `None` when the time is over.
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`] when the store closes or the topic is deleted.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<StoredMessage>, StoreError> {
        let deadline = Instant::now() + timeout;
        loop {
            let listener = self.listen()?;
            if let Some(message) = self.try_next()? {
                return Ok(Some(message));
            }
            if listener.wait_deadline(deadline).is_none() {
                return self.try_next();
            }
        }
    }

    /// Waits without a runtime of its own.
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`] when the store closes or the topic is deleted.
    pub async fn next(&mut self) -> Result<StoredMessage, StoreError> {
        loop {
            let listener = self.listen()?;
            if let Some(message) = self.try_next()? {
                return Ok(message);
            }
            listener.await;
        }
    }

    fn listen(&self) -> Result<EventListener, StoreError> {
        let listener = self.topic.event.listen();
        let deleted = !self
            .shared
            .registry
            .find(&self.topic.meta.name)
            .is_some_and(|now| Arc::ptr_eq(&now, &self.topic));
        if self.shared.closing() || deleted {
            Err(AppendError::Closed.into())
        } else {
            Ok(listener)
        }
    }
}
