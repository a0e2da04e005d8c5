//! What can go wrong in an index.

use std::io;
use std::path::{Path, PathBuf};

use crate::entry::QueueNumber;

/// Errors of every index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// An entry is missing. Corruption to repair: the caller rebuilds the indexes from the log.
    #[error("queue {queue} would skip from offset {expected} to {offset}")]
    Gap {
        /// The queue.
        queue: QueueNumber,
        /// The offset that should have come.
        expected: u64,
        /// The offset that came.
        offset: u64,
    },
    /// A file contradicts itself. The caller rebuilds the indexes from the log.
    #[error("{path}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An entry is not as it was put. The indexes are to be rebuilt from the log.
    #[error(
        "the index entry of offset {offset} in queue {queue} is damaged: close the store and remove consumequeue, keys and \
         index-checkpoint in its folder, and the next start makes the indexes anew from the log"
    )]
    DamagedEntry {
        /// The queue.
        queue: QueueNumber,
        /// The offset.
        offset: u64,
    },
    /// What was written is not on the device, and may look as if it were: nothing is flushed before a restart.
    #[error("{what}: {source}")]
    NotFlushed {
        /// What was to be flushed.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on which file.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl IndexError {
    /// For `map_err`: what was tried, on which path.
    pub(crate) fn io(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |source| Self::Io { what, source }
    }

    /// The same, of a flush.
    pub(crate) fn not_flushed(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("flushing {}", path.display());
        move |source| Self::NotFlushed { what, source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            what: what.into(),
        }
    }
}
