//! What is set of a topic, on the wire, and what it forbids.

use std::time::Duration;

use foliomq_proto::{v1, v2};
use foliomq_store::{Permission, Topic, TopicSettings};

use crate::admin::topic_kind;
use crate::broker::Broker;
use crate::status::Refusal;

/// Refuses to send to a topic that may not be written.
pub(crate) fn may_write(topic: &str, permission: Permission) -> Result<(), Refusal> {
    match permission.writable() {
        true => Ok(()),
        false => Err(forbidden(topic, "sending to it")),
    }
}

/// Refuses to receive from a topic that may not be read, as it is now; one that is gone is for others to notice.
pub(crate) fn readable(broker: &Broker, topic: &str) -> Result<(), Refusal> {
    let permission = broker.store.topic_permission(topic);
    match permission.is_none_or(Permission::readable) {
        true => Ok(()),
        false => Err(forbidden(topic, "receiving from it")),
    }
}

fn forbidden(topic: &str, what: &str) -> Refusal {
    let what = format!("topic {topic} has a permission that excludes {what}");
    Refusal::new(v2::Code::Forbidden, what)
}

/// As a route says it.
pub(crate) fn on_route(permission: Permission) -> v2::Permission {
    match permission {
        Permission::ReadWrite => v2::Permission::ReadWrite,
        Permission::Read => v2::Permission::Read,
        Permission::Write => v2::Permission::Write,
        Permission::None => v2::Permission::None,
    }
}

/// As administration says it.
pub(crate) fn shown(settings: &TopicSettings) -> v1::TopicSettings {
    let permission = match settings.permission {
        Permission::ReadWrite => v1::Permission::ReadWrite,
        Permission::Read => v1::Permission::Read,
        Permission::Write => v1::Permission::Write,
        Permission::None => v1::Permission::None,
    };
    let millis = |time: Option<Duration>| time.map_or(0, |time| time.as_millis() as u64);
    v1::TopicSettings {
        permission: Some(permission.into()),
        keep_for_ms: Some(millis(settings.keep_for)),
        keep_bytes: Some(settings.keep_bytes.unwrap_or(0)),
        lite_ttl_ms: Some(millis(settings.lite.ttl)),
        lite_topics: Some(settings.lite.topics.unwrap_or(0)),
        lite_subscriptions: Some(settings.lite.subscriptions.unwrap_or(0)),
    }
}

/// A request that was found to say something.
pub(crate) struct Update(v1::UpdateTopicRequest);

impl Update {
    /// # Errors
    ///
    /// As [`check`].
    pub(crate) fn new(request: v1::UpdateTopicRequest) -> Result<Self, Refusal> {
        check(request.r#type, &request.settings.unwrap_or_default())?;
        Ok(Self(request))
    }

    pub(crate) fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Makes the change.
    pub(crate) fn apply(&self, topic: &mut Topic) {
        if self.0.queues > 0 {
            topic.queues = self.0.queues;
        }
        if self.0.r#type.is_some() {
            topic.kind = topic_kind(self.0.r#type());
        }
        if let Some(settings) = &self.0.settings {
            apply(settings, &mut topic.settings);
        }
    }
}

/// # Errors
///
/// A type or permission that there is not.
pub(crate) fn check(kind: Option<i32>, settings: &v1::TopicSettings) -> Result<(), Refusal> {
    let none =
        |what, code| Refusal::new(v2::Code::BadRequest, format!("there is no {what} {code}"));
    if let Some(kind) = kind {
        v1::TopicType::try_from(kind).map_err(|_| none("topic type", kind))?;
    }
    if let Some(code) = settings.permission {
        v1::Permission::try_from(code).map_err(|_| none("permission", code))?;
    }
    Ok(())
}

/// Makes the changes that are named.
pub(crate) fn apply(update: &v1::TopicSettings, settings: &mut TopicSettings) {
    if update.permission.is_some() {
        settings.permission = match update.permission() {
            v1::Permission::ReadWrite => Permission::ReadWrite,
            v1::Permission::Read => Permission::Read,
            v1::Permission::Write => Permission::Write,
            v1::Permission::None => Permission::None,
        };
    }
    let time = |millis| Duration::from_millis(millis);
    set(&mut settings.keep_for, update.keep_for_ms.map(time));
    set(&mut settings.keep_bytes, update.keep_bytes);
    set(&mut settings.lite.ttl, update.lite_ttl_ms.map(time));
    set(&mut settings.lite.topics, update.lite_topics);
    set(&mut settings.lite.subscriptions, update.lite_subscriptions);
}

/// What is absent stays, and 0 is without.
fn set<T: Default + PartialEq>(setting: &mut Option<T>, update: Option<T>) {
    if let Some(update) = update {
        *setting = Some(update).filter(|update| *update != T::default());
    }
}

#[cfg(test)]
mod tests {
    use foliomq_store::TopicType;

    use super::*;

    fn topic() -> Topic {
        Topic {
            name: "t".to_owned(),
            id: 1,
            queues: 2,
            kind: TopicType::Any,
            settings: TopicSettings::default(),
        }
    }

    #[test]
    fn what_is_shown_of_a_topic_can_be_set_and_what_is_absent_stays() {
        let mut topic = topic();
        let request = |settings| v1::UpdateTopicRequest {
            topic: "t".to_owned(),
            queues: 0,
            r#type: None,
            settings: Some(settings),
        };
        let all = v1::TopicSettings {
            permission: Some(v1::Permission::Write.into()),
            keep_for_ms: Some(5000),
            keep_bytes: Some(7),
            lite_ttl_ms: Some(9000),
            lite_topics: Some(3),
            lite_subscriptions: Some(2),
        };
        Update::new(request(all)).unwrap().apply(&mut topic);
        assert_eq!(shown(&topic.settings), all);
        Update::new(request(v1::TopicSettings::default()))
            .unwrap()
            .apply(&mut topic);
        assert_eq!(shown(&topic.settings), all);
        let without = v1::TopicSettings {
            permission: Some(0),
            keep_for_ms: Some(0),
            keep_bytes: Some(0),
            lite_ttl_ms: Some(0),
            lite_topics: Some(0),
            lite_subscriptions: Some(0),
        };
        Update::new(request(without)).unwrap().apply(&mut topic);
        assert_eq!(topic.settings, TopicSettings::default());
        let unknown = v1::TopicSettings {
            permission: Some(9),
            ..without
        };
        assert!(Update::new(request(unknown)).is_err());
    }
}
