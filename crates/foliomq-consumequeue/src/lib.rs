//! The indexes of a commit log: for each queue its entries by offset, and for each key its records.
//!
//! Nothing here is a truth of its own: the log's dispatcher brings every entry, and can bring it again. So the indexes
//! are flushed lazily, and a [`Checkpoint`] says up to which log position they were; what is above it is forgotten when
//! they are opened. `docs/format-index.md` has the bytes.
//!
//! ```
//! use foliomq_consumequeue::{ConsumeQueues, Entry};
//!
//! let dir = tempfile::tempdir()?;
//! let queues = ConsumeQueues::open(dir.path(), 0)?;
//! queues.put(7, 0, Entry { position: 0, size: 128, tag_hash: 0, store_time: 1_700_000_000_000 })?;
//! assert_eq!(queues.offsets(7), 0..1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod checkpoint;
mod directory;
mod entry;
mod error;
mod expiry;
mod extent;
mod extent_log;
mod files;
mod hash;
mod key_index;
mod page;
mod pool;
mod queues;
mod recover;
mod run;
mod run_file;
mod table;
mod writer;

pub use checkpoint::Checkpoint;
pub use entry::{Entry, QueueNumber};
pub use error::IndexError;
pub use hash::{key_hash, tag_hash};
pub use key_index::KeyIndex;
pub use queues::{ConsumeQueues, Emptied};
pub use writer::Writer;
