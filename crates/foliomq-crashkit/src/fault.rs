//! Operations that fail.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_segment::disk::{Flush, Operation};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flush of the log's records.
    FlushRecords,
    /// Any flush of a file.
    Flush,
    /// A flush of a folder.
    FlushFolder,
    /// A write.
    Write,
    /// The reservation of blocks.
    Allocate,
    /// The making of a file or folder.
    Create,
    /// A rename.
    Rename,
    /// A removal.
    Unlink,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::FlushRecords,
        Self::Flush,
        Self::FlushFolder,
        Self::Write,
        Self::Allocate,
        Self::Create,
        Self::Rename,
        Self::Unlink,
    ];

    fn is(self, operation: &Operation<'_>) -> bool {
        match operation {
            Operation::Flush(Flush::Records, ..) => {
                matches!(self, Self::FlushRecords | Self::Flush)
            }
            Operation::Flush(..) => self == Self::Flush,
            Operation::FlushFolder(..) => self == Self::FlushFolder,
            Operation::Write(_) | Operation::SetLen(_) | Operation::Punch(_) => self == Self::Write,
            Operation::Allocate(_) => self == Self::Allocate,
            Operation::Create(_) | Operation::MakeFolder(_) => self == Self::Create,
            Operation::Rename(..) => self == Self::Rename,
            Operation::Unlink(_) => self == Self::Unlink,
        }
    }
}

/// The n-th operation of a kind fails, and, as after a lost page, the next ones may go well.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    /// How many go well before it.
    before: u64,
    /// How many fail.
    times: u64,
    /// As `errno` has it.
    error: i32,
    seen: AtomicU64,
}

impl Fault {
    /// After `before` operations of the kind, the next `times` fail with this error of the system (`EIO`, `ENOSPC`).
    pub fn new(kind: Kind, before: u64, times: u64, error: rustix::io::Errno) -> Self {
        Self {
            kind,
            before,
            times,
            error: error.raw_os_error(),
            seen: AtomicU64::new(0),
        }
    }

    /// The error of an operation that fails.
    pub(crate) fn strike(&self, operation: &Operation<'_>) -> Option<io::Error> {
        if !self.kind.is(operation) {
            return None;
        }
        let n = self.seen.fetch_add(1, Ordering::SeqCst);
        let hit = n >= self.before && n - self.before < self.times;
        hit.then(|| io::Error::from_raw_os_error(self.error))
    }

    pub(crate) fn has_struck(&self) -> bool {
        self.seen.load(Ordering::SeqCst) > self.before
    }
}
