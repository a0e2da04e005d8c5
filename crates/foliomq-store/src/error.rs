//! What can go wrong.

use foliomq_commitlog::{AppendError, ReadError};
use foliomq_consumequeue::IndexError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log is locked, damaged or unreadable.
    #[error(transparent)]
    Log(#[from] foliomq_commitlog::OpenError),
    /// An index could not be opened or rebuilt.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A setting, or what is on the disk, makes no sense.
    #[error("{what}")]
    Invalid {
        /// What, and what to do.
        what: String,
    },
}

impl OpenError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }
}

/// Why an operation on an open store failed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// No such topic.
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
    /// No such queue in the topic.
    #[error("topic {topic} has no queue {queue}; it has {queues}")]
    UnknownQueue {
        /// The topic.
        topic: String,
        /// The queue asked for.
        queue: u32,
        /// How many it has, numbered from 0.
        queues: u32,
    },
    /// A name, number or encoding that is not allowed.
    #[error("{what}")]
    Illegal {
        /// What, and what is allowed.
        what: String,
    },
    /// The topic is there with other settings.
    #[error("topic {topic} exists with {what}")]
    TopicExists {
        /// Its name.
        topic: String,
        /// Its settings.
        what: String,
    },
    /// The body is larger than [`Options::max_body`](crate::Options::max_body).
    #[error("body of {size} bytes is larger than the limit of {limit}")]
    BodyTooLarge {
        /// Bytes.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The log did not take, or did not keep, the message.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The message was damaged, and given up by a salvage.
    #[error(
        "the message at position {position} is lost: it was damaged, and given up by a salvage"
    )]
    Lost {
        /// Where it was.
        position: u64,
    },
    /// Retention has removed the message: perhaps between a look at the index and the read.
    #[error("position {position} is below the log's start {start}")]
    Deleted {
        /// Asked for.
        position: u64,
        /// The first position still there.
        start: u64,
    },
    /// A message could not be read.
    #[error("{0}")]
    Read(String),
    /// An index failed.
    #[error("{0}")]
    Index(String),
}

impl StoreError {
    pub(crate) fn illegal(what: impl Into<String>) -> Self {
        Self::Illegal { what: what.into() }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Filler { position } => Self::Lost { position },
            ReadError::Deleted { position, start } => Self::Deleted { position, start },
            other => Self::Read(other.to_string()),
        }
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        Self::Index(error.to_string())
    }
}
