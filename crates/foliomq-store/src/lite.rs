//! Lite topics: many small topics within one, each with a single queue of its own in the pooled consume queues.
//!
//! A lite topic is a topic of the store whose name is made of two: `parent$lite`. No other topic has a `$`.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::StoreError;
use crate::topic_state::TopicState;

/// Longest name of a lite topic, characters.
pub const MAX_LITE_NAME: usize = 64;
/// Between the two names.
const SEPARATOR: char = '$';

/// The store's name of a lite topic.
#[must_use]
pub fn lite_name(parent: &str, lite: &str) -> String {
    format!("{parent}{SEPARATOR}{lite}")
}

/// The topic and the lite topic in a name of the store; `None` for any other topic.
#[must_use]
pub fn lite_parts(name: &str) -> Option<(&str, &str)> {
    name.split_once(SEPARATOR)
}

/// Names have 1 to 64 characters, none of control, and not white space alone.
pub fn check_lite(lite: &str) -> Result<(), StoreError> {
    let length = lite.chars().count();
    if lite.trim().is_empty() || length > MAX_LITE_NAME {
        return Err(StoreError::illegal(format!(
            "a lite topic's name has 1 to {MAX_LITE_NAME} characters and is not blank; this one has {length}"
        )));
    }
    match lite.chars().find(|c| c.is_control()) {
        Some(c) => Err(StoreError::illegal(format!(
            "lite topic {lite:?} has the control character {c:?}"
        ))),
        None => Ok(()),
    }
}

/// Told of new messages in a lite topic: the names of topic and lite topic are in the first, its id is the second.
pub type LiteListener = dyn Fn(&str, u32) + Send + Sync;

/// Who is told of new messages in lite topics.
#[derive(Default)]
pub(crate) struct LiteArrivals(RwLock<Option<Arc<LiteListener>>>);

impl LiteArrivals {
    pub(crate) fn set(&self, listener: Arc<LiteListener>) {
        *self.0.write() = Some(listener);
    }

    /// Tells of a topic that has new messages, if it is a lite one.
    pub(crate) fn tell(&self, topic: &TopicState) {
        if topic.is_lite()
            && let Some(listener) = &*self.0.read()
        {
            listener(&topic.meta.name, topic.meta.id);
        }
    }
}

impl fmt::Debug for LiteArrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiteArrivals")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_at_the_first_separator() {
        assert_eq!(
            lite_parts(&lite_name("chat", "room $1")),
            Some(("chat", "room $1"))
        );
        assert_eq!(lite_parts("chat"), None);
    }

    #[test]
    fn names() {
        for good in ["a", "room:1/2.3", "Raum ü", &"ü".repeat(64)] {
            check_lite(good).unwrap();
        }
        for bad in ["", " ", "a\nb", "a\0", &"x".repeat(65)] {
            check_lite(bad).unwrap_err();
        }
    }
}
