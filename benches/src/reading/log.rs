//! The files of a log, read without the store.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use foliomq_store::Entry;

use crate::plan::Order;
use crate::stage::Stage;

/// Bytes of a record's header and of the bench's topic, before the message.
const BEFORE: usize = 64 + foliomq_benches::bench::TOPIC.len();
/// Where the header has the length of the message.
const MESSAGE_LEN: u64 = 60;

/// The segments' files, and where the messages of one queue lie.
pub struct Log {
    segments: Vec<(u64, u64, File)>,
    /// Of the messages of the queue, in order.
    pub entries: Vec<Entry>,
    /// Where the body lies in a record: all have the same size. It is the last part of the message.
    body: Range<usize>,
}

impl Log {
    /// Opens the files.
    pub fn open(stage: &Stage, order: Order) -> Result<Self> {
        let open = |segment: foliomq_store::SegmentInfo| {
            let end = segment.base + segment.size;
            Ok((segment.base, end, File::open(&segment.path)?))
        };
        let segments = stage.store()?.segments().into_iter().map(open);
        let mut log = Self {
            segments: segments.collect::<Result<_>>()?,
            entries: stage.entries(order)?,
            body: 0..0,
        };
        let first = log.entries.first().context("no messages")?.position;
        let mut length = [0; 4];
        log.read(first + MESSAGE_LEN, &mut length)?;
        let end = BEFORE + u32::from_le_bytes(length) as usize;
        log.body = end - stage.body..end;
        Ok(log)
    }

    /// Base, end and file of the segment that holds `position`.
    pub fn segment(&self, position: u64) -> Result<&(u64, u64, File)> {
        let holds = |(base, end, _): &&(u64, u64, File)| (*base..*end).contains(&position);
        self.segments.iter().find(holds).context("no such segment")
    }

    /// Fills `buffer` from `position` on.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<()> {
        let (base, _, file) = self.segment(position)?;
        Ok(file.read_exact_at(buffer, position - base)?)
    }

    /// The body in the bytes of a record.
    #[inline]
    pub fn body<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        record.get(self.body.clone())
    }
}
