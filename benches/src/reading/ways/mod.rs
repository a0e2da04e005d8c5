//! The ways to read, one file each.

mod bufreader;
mod chunks;
mod cursor;
mod memory;
mod pread;
mod shares;

use anyhow::Result;
use serde::Serialize;

use crate::drive::{Count, Limits, drive};
use crate::plan::Order;
use crate::stage::Stage;

/// A place among the messages of one queue.
pub trait Reader {
    /// Goes to a message.
    fn seek(&mut self, offset: u64);

    /// The next body, or `None` after the last message of the queue.
    fn next(&mut self) -> Result<Option<&[u8]>>;
}

/// A way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The store's cursor, mapped: a slice of the page.
    Mapped,
    /// The store's `read_many` and `read`, mapped: messages that keep their page.
    Shares,
    /// The store's cursor in buffered mode: one `pread` per message.
    Buffered,
    /// One `pread` per message at positions that are at hand: no index, no check.
    Pread,
    /// A `BufReader` of 64 KiB over the log.
    BufReader,
    /// `pread` of 1 MiB at a time, messages picked out of the buffer.
    Chunks,
    /// The same bytes in memory of the process: what no way to read a file can beat.
    Memory,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Mapped,
        Self::Shares,
        Self::Buffered,
        Self::Pread,
        Self::BufReader,
        Self::Chunks,
        Self::Memory,
    ];

    /// As the page says it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mapped => "mapped, cursor",
            Self::Shares => "mapped, read_many",
            Self::Buffered => "store, pread each",
            Self::Pread => "bare pread each",
            Self::BufReader => "BufReader 64 KiB",
            Self::Chunks => "chunks of 1 MiB",
            Self::Memory => "bare memory",
        }
    }

    /// Whether it reads the store that is mapped.
    pub fn is_mapped(self) -> bool {
        matches!(self, Self::Mapped | Self::Shares)
    }

    /// Whether it can read in this order: streams cannot jump.
    pub fn can(self, order: Order) -> bool {
        order != Order::Random || !matches!(self, Self::BufReader | Self::Chunks)
    }

    /// Reads from the store of `stage`.
    pub fn read(self, stage: &Stage, order: Order, limits: &Limits) -> Result<Count> {
        match self {
            Self::Mapped | Self::Buffered => drive(&mut cursor::open(stage, order)?, order, limits),
            Self::Shares => drive(&mut shares::Shares::open(stage, order)?, order, limits),
            Self::Pread => drive(&mut pread::Pread::open(stage, order)?, order, limits),
            Self::BufReader => drive(&mut bufreader::Stream::open(stage, order)?, order, limits),
            Self::Chunks => drive(&mut chunks::Chunks::open(stage, order)?, order, limits),
            Self::Memory => drive(&mut memory::Memory::open(stage, order)?, order, limits),
        }
    }
}
