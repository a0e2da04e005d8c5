//! An embeddable message store on a mapped commit log.
//!
//! Topics with queues; append from any number of threads; read by reference to the mapped pages; follow the tail,
//! blocking or async; keep the progress of consumer groups. No async runtime, no global state, no logger of its own
//! (events go to `tracing`), several stores in one process.
//!
//! ```
//! use foliomq_store::{Message, Options, TopicOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = Options::new(dir.path()).segment_size(16 << 20).open()?;
//! store.create_topic("greetings", TopicOptions { queues: 1, ..Default::default() })?;
//! let appended = store.append("greetings", &Message::new(b"hello").tag("first"))?;
//! let message = store.read("greetings", 0, appended.queue_offset)?.expect("it was just appended");
//! assert_eq!(message.body(), b"hello");
//! assert!(store.is_mapped(message.body()), "no copy was made");
//! # Ok(())
//! # }
//! ```
//!
//! Another process reads along without a lock: it maps the same pages, and is woken through a small shared file.
//!
//! ```
//! # use foliomq_store::{Message, Options, Store, TopicOptions};
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let store = Options::new(dir.path()).segment_size(16 << 20).open()?;
//! # store.create_topic("greetings", TopicOptions::default())?;
//! let reader = Store::open_reader(dir.path())?;
//! let mut news = reader.tail().of_topic("greetings");
//! # store.append("greetings", &Message::new(b"hello"))?;
//! if let Some(message) = news.next_timeout(Duration::from_secs(1))? {
//!     assert_eq!(message.body(), b"hello");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A store's folder holds `commitlog` (every message), `consumequeue` and `keys` (indexes, which can be made anew from
//! the log), `index-checkpoint` (how far they are flushed) and `meta` (topics and progress).
#![forbid(unsafe_code)]

mod append;
mod appender;
mod change;
#[cfg(test)]
mod codec_tests;
mod cursor;
mod dispatcher;
mod error;
mod held;
mod hidden;
mod housekeeper;
mod known;
mod ledger;
mod lite;
mod message;
mod meta;
mod offline;
mod open;
mod options;
#[cfg(test)]
mod order_tests;
mod progress;
mod read;
mod reader;
mod registry;
mod residency;
mod reveal;
mod shared;
mod span;
mod store;
mod stored;
mod tail;
mod topic;
mod topic_retention;
mod topic_settings;
mod topic_state;
mod topics;
mod update;
mod weight;
mod wire;

pub use append::Submitted;
pub use appender::Appender;
pub use cursor::{Cursor, MessageRef};
pub use error::{OpenError, StoreError};
pub use foliomq_commitlog::{
    AppendError, Appended, ColdReads, Cut, Flush, FlushBill, Heat, Preheat, PreheatBill, ReadError,
    ReadMode, ReaderError, Recovery, Residency, SegmentInfo, SegmentResidency, State, Usage, Wait,
    Watermarks as LogWatermarks, WriterKind, cold_reads_here,
};
pub use foliomq_consumequeue::{Entry, IndexError, key_hash, tag_hash};
pub use hidden::{Awaits, HiddenMessage};
pub use ledger::{LedgerEntry, LedgerEvent};
pub use lite::{LiteListener, MAX_LITE_NAME, check_lite, lite_name, lite_parts};
pub use message::Message;
pub use offline::{Finding, LogReport, Part, Report, TopicReport, inspect, verify};
pub use options::{Disk, Options, Retention};
pub use reader::{Lookup, Messages, Reader, ReaderOptions};
pub use residency::{HEAT_PARTS, residency};
pub use reveal::Revealed;
pub use store::{Delivered, Store, Watermarks};
pub use stored::StoredMessage;
pub use tail::Tail;
pub use topic::{MAX_QUEUES, Topic, TopicOptions, TopicType};
pub use topic_settings::{LiteLimits, Permission, TopicSettings};
