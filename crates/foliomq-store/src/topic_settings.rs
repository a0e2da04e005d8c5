//! What may be set of a topic after it was made.

use std::time::Duration;

use crate::error::StoreError;

/// The shortest time that a topic may keep its messages, or a lite topic may be unused.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Settings of a topic. The store keeps them, and holds to [`keep_for`](Self::keep_for) and
/// [`keep_bytes`](Self::keep_bytes); the others are for the layers above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicSettings {
    /// What clients may do.
    pub permission: Permission,
    /// Messages that were stored longer ago are no longer read, 1 s to 100 years. `None`: for as long as the log has them.
    ///
    /// Their bytes go with their segments, which other topics share: see [`Retention`](crate::Retention). It holds for the
    /// topic's lite topics, too.
    pub keep_for: Option<Duration>,
    /// While the records of the topic's messages take more bytes, the oldest are no longer read. `None`: without a limit.
    ///
    /// A message that was delayed, or of a transaction, counts with the record that put it into its queue. Lite topics do not count.
    pub keep_bytes: Option<u64>,
    /// Bounds of its lite topics.
    pub lite: LiteLimits,
}

/// Bounds of the lite topics of one topic; `None`: as the broker has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiteLimits {
    /// A lite topic without a message or a subscriber for so long is removed, 1 s to 100 years.
    pub ttl: Option<Duration>,
    /// Most lite topics.
    pub topics: Option<u32>,
    /// Most lite topics that one client may subscribe to.
    pub subscriptions: Option<u32>,
}

/// What clients may do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Send and receive.
    #[default]
    ReadWrite,
    /// Receive only.
    Read,
    /// Send only.
    Write,
    /// Neither.
    None,
}

impl Permission {
    /// Whether messages may be received.
    #[must_use]
    pub fn readable(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Read)
    }

    /// Whether messages may be sent.
    #[must_use]
    pub fn writable(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Write)
    }
}

impl TopicSettings {
    /// As they are kept: whole milliseconds.
    pub(crate) fn checked(self) -> Result<Self, StoreError> {
        let keep_for = time("keeps its messages", self.keep_for)?;
        let ttl = time("keeps unused lite topics", self.lite.ttl)?;
        let none = |what| StoreError::illegal(format!("a topic {what} of 0 could not be used"));
        if self.keep_bytes == Some(0) {
            return Err(none("with a retention"));
        }
        let LiteLimits {
            topics,
            subscriptions,
            ..
        } = self.lite;
        if topics == Some(0) || subscriptions == Some(0) {
            return Err(none("with a quota for lite topics"));
        }
        let lite = LiteLimits { ttl, ..self.lite };
        Ok(Self {
            keep_for,
            lite,
            ..self
        })
    }
}

fn time(what: &str, time: Option<Duration>) -> Result<Option<Duration>, StoreError> {
    match time {
        Some(time) if !(SHORTEST..=LONGEST).contains(&time) => Err(StoreError::illegal(format!(
            "a topic {what} for 1 s to 100 years, not for {time:?}"
        ))),
        time => Ok(time.map(|time| Duration::from_millis(time.as_millis() as u64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let good = TopicSettings {
            keep_for: Some(Duration::from_micros(1_500_900)),
            keep_bytes: Some(1),
            ..TopicSettings::default()
        };
        let kept = good.checked().unwrap();
        assert_eq!(kept.keep_for, Some(Duration::from_millis(1500)));
        let lite = |lite| TopicSettings { lite, ..good };
        let limits = LiteLimits::default();
        let bad = [
            TopicSettings {
                keep_for: Some(Duration::from_millis(999)),
                ..good
            },
            TopicSettings {
                keep_for: Some(Duration::MAX),
                ..good
            },
            TopicSettings {
                keep_bytes: Some(0),
                ..good
            },
            lite(LiteLimits {
                ttl: Some(Duration::ZERO),
                ..limits
            }),
            lite(LiteLimits {
                topics: Some(0),
                ..limits
            }),
            lite(LiteLimits {
                subscriptions: Some(0),
                ..limits
            }),
        ];
        for settings in bad {
            settings.checked().unwrap_err();
        }
    }

    #[test]
    fn permissions() {
        let may = |permission: Permission| (permission.readable(), permission.writable());
        assert_eq!(may(Permission::ReadWrite), (true, true));
        assert_eq!(may(Permission::Read), (true, false));
        assert_eq!(may(Permission::Write), (false, true));
        assert_eq!(may(Permission::None), (false, false));
    }
}
