//! Settings of a log.

use std::path::PathBuf;
use std::time::Duration;

use foliomq_segment::WriterKind;

/// When an append counts as done, and so when it may be acknowledged and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Once on the device, by group commit: committed = durable.
    Sync,
    /// Once in the page cache, which is flushed every interval: committed = appended.
    Async {
        /// Time between two flushes.
        interval: Duration,
    },
}

/// Which pages ahead of the append head are made resident and writable before an append needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preheat {
    /// The next `bytes`, a window that moves with the head.
    Window {
        /// Size of the window.
        bytes: u64,
    },
    /// The whole segment when it is made.
    Segment,
    /// None: an append pays for the page faults.
    Off,
}

/// How a record gets to its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// By reference to the mapped pages.
    Mapped,
    /// By `pread` into a buffer of the reader's.
    Buffered,
}

/// Settings of a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the log; made if needed.
    pub dir: PathBuf,
    /// Bytes of a new segment: a power of two from 64 KiB to 4 GiB. Segments that exist keep their size.
    pub segment_size: u64,
    /// When an append is committed.
    pub flush: Flush,
    /// How appended bytes get into a segment's file; `None`: as is best for the flush mode, staged for sync, mapped for
    /// async (`docs/decisions/0006-the-writer-follows-the-flush-mode.md`).
    pub writer: Option<WriterKind>,
    /// Which pages are prepared ahead.
    pub preheat: Preheat,
    /// Whether to lock the active segment in memory. That this fails is only a warning.
    pub lock_memory: bool,
    /// How records are read.
    pub read_mode: ReadMode,
    /// A read whose pages are not in memory asks for so many bytes after them too, without waiting.
    pub read_ahead: u64,
    /// Most bytes of memory for pages that reads have brought in: past it the oldest are given back. `None`: a quarter of the memory
    /// that the process may use at the time, by what is installed and by its control groups, and at least 64 MiB.
    pub cold_cache: Option<u64>,
    /// At most so many reads wait for the device at once, each for a block and what is read ahead; others wait for these, in the
    /// order in which they came, so that whoever catches up leaves the device to those at the head. At least 1.
    pub cold_reads: usize,
    /// How many bytes before the durable position are checked against their checksums when the log is opened.
    pub check_on_open: u64,
}

impl Options {
    /// The smallest segment, bytes.
    pub const MIN_SEGMENT: u64 = 64 << 10;
    /// The largest segment, bytes.
    pub const MAX_SEGMENT: u64 = 4 << 30;

    /// The writer that is asked for, or the one for the flush mode.
    pub(crate) fn writer(&self) -> WriterKind {
        self.writer.unwrap_or(match self.flush {
            Flush::Sync => WriterKind::Staged,
            Flush::Async { .. } => WriterKind::Mapped,
        })
    }

    /// 1 GiB segments, sync, the writer for that, a 32 MiB window, mapped reads, 1 MiB read ahead, a quarter of the memory kept
    /// of what was cold and 4 reads of it at once, the last 64 MiB checked on open.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_size: 1 << 30,
            flush: Flush::Sync,
            writer: None,
            preheat: Preheat::Window { bytes: 32 << 20 },
            lock_memory: false,
            read_mode: ReadMode::Mapped,
            read_ahead: 1 << 20,
            cold_cache: None,
            cold_reads: 4,
            check_on_open: 64 << 20,
        }
    }
}
