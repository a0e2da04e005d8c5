//! One `pread` per message, at a position that is at hand: the least that a program without a mapping can do.

use anyhow::Result;

use super::Reader;
use crate::log::Log;
use crate::plan::Order;
use crate::stage::Stage;

/// Into one buffer.
pub struct Pread {
    log: Log,
    next: usize,
    buffer: Vec<u8>,
}

impl Pread {
    /// Over the queue of this order.
    pub fn open(stage: &Stage, order: Order) -> Result<Self> {
        let log = Log::open(stage, order)?;
        let largest = log.entries.iter().map(|entry| entry.size).max();
        Ok(Self {
            log,
            next: 0,
            buffer: vec![0; largest.unwrap_or(0) as usize],
        })
    }
}

impl Reader for Pread {
    fn seek(&mut self, offset: u64) {
        self.next = offset as usize;
    }

    fn next(&mut self) -> Result<Option<&[u8]>> {
        let Some(entry) = self.log.entries.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let record = &mut self.buffer[..entry.size as usize];
        self.log.read(entry.position, record)?;
        Ok(self.log.body(record))
    }
}
