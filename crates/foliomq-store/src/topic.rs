//! Topics: what they are called and what they have.

use crate::error::StoreError;
use crate::topic_settings::TopicSettings;

/// Most queues of a topic.
pub const MAX_QUEUES: u32 = 1024;
/// Longest name of a topic, bytes.
pub const MAX_NAME: usize = 127;
/// Longest name of a group's retry or dead-letter topic, bytes.
pub const MAX_GROUP_TOPIC_NAME: usize = 255;

/// Which kinds of message a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicType {
    /// Every kind.
    #[default]
    Any,
    /// Plain messages.
    Normal,
    /// Messages in order within a message group.
    Fifo,
    /// Messages with a delivery time.
    Delay,
    /// Half messages that are committed or rolled back.
    Transaction,
    /// Messages of lite topics.
    Lite,
    /// Messages with a priority.
    Priority,
}

/// What to create a topic with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicOptions {
    /// 1 to 1024; 0 stands for the store's default.
    pub queues: u32,
    /// Which kinds of message it takes.
    pub kind: TopicType,
}

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Dense and never reused.
    pub id: u32,
    /// How many queues it has, numbered from 0.
    pub queues: u32,
    /// Which kinds of message it takes.
    pub kind: TopicType,
    /// What else was set.
    pub settings: TopicSettings,
}

/// What stands between a namespace and a name in it. No name of RocketMQ's can have it.
const NAMESPACE_END: char = '/';

/// Names have 1 to 127 (those of retry and dead-letter topics: 255) of the characters `%`, `|`, `a-z`, `A-Z`, `0-9`, `_`
/// and `-`, as in RocketMQ. One `/`, neither first nor last, ends a namespace.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let of_group = name.starts_with("%RETRY%") || name.starts_with("%DLQ%");
    let limit = if of_group {
        MAX_GROUP_TOPIC_NAME
    } else {
        MAX_NAME
    };
    if name.is_empty() || name.len() > limit {
        return Err(StoreError::illegal(format!(
            "a topic's name has 1 to {limit} characters, this one {}",
            name.len()
        )));
    }
    let (namespace, rest) = match name.split_once(NAMESPACE_END) {
        Some((namespace, rest)) => (Some(namespace), rest),
        None => (None, name),
    };
    if rest.is_empty() || namespace.is_some_and(str::is_empty) {
        return Err(StoreError::illegal(format!(
            "topic {name:?} has nothing before or after its {NAMESPACE_END:?}"
        )));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-');
    let mut parts = namespace.unwrap_or_default().chars().chain(rest.chars());
    match parts.find(|&c| !allowed(c)) {
        Some(c) => Err(StoreError::illegal(format!(
            "topic {name:?} has the character {c:?}; allowed are a-z A-Z 0-9 % | _ -, and one / after a namespace"
        ))),
        None => Ok(()),
    }
}

pub(crate) fn check_queues(queues: u32) -> Result<(), StoreError> {
    if (1..=MAX_QUEUES).contains(&queues) {
        return Ok(());
    }
    Err(StoreError::illegal(format!(
        "a topic has 1 to {MAX_QUEUES} queues, not {queues}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a",
            "%DLQ%group",
            "A_b-9|x",
            "space/a%b",
            "%DLQ%space/group",
            &"x".repeat(127),
            &format!("%DLQ%{}", "g".repeat(250)),
        ] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            "a b",
            "ä",
            "a.b",
            "/b",
            "a/",
            "a/b/c",
            "a\0",
            &"x".repeat(128),
            &format!("%DLQ%{}", "g".repeat(251)),
        ] {
            check_name(bad).unwrap_err();
        }
    }
}
