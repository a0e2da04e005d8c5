//! Why a request about a group was refused.

use foliomq_store::{AppendError, StoreError};

/// Errors of [`Groups`](crate::Groups).
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DeliveryError {
    /// The name of a group breaks a rule; `what` says which.
    #[error("{what}")]
    IllegalGroup {
        /// The rule, and the name.
        what: String,
    },
    /// The group was never created.
    #[error("group {group} does not exist")]
    UnknownGroup {
        /// Its name.
        group: String,
    },
    /// A setting of a group that makes no sense.
    #[error("{what}")]
    IllegalSetting {
        /// What is allowed.
        what: String,
    },
    /// The name of a lite topic breaks a rule.
    #[error("{what}")]
    IllegalLiteTopic {
        /// The rule, and the name.
        what: String,
    },
    /// The topic has as many lite topics as it may.
    #[error("topic {topic} can have no more lite topics: the limit is {limit}")]
    LiteTopicQuota {
        /// The topic.
        topic: String,
        /// How many it may have.
        limit: usize,
    },
    /// The client subscribes to as many lite topics as it may.
    #[error("a client subscribes to at most {limit} lite topics of topic {topic}")]
    LiteSubscriptionQuota {
        /// The topic.
        topic: String,
        /// How many it may subscribe to.
        limit: usize,
    },
    /// A tag or SQL92 expression that cannot be read.
    #[error("filter expression: {what} at {at}")]
    IllegalFilter {
        /// What is wrong.
        what: String,
        /// Byte offset in the expression.
        at: usize,
    },
    /// Malformed, forged, of another group or topic, expired, or replaced by a newer one.
    #[error("receipt handle is invalid: {what}")]
    InvalidHandle {
        /// Which of these.
        what: &'static str,
    },
    /// A delivery time beyond the horizon.
    #[error("{what}")]
    IllegalTime {
        /// How far ahead it may be.
        what: String,
    },
    /// A recall handle that is malformed, forged, or of another topic.
    #[error("recall handle is invalid: {what}")]
    InvalidRecall {
        /// Which of these.
        what: &'static str,
    },
    /// A transaction id that is malformed, forged, or of another topic; or the transaction is long over, or ended the other way.
    #[error("transaction id is invalid: {what}")]
    InvalidTransaction {
        /// Which of these.
        what: &'static str,
    },
    /// The message that is to be recalled waits no longer.
    #[error("the message cannot be recalled: {what}")]
    NotWaiting {
        /// Why.
        what: &'static str,
    },
    /// There are as many as there may be: messages that wait, or queues that groups read.
    #[error("{what}")]
    TooMany {
        /// How many.
        what: String,
    },
    /// The store, or the journal's own log, refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal or its folder cannot be opened or read.
    #[error("delivery journal: {0}")]
    Journal(String),
}

impl From<AppendError> for DeliveryError {
    fn from(error: AppendError) -> Self {
        Self::Store(StoreError::Append(error))
    }
}
