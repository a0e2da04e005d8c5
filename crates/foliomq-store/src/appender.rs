//! Appending to one topic, which is looked up once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foliomq_commitlog::Appended;

use crate::append::Submitted;
use crate::error::StoreError;
use crate::message::Message;
use crate::registry::TopicState;
use crate::store::Store;
use crate::topic::TopicType;
use crate::topic_settings::Permission;

/// Appends to one topic. For many messages to the same topic this saves the look-up of each. Cheap to clone; keeps the
/// store open; any thread may use it.
///
/// Once the topic is deleted every append fails with [`StoreError::UnknownTopic`].
#[derive(Debug, Clone)]
pub struct Appender {
    store: Store,
    topic: Arc<TopicState>,
}

impl Appender {
    pub(crate) fn new(store: Store, topic: Arc<TopicState>) -> Self {
        Self { store, topic }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic.meta.name
    }

    /// Which messages the topic takes by now.
    pub fn kind(&self) -> TopicType {
        self.topic.kind()
    }

    /// What clients may do with the topic by now. Nothing is refused here for it: who serves clients asks.
    pub fn permission(&self) -> Permission {
        self.topic.permission()
    }

    /// How many queues the topic has by now.
    pub fn queues(&self) -> u32 {
        self.topic.queues()
    }

    /// Whether the topic is deleted. One of the same name may be there since.
    pub fn is_closed(&self) -> bool {
        self.topic.closed.load(Ordering::Acquire)
    }

    /// Appends to the next queue in turn, and blocks until it is committed.
    pub fn append(&self, message: &Message<'_>) -> Result<Appended, StoreError> {
        self.append_and_wait(None, message)
    }

    /// The same, to one queue.
    pub fn append_to(&self, queue: u32, message: &Message<'_>) -> Result<Appended, StoreError> {
        self.append_and_wait(Some(queue), message)
    }

    /// Appends all or none without waiting; see [`Store::submit`].
    pub fn submit(
        &self,
        queue: Option<u32>,
        messages: &[Message<'_>],
    ) -> Result<Submitted, StoreError> {
        let shared = self.store.shared();
        shared.append_all(&self.topic, queue, messages)
    }

    fn append_and_wait(
        &self,
        queue: Option<u32>,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        let shared = self.store.shared();
        let appended = shared.append_one(&self.topic, queue, message)?;
        shared.log.wait_committed(appended.end())?;
        Ok(appended)
    }
}
