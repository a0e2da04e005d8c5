//! Reading record after record without an allocation for each: the segment that was read last stays at hand.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foliomq_segment::Segment;

use crate::error::ReadError;
use crate::header::{HEADER, Header, Kind};
use crate::options::ReadMode;
use crate::read::{UNFIT, unread};
use crate::record::RecordRef;
use crate::shared::Shared;

/// Reads one record at a time, each borrowed until the next; see [`CommitLog::view`](crate::CommitLog::view).
///
/// Keeps the segment that it read last mapped, if retention drops it meanwhile.
#[derive(Debug)]
pub struct View {
    log: Arc<Shared>,
    held: Option<Held>,
    /// What was committed when last looked: appenders write that word all the time.
    committed: u64,
    /// The record, in [`ReadMode::Buffered`]. Grows to the largest that was read.
    buffer: Vec<u8>,
}

/// The segment that was read last.
#[derive(Debug)]
struct Held {
    segment: Arc<Segment>,
    /// What was published of it when last looked; empty in [`ReadMode::Buffered`].
    pages: Bytes,
    base: u64,
    end: u64,
    /// Positions whose pages were found in memory, or brought there, last.
    warm: Range<u64>,
}

impl View {
    pub(crate) fn new(log: Arc<Shared>) -> Self {
        Self {
            log,
            held: None,
            committed: 0,
            buffer: Vec::new(),
        }
    }

    /// The record of `size` bytes at `position`, both from an index. Fillers are refused.
    ///
    /// The record's structure is checked, and its checksum if this process has neither appended it nor compared it at open.
    #[inline]
    pub fn record(&mut self, position: u64, size: u32) -> Result<RecordRef<'_>, ReadError> {
        let end = position.saturating_add(u64::from(size));
        self.check_committed(position, end)?;
        let held = Held::of(&mut self.held, &self.log, position)?;
        if end > held.end {
            return Err(unread(position, "it does not end in its segment"));
        }
        let room = held.end - position;
        let bytes = match self.log.options.read_mode {
            ReadMode::Mapped => {
                held.warm(&self.log, position..end)?;
                held.pages(position, size as usize)?
            }
            ReadMode::Buffered => held.read(&mut self.buffer, position, size as usize)?,
        };
        let record = whole(bytes, position, room)?;
        match self.log.is_sound(position) || record.verify() {
            true => Ok(record),
            false => Err(unread(position, UNFIT)),
        }
    }

    /// The same, to be looked at by [`loaded`](Self::loaded): where it depends on the record what is read next.
    #[inline]
    pub fn load(&mut self, position: u64, size: u32) -> Result<Header, ReadError> {
        self.record(position, size).map(|record| *record.header())
    }

    /// The record that was loaded last, by its header.
    #[inline]
    pub fn loaded(&self, header: Header) -> Option<RecordRef<'_>> {
        let size = header.size as usize;
        let bytes = match self.log.options.read_mode {
            ReadMode::Mapped => {
                let held = self.held.as_ref()?;
                let start = usize::try_from(header.position.checked_sub(held.base)?).ok()?;
                held.pages.get(start..start.checked_add(size)?)?
            }
            ReadMode::Buffered => self.buffer.get(..size)?,
        };
        Some(RecordRef::new(header, bytes))
    }

    /// Keeps the segment at `position` mapped from now on, until one is read from another.
    #[inline]
    pub fn hold(&mut self, position: u64) -> Result<(), ReadError> {
        Held::of(&mut self.held, &self.log, position).map(|_| ())
    }

    fn check_committed(&mut self, position: u64, end: u64) -> Result<(), ReadError> {
        if end > self.committed {
            self.committed = self.log.committed().value();
            if end > self.committed {
                return Err(ReadError::NotCommitted { position });
            }
        }
        Ok(())
    }
}

impl Held {
    /// The one that is held if `position` lies in it, else the one that holds it.
    #[inline]
    fn of<'a>(
        held: &'a mut Option<Self>,
        log: &Shared,
        position: u64,
    ) -> Result<&'a mut Self, ReadError> {
        let fits = |held: &Self| held.base <= position && position < held.end;
        if !held.as_ref().is_some_and(fits) {
            *held = None;
        }
        match held {
            Some(held) => Ok(held),
            none => Ok(none.insert(Self::find(log, position)?)),
        }
    }

    fn find(log: &Shared, position: u64) -> Result<Self, ReadError> {
        let segment = log.segments.find(position);
        let segment = segment.ok_or_else(|| ReadError::Deleted {
            position,
            start: log.segments.start(),
        })?;
        Ok(Self {
            pages: Bytes::new(),
            base: segment.base(),
            end: segment.end(),
            warm: 0..0,
            segment,
        })
    }

    /// Brings the pages of a record into memory: where a touch would be a signal there is an error.
    #[inline]
    fn warm(&mut self, log: &Shared, positions: Range<u64>) -> Result<(), ReadError> {
        if positions.start < self.warm.start || self.warm.end < positions.end {
            log.fetch(&self.segment, positions.clone())?;
            self.warm = positions.start..self.segment.block_end(positions.end.saturating_sub(1));
        }
        Ok(())
    }

    /// Bytes of the mapped pages.
    #[inline]
    fn pages(&mut self, position: u64, size: usize) -> Result<&[u8], ReadError> {
        let start = (position - self.base) as usize;
        if self.pages.len() < start + size {
            self.pages = self.segment.published_bytes();
        }
        self.pages
            .get(start..start + size)
            .ok_or_else(|| unread(position, "no whole record"))
    }

    /// Bytes of the file.
    fn read<'a>(
        &self,
        buffer: &'a mut Vec<u8>,
        position: u64,
        size: usize,
    ) -> Result<&'a [u8], ReadError> {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let bytes = &mut buffer[..size];
        self.segment
            .read_at(position, bytes)
            .map_err(|source| ReadError::Io { position, source })?;
        Ok(bytes)
    }
}

/// The record that `bytes` are, which lie at `position` with `room` bytes to the segment's end.
#[inline]
fn whole(bytes: &[u8], position: u64, room: u64) -> Result<RecordRef<'_>, ReadError> {
    let first = bytes
        .first_chunk::<HEADER>()
        .ok_or_else(|| unread(position, "no whole header"))?;
    let header = Header::parse(first, position, room).map_err(|reason| unread(position, reason))?;
    match header.kind {
        Kind::Filler => Err(ReadError::Filler { position }),
        _ if header.size as usize != bytes.len() => {
            Err(unread(position, "its size is not what the index says"))
        }
        _ => Ok(RecordRef::new(header, bytes)),
    }
}
