//! Making topics, one or many at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::change::{Change, TopicMeta};
use crate::error::StoreError;
use crate::shared::Shared;
use crate::topic::{TopicOptions, TopicType};
use crate::topic_settings::TopicSettings;
use crate::topic_state::TopicState;

/// Topics that are written down together, while nobody else may make one.
const STEP: usize = 4096;

impl Shared {
    /// Makes a topic, durably, with its settings in the same record, unless one of this name is there: that is returned as it
    /// is. Records below `since` are not its own; `None`: those of an earlier topic of this name.
    pub(crate) fn make_topic(
        &self,
        name: &str,
        TopicOptions { queues, kind }: TopicOptions,
        settings: TopicSettings,
        since: Option<u64>,
    ) -> Result<Arc<TopicState>, StoreError> {
        let changing = self.changing.lock();
        let topic = self.registry.add(name, |id, first_number| {
            let since = since.unwrap_or_else(|| self.registry.deleted_at(name));
            let meta = TopicMeta {
                name: name.to_owned(),
                id,
                queues,
                kind,
                first_number,
                since,
            };
            let set = (settings != TopicSettings::default()).then_some(Change::Settings {
                queue: first_number,
                kind,
                settings,
            });
            let made = std::iter::once(Change::Topic(meta.clone()));
            self.meta.append_all(made.chain(set))?;
            Ok((meta, settings))
        })?;
        drop(changing);
        // Outside the lock: one flush serves all who make topics at once.
        self.settle_topics()?;
        Ok(topic)
    }

    /// Sees to it that a topic that may have been made just now, by somebody else, is on the device: before something is
    /// acknowledged that the log alone does not tell the topic of.
    pub(crate) fn settle(&self, topic: &TopicState) -> Result<(), StoreError> {
        match topic.meta.id < self.settled.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.settle_topics(),
        }
    }

    fn settle_topics(&self) -> Result<(), StoreError> {
        let (next, _) = self.registry.next();
        self.meta.flush()?;
        self.settled.fetch_max(next, Ordering::AcqRel);
        Ok(())
    }

    /// Makes those that are not there, durably; returns how many.
    pub(crate) fn make_topics(
        &self,
        names: &[&str],
        queues: u32,
        kind: TopicType,
    ) -> Result<usize, StoreError> {
        let mut made = 0;
        for names in names.chunks(STEP) {
            let _changing = self.changing.lock();
            let topics = self.describe(names, queues, kind)?;
            made += topics.len();
            self.registry.add_all(topics, |topics| {
                let changes = topics.iter().cloned().map(Change::Topic);
                self.meta.append_all(changes)
            })?;
        }
        self.settle_topics()?;
        Ok(made)
    }

    /// Deletes topics, durably, up to the first that is not there.
    ///
    /// The log is flushed first: a deletion names a position of it, and must not have the records of a later topic of that name
    /// below it once a power cut has taken the log's end.
    pub(crate) fn delete_topics(&self, names: &[&str]) -> Result<(), StoreError> {
        let mut closed = Vec::with_capacity(names.len());
        let found = names.iter().try_for_each(|name| {
            closed.push(self.close_topic(name)?);
            Ok(())
        });
        let mut deleted = self.log.flush().map_err(StoreError::from);
        for closed in closed.chunks(STEP) {
            match &deleted {
                Ok(()) => deleted = self.delete_closed(closed),
                Err(_) => reopen(closed),
            }
        }
        found.and(deleted)
    }

    /// Takes no more messages for a topic. Whatever took its place before lies below the position that is returned, and nothing
    /// comes after.
    fn close_topic(&self, name: &str) -> Result<(Arc<TopicState>, u64), StoreError> {
        let topic = self.registry.get(name)?;
        let close = |position| (topic.closed.swap(true, Ordering::AcqRel), position);
        match self.log.while_locked(close) {
            (false, position) => Ok((topic, position)),
            // Somebody else is deleting it.
            (true, _) => Err(StoreError::UnknownTopic {
                topic: name.to_owned(),
            }),
        }
    }

    /// The topics stay until the device has it that they are deleted: what their end makes durable must not come before.
    fn delete_closed(&self, closed: &[(Arc<TopicState>, u64)]) -> Result<(), StoreError> {
        let mut changes = Vec::with_capacity(closed.len());
        let changing = self.changing.lock();
        let written = closed.iter().try_for_each(|(topic, position)| {
            let change = topic.deleted(*position);
            self.meta.append(&change)?;
            changes.push(change);
            Ok(())
        });
        let (deleted, kept) = closed.split_at(changes.len());
        reopen(kept);
        // If this fails, a restart may find that they are deleted: they take nothing more.
        self.meta.flush()?;
        for change in &changes {
            self.registry.apply(change);
            self.progress.apply(change);
        }
        drop(changing);
        deleted
            .iter()
            .for_each(|(topic, _)| self.remove_queues(topic));
        written
    }

    /// The topics of these names that are not there, with ids and queue numbers.
    fn describe(
        &self,
        names: &[&str],
        queues: u32,
        kind: TopicType,
    ) -> Result<Vec<TopicMeta>, StoreError> {
        let (mut id, mut number) = self.registry.next();
        let (mut topics, mut seen) = (Vec::new(), HashSet::new());
        for &name in names {
            if !seen.insert(name) || self.registry.find(name).is_some() {
                continue;
            }
            let (next_id, next_number) = (id.checked_add(1), number.checked_add(queues));
            let full = || StoreError::illegal("the numbers for topics or queues are used up");
            topics.push(TopicMeta {
                name: name.to_owned(),
                id,
                queues,
                kind,
                first_number: number,
                since: self.registry.deleted_at(name),
            });
            id = next_id.ok_or_else(full)?;
            number = next_number.ok_or_else(full)?;
        }
        Ok(topics)
    }
}

/// These are not deleted after all.
fn reopen(closed: &[(Arc<TopicState>, u64)]) {
    closed
        .iter()
        .for_each(|(topic, _)| topic.closed.store(false, Ordering::Release));
}
