//! Messages go in.

use foliomq_commitlog::Appended;

use super::Store;
use crate::append::Submitted;
use crate::appender::Appender;
use crate::error::StoreError;
use crate::message::Message;

impl Store {
    /// What appends to one topic: look it up once, append often.
    pub fn appender(&self, topic: &str) -> Result<Appender, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        Ok(Appender::new(self.clone(), topic))
    }

    /// Appends to the topic's next queue in turn, and blocks until it is committed.
    pub fn append(&self, topic: &str, message: &Message<'_>) -> Result<Appended, StoreError> {
        self.append_and_wait(topic, None, message)
    }

    /// The same, to one queue.
    pub fn append_to(
        &self,
        topic: &str,
        queue: u32,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        self.append_and_wait(topic, Some(queue), message)
    }

    fn append_and_wait(
        &self,
        topic: &str,
        queue: Option<u32>,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        let shared = self.shared();
        let appended = shared.append_one(&*shared.registry.get(topic)?, queue, message)?;
        shared.log.wait_committed(appended.end())?;
        Ok(appended)
    }

    /// Appends all or none, contiguous, in one queue (`None`: the next in turn), *without* waiting: they may be
    /// acknowledged once [`committed`](Self::committed) or [`wait_committed`](Self::wait_committed) returns for
    /// [`Submitted::end`]. Together they must fit a segment.
    pub fn submit(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[Message<'_>],
    ) -> Result<Submitted, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        self.0.shared.append_all(&topic, queue, messages)
    }

    /// Blocks until everything below `end` is committed.
    pub fn wait_committed(&self, end: u64) -> Result<(), StoreError> {
        Ok(self.0.shared.log.wait_committed(end)?)
    }

    /// Blocks until everything below `end` is on the device, whatever the flush mode: what is to be made durable elsewhere
    /// must not come before it.
    pub fn wait_durable(&self, end: u64) -> Result<(), StoreError> {
        let log = &self.0.shared.log;
        match log.watermarks().durable < end {
            true => Ok(log.flush()?),
            false => Ok(()),
        }
    }

    /// The same as [`wait_committed`](Self::wait_committed) for async callers; needs no runtime.
    pub async fn committed(&self, end: u64) -> Result<(), StoreError> {
        Ok(self.0.shared.log.committed(end).await?)
    }
}
