//! Reads what is committed, in log order, and enters it into the indexes.

use std::sync::Arc;
use std::time::Duration;

use event_listener::Listener;
use foliomq_commitlog::{AppendError, Kind, Record, Records};
use foliomq_consumequeue::{Entry, IndexError, key_hash, tag_hash};

use crate::error::{OpenError, StoreError};
use crate::meta::{Change, TopicMeta};
use crate::open::CatchUpError;
use crate::registry::TopicState;
use crate::shared::{Cause, Shared, is_full};
use crate::stored::{LOST, StoredMessage};
use crate::topic::{MAX_QUEUES, TopicType};

/// What a queue offset means that the log leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The index and the log contradict each other.
    IsAnError,
    /// The message was damaged, and given up by a salvage.
    IsLost,
}

/// Records that are entered before those who wait for them are woken.
const BATCH: usize = 256;
/// How long the dispatcher waits, at most, before it looks again whether there is room for the indexes.
const RETRY: Duration = Duration::from_millis(500);

impl Shared {
    /// The thread: enters what comes, until the store closes.
    pub(crate) fn run_dispatcher(&self) {
        let mut records = self.log.records(self.dispatched.value());
        loop {
            let listener = self.log.listen();
            let closing = self.closing();
            match self.dispatch(&mut records, Gap::IsAnError) {
                Ok(()) => {
                    if self.refuses_for(Cause::IndexRoom) {
                        self.set_refusal(Cause::IndexRoom, None);
                    }
                    if closing {
                        return;
                    }
                    listener.wait();
                }
                Err(CatchUpError::Failed(OpenError::Index(error))) if is_full(&error) => {
                    self.refuse_for_index(&error);
                    if closing {
                        return;
                    }
                    listener.wait_timeout(RETRY);
                    // What was entered of the batch already is passed over.
                    records = self.log.records(self.dispatched.value());
                }
                Err(error) => return self.stop_dispatching(&error),
            }
        }
    }

    /// Enters everything that is committed now.
    pub(crate) fn dispatch(&self, records: &mut Records, gap: Gap) -> Result<(), CatchUpError> {
        let mut touched: Vec<Arc<TopicState>> = Vec::new();
        loop {
            let mut count = 0;
            for record in records.by_ref().take(BATCH) {
                let record = record.map_err(|error| failed(error.into()))?;
                if let Some(topic) = self.enter(record, gap)?
                    && !touched.iter().any(|other| Arc::ptr_eq(other, &topic))
                {
                    touched.push(topic);
                }
                count += 1;
            }
            self.dispatched.advance(Records::position(records));
            touched
                .drain(..)
                .for_each(|topic| _ = topic.event.notify(usize::MAX));
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Enters one record; returns the topic that has a new message.
    fn enter(&self, record: Record, gap: Gap) -> Result<Option<Arc<TopicState>>, CatchUpError> {
        if record.kind() != Kind::Message {
            return Ok(None);
        }
        let Some(topic) = self.topic_of(&record)? else {
            return Ok(None);
        };
        let Ok(number) = topic.number(record.queue_id()) else {
            let reason = format!(
                "record {} is of a queue that its topic does not have",
                record.position()
            );
            return Err(CatchUpError::Failed(OpenError::invalid(reason)));
        };
        let offset = record.queue_offset();
        let message = StoredMessage::new(record).map_err(failed)?;
        let (position, size, store_time) =
            (message.position(), message.size(), message.store_time());
        let entry = Entry {
            position,
            size,
            tag_hash: tag_hash(message.tag()),
            store_time,
        };
        if gap == Gap::IsLost {
            self.fill_gap(number, offset, entry)?;
        }
        self.queues.put(number, offset, entry)?;
        for key in message.keys().chain(message.sender_id()) {
            self.keys.put(key_hash(message.topic(), key), position)?;
        }
        Ok(Some(topic))
    }

    /// Enters the offsets before `offset` that the log no longer holds, each pointing at no record of its own.
    fn fill_gap(&self, number: u32, offset: u64, next: Entry) -> Result<(), IndexError> {
        let known = self.queues.offsets(number);
        if known.is_empty() || known.end >= offset {
            return Ok(());
        }
        tracing::warn!(
            queue = number,
            from = known.end,
            to = offset,
            "messages are lost: a salvage gave them up"
        );
        let lost = Entry {
            size: LOST,
            tag_hash: 0,
            ..next
        };
        (known.end..offset).try_for_each(|offset| self.queues.put(number, offset, lost))
    }

    /// The topic of a record, made from the log if the metadata has lost it; `None` if it is deleted.
    fn topic_of(&self, record: &Record) -> Result<Option<Arc<TopicState>>, CatchUpError> {
        let name = record.topic();
        if let Some(topic) = self.registry.find(name) {
            return Ok((record.position() >= topic.meta.since).then_some(topic));
        }
        if self.registry.is_deleted(name, record.position()) {
            return Ok(None);
        }
        let queues = self.options.default_queues.max(self.queues_in_log(record)?);
        tracing::warn!(
            topic = name,
            queues,
            "a topic is missing in the metadata: made from the log"
        );
        self.make_topic(name, queues, TopicType::Any, record.position())
            .map(Some)
            .map_err(failed)
    }

    /// How many queues the topic of `first` has, as far as its records tell.
    fn queues_in_log(&self, first: &Record) -> Result<u32, CatchUpError> {
        let mut queues = 0;
        for record in self.log.records(first.position()) {
            let record = record.map_err(|error| failed(error.into()))?;
            if record.kind() == Kind::Message && record.topic() == first.topic() {
                queues = queues.max(record.queue_id().saturating_add(1));
            }
        }
        Ok(queues.min(MAX_QUEUES))
    }

    /// Makes a topic, durably, unless one of this name is there.
    pub(crate) fn make_topic(
        &self,
        name: &str,
        queues: u32,
        kind: TopicType,
        since: u64,
    ) -> Result<Arc<TopicState>, StoreError> {
        let topic = {
            let _changing = self.changing.lock();
            self.registry.add(name, |id, first_number| {
                let meta = TopicMeta {
                    name: name.to_owned(),
                    id,
                    queues,
                    kind,
                    first_number,
                    since,
                };
                self.meta.append(&Change::Topic(meta.clone()))?;
                Ok(meta)
            })?
        };
        // Outside the lock: one flush serves all who make topics at once.
        self.meta.flush()?;
        Ok(topic)
    }

    /// Nothing new can be read any more: so nothing more is taken either.
    fn stop_dispatching(&self, error: &CatchUpError) {
        let reason = match error {
            CatchUpError::Rebuild(reason) => format!("{reason}; a restart makes the indexes anew"),
            CatchUpError::Failed(error) => error.to_string(),
        };
        tracing::error!(%reason, "the indexes cannot follow the log: no more messages are taken");
        let reason = format!("the indexes cannot follow the log: {reason}");
        self.set_refusal(Cause::Index, Some(AppendError::Poisoned { reason }));
    }
}

fn failed(error: StoreError) -> CatchUpError {
    CatchUpError::Failed(OpenError::invalid(error.to_string()))
}
