//! The floor: the stretch of the log that is read, in memory of the process, its positions at hand.

use anyhow::{Context, Result};

use super::Reader;
use crate::log::Log;
use crate::plan::Order;
use crate::stage::Stage;

/// Bytes copied at a time while it is filled.
const STEP: u64 = 1 << 20;

/// A copy of the log from the queue's first message to its last.
pub struct Memory {
    log: Log,
    next: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl Memory {
    /// Copies what holds the queue of this order.
    pub fn open(stage: &Stage, order: Order) -> Result<Self> {
        let log = Log::open(stage, order)?;
        let first = log.entries.first().context("no messages")?.position;
        let mut bytes = vec![0; stage.span(order)? as usize];
        let mut at = 0;
        while at < bytes.len() as u64 {
            let position = first + at;
            let (_, end, _) = log.segment(position)?;
            let len = STEP.min(end - position).min(bytes.len() as u64 - at);
            log.read(position, &mut bytes[at as usize..(at + len) as usize])?;
            at += len;
        }
        Ok(Self {
            log,
            next: 0,
            start: first,
            bytes,
        })
    }
}

impl Reader for Memory {
    fn seek(&mut self, offset: u64) {
        self.next = offset as usize;
    }

    #[inline]
    fn next(&mut self) -> Result<Option<&[u8]>> {
        let Some(entry) = self.log.entries.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let at = (entry.position - self.start) as usize;
        Ok(self.log.body(&self.bytes[at..at + entry.size as usize]))
    }
}
