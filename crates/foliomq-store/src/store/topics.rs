//! Topics: made, found, deleted.

use std::sync::Arc;

use event_listener::EventListener;

use super::Store;
use crate::error::StoreError;
use crate::lite::{LiteListener, check_lite, lite_name};
use crate::topic::{Topic, TopicOptions, TopicType, check_name, check_queues};
use crate::topic_settings::{Permission, TopicSettings};

impl Store {
    /// Creates a topic, durably. One that is there with the same queues and type is no error.
    pub fn create_topic(&self, name: &str, options: TopicOptions) -> Result<Topic, StoreError> {
        self.create_topic_with(name, options, |_| ())
    }

    /// Creates a topic that has settings from its first moment on, durably: `set` is given the default ones. One that is
    /// there is no error if it has the same queues and type, and `set` leaves its settings as they are.
    ///
    /// # Errors
    ///
    /// [`StoreError::TopicExists`] otherwise; [`StoreError::Illegal`] for a name, a number of queues or a setting out of its
    /// bounds.
    pub fn create_topic_with(
        &self,
        name: &str,
        options: TopicOptions,
        set: impl Fn(&mut TopicSettings),
    ) -> Result<Topic, StoreError> {
        check_name(name)?;
        let shared = &self.0.shared;
        let queues = match options.queues {
            0 => shared.options.default_queues,
            queues => queues,
        };
        check_queues(queues)?;
        let mut settings = TopicSettings::default();
        set(&mut settings);
        let made = TopicOptions { queues, ..options };
        let topic = shared.make_topic(name, made, settings.checked()?, None)?;
        let topic = topic.topic();
        same(&topic, options, set).map(|()| topic)
    }

    /// Creates many topics alike, durably, with one flush for all. Those that are there already, with whatever settings,
    /// stay as they are; returns how many were made.
    pub fn create_topics(
        &self,
        names: &[&str],
        options: TopicOptions,
    ) -> Result<usize, StoreError> {
        names.iter().try_for_each(|name| check_name(name))?;
        let shared = &self.0.shared;
        let queues = match options.queues {
            0 => shared.options.default_queues,
            queues => queues,
        };
        check_queues(queues)?;
        shared.make_topics(names, queues, options.kind)
    }

    /// One topic.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        self.0.shared.registry.find(name).map(|topic| topic.topic())
    }

    /// The type of one topic, without a copy of the rest.
    pub fn topic_type(&self, name: &str) -> Option<TopicType> {
        let topic = self.0.shared.registry.find(name)?;
        Some(topic.kind())
    }

    /// What clients may do with one topic, without a copy of the rest.
    pub fn topic_permission(&self, name: &str) -> Option<Permission> {
        let topic = self.0.shared.registry.find(name)?;
        Some(topic.permission())
    }

    /// All topics but lite topics, by name.
    pub fn topics(&self) -> Vec<Topic> {
        let topics = self.0.shared.registry.plain();
        topics.iter().map(|topic| topic.topic()).collect()
    }

    /// Creates lite topics of a topic, durably, with one flush for all: each has a single queue, and is read and written by
    /// its name [`lite_name`]. Those that are there stay as they are; returns how many were made.
    pub fn create_lite_topics(&self, parent: &str, names: &[&str]) -> Result<usize, StoreError> {
        self.0.shared.registry.get(parent)?;
        names.iter().try_for_each(|name| check_lite(name))?;
        let names: Vec<String> = names.iter().map(|lite| lite_name(parent, lite)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.0.shared.make_topics(&names, 1, TopicType::Lite)
    }

    /// The lite topics of a topic, in no order.
    pub fn lite_topics(&self, parent: &str) -> Vec<Topic> {
        let topics = self.0.shared.registry.lite(parent);
        topics.iter().map(|topic| topic.topic()).collect()
    }

    /// How many lite topics a topic has.
    pub fn lite_count(&self, parent: &str) -> usize {
        self.0.shared.registry.lite_count(parent)
    }

    /// Tells `listener` from now on, in place of an earlier one, when new messages of a lite topic can be read. It is called
    /// by the dispatcher: it must neither wait nor append.
    pub fn on_lite_arrival(&self, listener: Arc<LiteListener>) {
        self.0.shared.lite_arrivals.set(listener);
    }

    /// Grows when topics are made, deleted or changed: whoever remembers topics looks whether they still are, and what.
    pub fn topic_changes(&self) -> u64 {
        self.0.shared.registry.changes()
    }

    /// Grows when the type or the settings of a topic change.
    pub fn topic_settings_changes(&self) -> u64 {
        self.0.shared.registry.settings_changes()
    }

    /// Changes a topic, durably, from the next call on: `change` is given it as it is, and leaves it as it is to be. Name and id
    /// stay, whatever is made of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`], and nothing is changed, if there were fewer queues, if the type were to change to or from
    /// lite or priority, or to any other while the topic has lite topics, or if a setting is out of its bounds.
    pub fn update_topic(
        &self,
        name: &str,
        change: impl FnOnce(&mut Topic),
    ) -> Result<Topic, StoreError> {
        self.0.shared.update_topic(name, change)
    }

    /// Deletes a topic with its lite topics, durably. Its messages can no longer be read; their bytes go with their segments.
    pub fn delete_topic(&self, name: &str) -> Result<(), StoreError> {
        let lite = self.0.shared.registry.lite(name);
        let lite = lite.iter().map(|topic| topic.meta.name.as_str());
        let names: Vec<&str> = lite.chain([name]).collect();
        self.delete_topics(&names)
    }

    /// Deletes topics, with one flush for all, but not their lite topics. One that is not there is an error.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), StoreError> {
        self.0.shared.delete_topics(names)
    }

    /// Woken when new messages of the topic can be read, and when it is deleted or the store closes. Listen first, then
    /// look, then wait.
    pub fn listen(&self, topic: &str) -> Result<EventListener, StoreError> {
        Ok(self.0.shared.registry.get(topic)?.event.listen())
    }
}

/// Whether a topic is as it was to be created.
fn same(
    topic: &Topic,
    options: TopicOptions,
    set: impl Fn(&mut TopicSettings),
) -> Result<(), StoreError> {
    let mut settings = topic.settings;
    set(&mut settings);
    let queues = options.queues == 0 || options.queues == topic.queues;
    let what = if topic.kind != options.kind || !queues {
        format!("{} queues and type {:?}", topic.queues, topic.kind)
    } else if settings.checked()? != topic.settings {
        "other settings".to_owned()
    } else {
        return Ok(());
    };
    Err(StoreError::TopicExists {
        topic: topic.name.clone(),
        what,
    })
}
