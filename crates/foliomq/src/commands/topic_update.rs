//! `foliomq topic update`, and how settings are shown.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use foliomq_client::{Topic, TopicPermission, TopicSettings, TopicUpdate};
use serde_json::{Value, json};

use super::topic::kinds;
use crate::units::{Size, Span};

/// Stands for no setting of the topic's own.
const DEFAULT: &str = "default";

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "queues", "kind", "permission", "keep_for", "keep_bytes", "lite_ttl", "lite_topics", "lite_subscriptions",
]))]
pub struct Update {
    /// The topic
    pub topic: String,
    /// How many queues: more than now, for a topic keeps those that it has. Message groups may move to other queues
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: Option<u32>,
    /// Which messages it takes; not to or from lite and priority
    #[arg(long = "type", value_parser = kinds(), value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// What may be set of a topic beside its queues and type.
#[derive(Debug, Args)]
pub struct Settings {
    /// What clients may do
    #[arg(long, value_parser = permissions(), value_name = "WHAT")]
    permission: Option<String>,
    /// Older messages are no longer read (7d), or `default`: for as long as the log has them
    #[arg(long, value_name = "TIME", value_parser = span)]
    keep_for: Option<Duration>,
    /// Above so many bytes of messages the oldest are no longer read (10GiB), or `default`: without a limit
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_bytes: Option<u64>,
    /// Its lite topics without a message or a subscriber for so long are removed, or `default`: as the broker says
    #[arg(long, value_name = "TIME", value_parser = span)]
    lite_ttl: Option<Duration>,
    /// Most lite topics, or `default`: as the broker says
    #[arg(long, value_name = "N", value_parser = count)]
    lite_topics: Option<u32>,
    /// Most lite topics that one client subscribes to, or `default`: as the broker says
    #[arg(long, value_name = "N", value_parser = count)]
    lite_subscriptions: Option<u32>,
}

impl Update {
    /// What is to change.
    pub fn update(&self) -> TopicUpdate {
        TopicUpdate {
            queues: self.queues,
            kind: self.kind.as_deref().and_then(|kind| kind.parse().ok()),
            ..self.settings.update()
        }
    }
}

impl Settings {
    /// The settings that are named.
    pub fn update(&self) -> TopicUpdate {
        TopicUpdate {
            permission: self.permission.as_deref().and_then(permission),
            keep_for: self.keep_for,
            keep_bytes: self.keep_bytes,
            lite_ttl: self.lite_ttl,
            lite_topics: self.lite_topics,
            lite_subscriptions: self.lite_subscriptions,
            ..TopicUpdate::default()
        }
    }
}

fn permissions() -> Vec<&'static str> {
    TopicPermission::ALL.iter().map(|(_, name)| *name).collect()
}

fn permission(text: &str) -> Option<TopicPermission> {
    let known = TopicPermission::ALL
        .into_iter()
        .find(|(_, name)| *name == text);
    known.map(|(permission, _)| permission)
}

fn span(text: &str) -> Result<Duration, String> {
    let Span(time) = given(text, Span(Duration::ZERO))?;
    match time {
        Duration::ZERO if text != DEFAULT => Err("expected a time of 1s or more".to_owned()),
        time => Ok(time),
    }
}

fn size(text: &str) -> Result<u64, String> {
    match given(text, Size(0))? {
        Size(0) if text != DEFAULT => Err("expected a size of 1 byte or more".to_owned()),
        Size(bytes) => Ok(bytes),
    }
}

fn count(text: &str) -> Result<u32, String> {
    match given(text, 0)? {
        0 if text != DEFAULT => Err("expected a number of 1 or more".to_owned()),
        count => Ok(count),
    }
}

fn given<T: FromStr<Err: ToString>>(text: &str, default: T) -> Result<T, String> {
    match text {
        DEFAULT => Ok(default),
        text => text.parse().map_err(|error: T::Err| error.to_string()),
    }
}

/// The permission and what else is set of a topic, a line for each.
pub fn lines(topic: &Topic) -> Vec<String> {
    let TopicSettings {
        permission,
        keep_for,
        keep_bytes,
        lite_ttl,
        lite_topics,
        lite_subscriptions,
    } = topic.settings;
    let span = |time: Duration| Span(time).to_string();
    let count = |count: u32| count.to_string();
    let shown = [
        ("permission", Some(permission.name().to_owned())),
        ("keep for", keep_for.map(span)),
        ("keep bytes", keep_bytes.map(|size| Size(size).to_string())),
        ("lite ttl", lite_ttl.map(span)),
        ("lite topics", lite_topics.map(count)),
        ("lite subscriptions", lite_subscriptions.map(count)),
    ];
    let set = shown
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    set.map(|(name, value)| format!("  {name}: {value}"))
        .collect()
}

/// The same for machines; what is not set is null.
pub fn object(settings: &TopicSettings) -> Value {
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    json!({
        "permission": settings.permission.name(),
        "keep_for_ms": millis(settings.keep_for),
        "keep_bytes": settings.keep_bytes,
        "lite_ttl_ms": millis(settings.lite_ttl),
        "lite_topics": settings.lite_topics,
        "lite_subscriptions": settings.lite_subscriptions,
    })
}

#[cfg(test)]
mod tests {
    use foliomq_client::TopicKind;

    use super::*;

    #[test]
    fn a_setting_is_a_value_above_0_or_the_default() {
        assert_eq!(span("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(span("default"), Ok(Duration::ZERO));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(count("default"), Ok(0));
        for bad in ["0", "0s", "", "x", "Default"] {
            assert!(span(bad).is_err() && size(bad).is_err() && count(bad).is_err());
        }
    }

    #[test]
    fn every_permission_is_found_by_its_name() {
        for (known, name) in TopicPermission::ALL {
            assert_eq!(permission(name), Some(known));
        }
        assert!(
            TopicKind::ALL
                .iter()
                .all(|(_, name)| kinds().contains(name))
        );
    }
}
