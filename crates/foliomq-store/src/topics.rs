//! Making topics, one or many at once.

use std::collections::HashSet;
use std::sync::Arc;

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
    /// is. Records below `since` are not its own.
    pub(crate) fn make_topic(
        &self,
        name: &str,
        TopicOptions { queues, kind }: TopicOptions,
        settings: TopicSettings,
        since: u64,
    ) -> Result<Arc<TopicState>, StoreError> {
        let changing = self.changing.lock();
        let topic = self.registry.add(name, |id, first_number| {
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
        self.meta.flush()?;
        Ok(topic)
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
        self.meta.flush()?;
        Ok(made)
    }

    /// The topics of these names that are not there, with ids and queue numbers.
    fn describe(
        &self,
        names: &[&str],
        queues: u32,
        kind: TopicType,
    ) -> Result<Vec<TopicMeta>, StoreError> {
        let appended = self.log.watermarks().appended;
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
                since: appended.max(self.registry.deleted_at(name)),
            });
            id = next_id.ok_or_else(full)?;
            number = next_number.ok_or_else(full)?;
        }
        Ok(topics)
    }
}
