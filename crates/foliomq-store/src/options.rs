//! Settings of a store.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use foliomq_commitlog::{Flush, Preheat, ReadMode, Usage, WriterKind};

use crate::error::OpenError;
use crate::store::Store;

/// When records may be dropped. Only whole sealed segments go, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// Drop segments whose newest record is older. Default 72 h. `None`: keep.
    pub age: Option<Duration>,
    /// Drop the oldest while the log takes more bytes of the device. Default `None`.
    pub size: Option<u64>,
    /// `(high, low)`: above `high` (share of the file system in use, 0 to 1) the oldest go until use is below `low`.
    /// Default `None`: never, since others may have filled the disk, and what goes may not have been read.
    pub disk: Option<(f64, f64)>,
    /// Above this share appends are refused (`DiskFull`) until use is 2 % below it. Default 0.97.
    pub disk_refuse: f64,
    /// How often all this is looked at. Default 10 s.
    pub interval: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Some(Duration::from_secs(72 * 3600)),
            size: None,
            disk: None,
            disk_refuse: 0.97,
            interval: Duration::from_secs(10),
        }
    }
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The store's folder; made if needed, with mode 0700.
    pub dir: PathBuf,
    /// Bytes of a segment; a power of two from 64 KiB to 4 GiB. Default 1 GiB. Two of them are reserved at first start.
    pub segment_size: u64,
    /// When an append is committed. Default [`Flush::Sync`].
    pub flush: Flush,
    /// How appended bytes get into a segment's file. Default `None`: as is best for the flush mode, staged for sync,
    /// mapped for async.
    pub writer: Option<WriterKind>,
    /// Which pages are made ready ahead of the append head. Default: a window of 32 MiB.
    pub preheat: Preheat,
    /// Whether to lock the active segment in memory. Default: no.
    pub lock_memory: bool,
    /// How messages are read. Default [`ReadMode::Mapped`].
    pub read_mode: ReadMode,
    /// A read whose pages are not in memory asks for so many bytes after them too, without waiting. Default 1 MiB.
    pub read_ahead: u64,
    /// Most bytes of memory for pages that reads have brought in: past it the oldest are given back. Default `None`: a
    /// quarter of the memory that the process may use at the time, by what is installed and by its control groups, at least 64 MiB.
    pub cold_cache: Option<u64>,
    /// At most so many reads wait for the device at once, each for a block of 256 KiB and what is read ahead; others wait for these,
    /// in the order in which they came: whoever catches up leaves the device to those at the head. Default 4, at least 1.
    pub cold_reads: usize,
    /// When records may be dropped.
    pub retention: Retention,
    /// Queues of a topic that is created without saying how many. Default 8.
    pub default_queues: u32,
    /// Largest body, bytes. Default 4 MiB.
    pub max_body: usize,
    /// How much of the log's end is compared with its checksums when the store is opened, bytes. Default 64 MiB.
    pub check_on_open: u64,
    /// Says how full the disk is. Default `None`: the file system that holds the log does.
    pub disk: Option<Arc<dyn Disk>>,
}

/// Says how full a disk is, in place of the file system: for a quota, or a test.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Asked at each [`Retention::interval`].
    fn usage(&self) -> io::Result<Usage>;
}

impl Options {
    /// The smallest segment, bytes.
    pub const MIN_SEGMENT: u64 = foliomq_commitlog::Options::MIN_SEGMENT;
    /// The largest segment, bytes.
    pub const MAX_SEGMENT: u64 = 4 << 30;

    /// The defaults, in `dir`.
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
            retention: Retention::default(),
            default_queues: 8,
            max_body: 4 << 20,
            check_on_open: 64 << 20,
            disk: None,
        }
    }

    /// Sets the bytes of a segment.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Sets when an append is committed.
    pub fn flush(mut self, flush: Flush) -> Self {
        self.flush = flush;
        self
    }

    /// Sets how appended bytes get into a segment's file.
    pub fn writer(mut self, kind: WriterKind) -> Self {
        self.writer = Some(kind);
        self
    }

    /// Sets how messages are read.
    pub fn read_mode(mut self, mode: ReadMode) -> Self {
        self.read_mode = mode;
        self
    }

    /// Sets which pages are made ready ahead.
    pub fn preheat(mut self, preheat: Preheat) -> Self {
        self.preheat = preheat;
        self
    }

    /// Sets when records may be dropped.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets who says how full the disk is.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Opens or creates the store.
    pub fn open(self) -> Result<Store, OpenError> {
        Store::open(self)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let invalid = |what: String| Err(OpenError::Invalid { what });
        let size = self.segment_size;
        if !size.is_power_of_two() || !(Self::MIN_SEGMENT..=Self::MAX_SEGMENT).contains(&size) {
            return invalid(format!(
                "a segment cannot have {size} bytes: it takes a power of two from 64 KiB to 4 GiB"
            ));
        }
        if !(1..=crate::topic::MAX_QUEUES).contains(&self.default_queues) {
            return invalid(format!(
                "a topic cannot have {} queues: it takes 1 to 1024",
                self.default_queues
            ));
        }
        // Properties and header beside it: a record must leave room for others in its segment.
        if self.max_body as u64 > size / 2 {
            return invalid(format!(
                "bodies of {} bytes are too large for segments of {size}: at most half",
                self.max_body
            ));
        }
        match self.retention.disk {
            Some((high, low)) if !(0.0 < low && low <= high && high <= 1.0) => invalid(format!(
                "disk marks {high} and {low}: it takes 0 < low <= high <= 1"
            )),
            _ => Ok(()),
        }
    }
}
