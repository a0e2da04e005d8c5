//! What a reader of the figures must know of each system: its settings, and what it does not do.

use crate::peer::{Flush, Name};

/// How it was set up.
pub fn settings(name: Name) -> &'static str {
    match name {
        Name::Foliomq => {
            "defaults but segments of 256 MiB (so that runs roll); one topic, one queue, appended through an `Appender` and read \
             through a `Cursor`, which lends each message from the mapped page; the time of the appends ends when the \
             index has every message"
        }
        Name::Commitlog => {
            "segments of 1 GB (default), an index of 2 M entries from the start so that it is never remapped, one reused \
             `MessageBuf`, reads of 256 KiB (the default of 8 KiB is slower)"
        }
        Name::RaftEngine => {
            "defaults without compression (the bodies do not compress), one Raft group, entries reused between appends; \
             it reserves file space ahead; fetched 64 at a time"
        }
        Name::Walrus => {
            "its default backend (file descriptors and io_uring), `AtLeastOnce` so that the cursor is not written per read, \
             batch reads of 1 MiB, which pass over messages (they found 191,193 of 200,000 at 1 KiB); `read_next` finds all, at 2 k/s to 150 k/s"
        }
        Name::Fjall => {
            "defaults, journal compression off, keys of 8 bytes in ascending order, `WriteBatch` for batches, scanned with `iter()`"
        }
        Name::Redb => {
            "defaults (cache of 1 GiB), `u64` to bytes, one transaction per append, scanned with `iter()`"
        }
        Name::Okaywal => {
            "segments of 128 MiB reserved, no checkpoints (its default of one per 768 KiB would drop what is to be read); read \
             by recovery, its only scan, the opening included"
        }
    }
}

/// What it does not do that FolioMQ does in the same time.
pub fn lacks(name: Name) -> &'static str {
    match name {
        Name::Foliomq => "a checksum is compared at recovery and on request, not at each read",
        Name::Commitlog => {
            "no topics or queues (one log, one writer, `&mut`), never flushes by itself; it compares the checksum at each read"
        }
        Name::RaftEngine => {
            "positions are kept in memory only and rebuilt by reading all at the start; compares the checksum at each read"
        }
        Name::Walrus => {
            "no reads by offset: a cursor per topic that moves on; errors of writes are dropped; compares the checksum at each read"
        }
        Name::Fjall => {
            "a key-value store: no topics, no offsets of its own; the journal's data are written again by flushes of the memtable"
        }
        Name::Redb => "a B-tree: no topics, no offsets of its own",
        Name::Okaywal => {
            "a write-ahead log: no offsets, no reading in order while it is open; compares the checksum at each read"
        }
    }
}

/// The mode that was used.
pub fn mode(name: Name, flush: Flush) -> &'static str {
    match (name, flush) {
        (Name::Foliomq, Flush::Never) => "`Flush::Async`, interval 1 h",
        (Name::Foliomq, Flush::Each) => "`Flush::Sync`",
        (Name::Commitlog, Flush::Never) => "no `flush()`",
        (Name::Commitlog, Flush::Each) => {
            "`flush()` (which syncs the index only) and `fdatasync` by the program on a descriptor of its own"
        }
        (Name::RaftEngine, Flush::Never) => "`write(batch, false)`",
        (Name::RaftEngine, Flush::Each) => "`write(batch, true)`",
        (Name::Walrus, Flush::Never) => "`NoFsync` (its batches are flushed all the same)",
        (Name::Walrus, Flush::Each) => "`SyncEach`",
        (Name::Fjall, Flush::Never) => "`PersistMode::Buffer`",
        (Name::Fjall, Flush::Each) => "`PersistMode::SyncData`",
        (Name::Redb, Flush::Never) => "`Durability::None`",
        (Name::Redb, Flush::Each) => "`Durability::Immediate`",
        (Name::Okaywal, Flush::Never) => "there is none",
        (Name::Okaywal, Flush::Each) => "`commit()`",
    }
}
