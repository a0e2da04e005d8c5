//! One preallocated, memory-mapped file of a log, and the protocol by which bytes in it become readable.
//!
//! This crate is the only home of `unsafe` among those that a broker is made of. What makes its safe interface sound:
//!
//! * a [`Folder`] is locked against other processes and lets each segment be opened once;
//! * a position is handed out for writing once, by the [`Reserver`] of a log;
//! * bytes are written by a [`Writer`] to memory that no reader sees, by raw copies, and become readable only when the
//!   [`Publication`] passes them, in order;
//! * readers get slices of a separate read-only mapping, never past the published position, and each slice keeps
//!   the mapping alive. A segment is deleted by unlinking, never truncated or reused.
//!
//! ```
//! use foliomq_segment::{Folder, Publication, SegmentFile, WriterKind};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let folder = Folder::lock(dir.path())?;
//! let (publication, mut reserver) = Publication::new(0);
//! let segment = SegmentFile::create(&folder, 0, 64 << 10)?.map(&publication)?;
//! reserver.go_on(WriterKind::Mapped.open(&segment)?)?;
//!
//! let mut slot = reserver.reserve(&publication, 5)?;
//! slot.space().write(0, b"hello");
//! assert!(segment.bytes(0, 5).is_none(), "not readable before it is published");
//! slot.publish();
//! assert_eq!(&segment.bytes(0, 5).unwrap()[..], b"hello");
//! # Ok(())
//! # }
//! ```

pub mod background;
mod control;
pub mod disk;
mod file;
mod folder;
mod lobby;
mod mapped;
mod observer;
mod page_cache;
mod publication;
mod reserver;
mod residency;
mod ring;
mod segment;
mod sleepers;
mod slot;
mod staged;
mod sync;
mod uncached;
mod warmth;
pub mod watermark;
pub mod words;
mod writer;

pub use control::{Beginning, CONTROL, Control, Mark, State};
pub use file::SegmentFile;
pub use folder::{Folder, FolderError, Usage};
pub use lobby::Lobby;
pub use observer::{Observer, Wait, Watermarks};
pub use publication::{IN_FLIGHT, Publication};
pub use reserver::{Refused, Reserver};
pub use residency::{Heat, Residency};
pub use segment::Segment;
pub use slot::{Slot, Space};
pub use uncached::{Uncached, drop_cached};
pub use warmth::{BLOCK, ColdBlock};
pub use watermark::Watermark;
pub use writer::{Folios, Prepared, Writer, WriterKind};

/// Bytes of a page: the unit of mapping, flushing and preheating.
pub const PAGE: u64 = 4096;
