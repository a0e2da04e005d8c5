//! Which messages a receive asks for.

use std::sync::Arc;

use foliomq_store::{StoredMessage, tag_hash};

use crate::{DeliveryError, SqlFilter};

/// Most tags in one expression.
pub const MAX_TAGS: usize = 1024;
/// Longest expression, in bytes.
pub const MAX_EXPRESSION: usize = 16 << 10;

/// Which messages a receive asks for. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Filter {
    /// Every message.
    #[default]
    All,
    /// Those with one of some tags.
    Tags(Arc<TagFilter>),
    /// Those of which an SQL92 condition is true.
    Sql(Arc<SqlFilter>),
}

/// `A || B`: exact, case-sensitive. Tested by hash on the index first, then on the tag itself, so that two tags with the
/// same hash are told apart. A message without a tag never matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// Sorted by hash.
    tags: Vec<(u64, String)>,
}

impl Filter {
    /// `*` and the empty expression ask for all; otherwise tags separated by `||`, trimmed, empty ones ignored.
    /// At most [`MAX_TAGS`] tags and [`MAX_EXPRESSION`] bytes.
    pub fn tags(expression: &str) -> Result<Self, DeliveryError> {
        let trimmed = expression.trim();
        if trimmed.is_empty() || trimmed == "*" {
            return Ok(Self::All);
        }
        TagFilter::parse(expression).map(Arc::new).map(Self::Tags)
    }

    /// An SQL92 condition over properties and `TAGS`, compiled.
    pub fn sql(expression: &str) -> Result<Self, DeliveryError> {
        SqlFilter::compile(expression).map(Arc::new).map(Self::Sql)
    }

    /// Whether the message itself must be looked at: the index does not say enough.
    pub(crate) fn needs_message(&self) -> bool {
        matches!(self, Self::Sql(_))
    }

    /// Whether a message whose tag has this hash in the index can match; false is certain.
    pub fn may_match(&self, hash: u64) -> bool {
        match self {
            Self::All | Self::Sql(_) => true,
            Self::Tags(filter) => filter.has_hash(hash),
        }
    }

    /// Whether a message matches. Its body is not looked at.
    pub fn matches(&self, message: &StoredMessage) -> bool {
        match self {
            Self::All => true,
            Self::Tags(filter) => filter.matches(message.tag()),
            Self::Sql(filter) => filter.matches(message.tag(), message.properties()),
        }
    }
}

impl TagFilter {
    fn parse(expression: &str) -> Result<Self, DeliveryError> {
        if expression.len() > MAX_EXPRESSION {
            return Err(illegal(
                format!("longer than {MAX_EXPRESSION} bytes"),
                MAX_EXPRESSION,
            ));
        }
        let mut tags = Vec::new();
        let mut at = 0;
        for piece in expression.split("||") {
            if let Some(bar) = piece.find('|') {
                return Err(illegal(
                    "a single | (tags are separated by ||)".into(),
                    at + bar,
                ));
            }
            let tag = piece.trim();
            if !tag.is_empty() {
                tags.push((tag_hash(Some(tag)), tag.to_owned()));
            }
            if tags.len() > MAX_TAGS {
                return Err(illegal(format!("more than {MAX_TAGS} tags"), at));
            }
            at += piece.len() + 2;
        }
        if tags.is_empty() {
            return Err(illegal("no tag".into(), 0));
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(Self { tags })
    }

    /// Whether a message with this tag matches.
    fn matches(&self, tag: Option<&str>) -> bool {
        tag.is_some_and(|tag| self.has(tag))
    }

    fn has_hash(&self, hash: u64) -> bool {
        self.tags
            .binary_search_by_key(&hash, |(hash, _)| *hash)
            .is_ok()
    }

    fn has(&self, tag: &str) -> bool {
        let hash = tag_hash(Some(tag));
        let first = self.tags.partition_point(|(other, _)| *other < hash);
        self.tags[first..]
            .iter()
            .take_while(|(other, _)| *other == hash)
            .any(|(_, other)| other == tag)
    }
}

fn illegal(what: String, at: usize) -> DeliveryError {
    DeliveryError::IllegalFilter { what, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, tag: Option<&str>) -> bool {
        let filter = Filter::tags(expression).unwrap();
        let by_hash = filter.may_match(tag_hash(tag));
        let by_tag = match &filter {
            Filter::Tags(filter) => filter.matches(tag),
            _ => true,
        };
        assert!(
            by_hash || !by_tag,
            "the hash must not refuse what the tag allows"
        );
        by_tag
    }

    #[test]
    fn star_and_nothing_ask_for_all() {
        for all in ["*", "", "  ", " * "] {
            assert_eq!(Filter::tags(all), Ok(Filter::All));
        }
        assert!(matches("*", None));
    }

    #[test]
    fn tags_match_exactly_and_trimmed() {
        assert!(matches(" A || B ", Some("A")));
        assert!(matches("A||B", Some("B")));
        assert!(!matches("A||B", Some("a")));
        assert!(!matches("A||B", Some("AB")));
        assert!(!matches("A", None));
        assert!(matches("A||||B||", Some("B")));
        assert!(matches("schön || 标签", Some("标签")));
        assert!(!matches("AaAa", Some("BBBB")));
    }

    #[test]
    fn equal_hashes_are_told_apart_by_the_tag() {
        let hash = tag_hash(Some("x"));
        let filter = TagFilter {
            tags: vec![(hash, "other".into())],
        };
        assert!(filter.has_hash(hash));
        assert!(!filter.matches(Some("x")));
    }

    #[test]
    fn bad_expressions_say_where() {
        assert_eq!(
            Filter::tags("ab||c|d"),
            Err(illegal("a single | (tags are separated by ||)".into(), 5))
        );
        assert!(matches!(
            Filter::tags("||"),
            Err(DeliveryError::IllegalFilter { at: 0, .. })
        ));
        let long = "x".repeat(MAX_EXPRESSION + 1);
        assert!(matches!(
            Filter::tags(&long),
            Err(DeliveryError::IllegalFilter { .. })
        ));
        let many = vec!["t"; MAX_TAGS + 1].join("||");
        assert!(matches!(
            Filter::tags(&many),
            Err(DeliveryError::IllegalFilter { .. })
        ));
    }
}
