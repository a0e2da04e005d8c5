//! A `BufReader` over the log: every record's bytes go through its buffer, whichever queue it belongs to.

use std::io::{BufReader, Read, Seek, SeekFrom};

use anyhow::Result;

use super::Reader;
use crate::log::Log;
use crate::plan::Order;
use crate::stage::Stage;

/// Bytes of the buffer.
const BUFFER: usize = 64 << 10;

/// Passes over what lies between two messages of the queue.
pub struct Stream {
    log: Log,
    next: usize,
    /// Reads from this position on, up to the segment's end.
    position: u64,
    end: u64,
    reader: Option<BufReader<std::fs::File>>,
    record: Vec<u8>,
}

impl Stream {
    /// Over the queue of this order.
    pub fn open(stage: &Stage, order: Order) -> Result<Self> {
        let log = Log::open(stage, order)?;
        Ok(Self {
            log,
            next: 0,
            position: 0,
            end: 0,
            reader: None,
            record: Vec::new(),
        })
    }

    /// A reader that stands at `position`.
    fn at(&mut self, position: u64) -> Result<&mut BufReader<std::fs::File>> {
        let beyond = position < self.position || position >= self.end;
        let reader = match self.reader.take().filter(|_| !beyond) {
            Some(mut reader) => {
                // Within the buffer this is only a step; beyond it, a seek of the file.
                reader.seek_relative((position - self.position) as i64)?;
                reader
            }
            None => {
                let (base, end, file) = self.log.segment(position)?;
                self.end = *end;
                let mut reader = BufReader::with_capacity(BUFFER, file.try_clone()?);
                reader.seek(SeekFrom::Start(position - base))?;
                reader
            }
        };
        self.position = position;
        Ok(self.reader.insert(reader))
    }
}

impl Reader for Stream {
    fn seek(&mut self, offset: u64) {
        self.next = offset as usize;
    }

    fn next(&mut self) -> Result<Option<&[u8]>> {
        let Some(entry) = self.log.entries.get(self.next).copied() else {
            return Ok(None);
        };
        self.next += 1;
        let mut record = std::mem::take(&mut self.record);
        record.resize(entry.size as usize, 0);
        self.at(entry.position)?.read_exact(&mut record)?;
        self.position += u64::from(entry.size);
        self.record = record;
        Ok(self.log.body(&self.record))
    }
}
