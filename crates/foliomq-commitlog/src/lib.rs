//! An append-only log of checksummed records over mapped segments.
//!
//! Many threads append; each record gets a position, a place in its queue and a time, and becomes readable once it is
//! committed. Readers get records by reference to the mapped pages. A log recovers by itself from a crash and a torn
//! tail, refuses to open over damage, and drops old segments by unlinking them.
//!
//! ```
//! use std::sync::atomic::AtomicU64;
//! use foliomq_commitlog::{CommitLog, Draft, Kind, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let options = Options { segment_size: 1 << 20, ..Options::new(dir.path()) };
//! let (log, _) = CommitLog::open(options)?;
//! let next_offset = AtomicU64::new(0);
//! let draft =
//!     Draft { kind: Kind::Message, topic: "hello", queue_id: 0, next_offset: &next_offset, closed: None, message: &[b"first"] };
//! let appended = log.append(&draft)?;
//! log.wait_committed(appended.end())?;
//! let record = log.read(appended.position)?;
//! assert_eq!(record.message(), b"first");
//! assert!(log.is_mapped(record.message()));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod append;
mod bill;
mod checkpoint;
mod cold;
mod error;
mod flushed;
mod flusher;
mod folios;
mod follow;
mod followed;
#[cfg(test)]
mod golden;
mod header;
mod log;
mod lookup;
mod memory;
mod options;
mod preheater;
mod preparer;
mod read;
mod record;
mod recovery;
mod salvage;
mod scan;
mod segments;
mod share;
mod shared;
mod survey;
mod tail;
mod turns;
mod view;

pub use bill::PreheatBill;
pub use checkpoint::Checkpoint;
pub use cold::{SegmentResidency, residency};
pub use error::{AppendError, OpenError, ReadError};
pub use flushed::FlushBill;
pub use foliomq_segment::{Heat, Residency, State, Usage, Wait, Watermarks, WriterKind};
pub use follow::{LogReader, ReaderError};
pub use followed::FollowedRecords;
pub use header::{Header, Kind};
pub use log::CommitLog;
pub use lookup::Lookup;
pub use options::{Flush, Options, Preheat, ReadMode};
pub use read::Records;
pub use record::{Appended, Draft, Record, RecordRef};
pub use recovery::{Cut, Recovery};
pub use salvage::salvage;
pub use segments::SegmentInfo;
pub use share::{ColdReads, cold_reads_here};
pub use survey::{Damage, SegmentSurvey, Survey, inspect, verify};
pub use view::View;
