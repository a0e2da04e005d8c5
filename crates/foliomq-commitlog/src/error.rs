//! What can go wrong.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// Why a log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the log open, or this one holds references into a log that was open before.
    #[error(
        "{path} is in use: by another process, or by readers and records of a log that this one had open before"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A reader found no process that has the log open.
    #[error("no process has {path} open: a reader follows one that does")]
    NoWriter {
        /// The folder.
        path: PathBuf,
    },
    /// Damage to what was known to be on the device: not a torn tail, so it is not cut.
    #[error(
        "record at position {position} in {segment} is damaged below the durable watermark {durable}: {reason}; nothing was changed. To keep what is readable, run: foliomq verify --salvage {dir}"
    )]
    Corrupt {
        /// Of the damaged record.
        position: u64,
        /// The segment that holds it.
        segment: PathBuf,
        /// Everything below was on the device.
        durable: u64,
        /// What does not fit.
        reason: String,
        /// The folder.
        dir: PathBuf,
    },
    /// A setting, or the folder's content, makes no sense.
    #[error("{what}")]
    Invalid {
        /// What and what to do.
        what: String,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an append, or the wait for it, failed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// The record, or batch, does not fit a segment or a limit of the format.
    #[error("record of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes asked for.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Clears by itself once there is space.
    #[error("no space for the next segment in {dir}: {reason}")]
    DiskFull {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// For good: reads go on, nothing more is acknowledged until a restart.
    #[error("the log is poisoned after a failed flush: {reason}")]
    Poisoned {
        /// What the system said.
        reason: String,
    },
    /// [`close`](crate::CommitLog::close) was called.
    #[error("the log is closed")]
    Closed,
    /// The queue takes nothing more: see [`Draft::closed`](crate::Draft::closed).
    #[error("the queue is closed")]
    QueueClosed,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has removed it.
    #[error("position {position} is below the log's start {start}")]
    Deleted {
        /// Asked for.
        position: u64,
        /// The first position still there.
        start: u64,
    },
    /// Not the start of a record, or damaged.
    #[error("no record at position {position}: {reason}")]
    Invalid {
        /// Asked for.
        position: u64,
        /// What does not fit.
        reason: Cow<'static, str>,
    },
    /// A filler stands there: a record that was damaged and given up by a salvage, if an index points to it.
    #[error("no record at position {position}, but a filler")]
    Filler {
        /// Asked for.
        position: u64,
    },
    /// Not readable yet.
    #[error("position {position} is not committed yet")]
    NotCommitted {
        /// Asked for.
        position: u64,
    },
    /// The system refused.
    #[error("reading at position {position}: {source}")]
    Io {
        /// Asked for.
        position: u64,
        /// What the system said.
        source: io::Error,
    },
}
