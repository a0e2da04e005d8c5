//! Large reads into one buffer, with the messages picked out of it.

use anyhow::Result;

use super::Reader;
use crate::log::Log;
use crate::plan::Order;
use crate::stage::Stage;

/// Bytes of a read.
const CHUNK: u64 = 1 << 20;

/// The chunk that was read last.
pub struct Chunks {
    log: Log,
    next: usize,
    start: u64,
    len: usize,
    buffer: Vec<u8>,
}

impl Chunks {
    /// Over the queue of this order.
    pub fn open(stage: &Stage, order: Order) -> Result<Self> {
        Ok(Self {
            log: Log::open(stage, order)?,
            next: 0,
            start: 0,
            len: 0,
            buffer: vec![0; CHUNK as usize],
        })
    }

    /// A chunk that begins with the record at `position`.
    fn fetch(&mut self, position: u64) -> Result<()> {
        let (_, end, _) = self.log.segment(position)?;
        self.start = position;
        self.len = CHUNK.min(end - position) as usize;
        self.log.read(position, &mut self.buffer[..self.len])
    }
}

impl Reader for Chunks {
    fn seek(&mut self, offset: u64) {
        self.next = offset as usize;
    }

    fn next(&mut self) -> Result<Option<&[u8]>> {
        let Some(entry) = self.log.entries.get(self.next).copied() else {
            return Ok(None);
        };
        self.next += 1;
        let end = entry.position + u64::from(entry.size);
        if entry.position < self.start || end > self.start + self.len as u64 {
            self.fetch(entry.position)?;
        }
        let at = (entry.position - self.start) as usize;
        Ok(self.log.body(&self.buffer[at..at + entry.size as usize]))
    }
}
