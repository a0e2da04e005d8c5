//! Walking the records of one segment's file by `pread`, never through a mapping: an unreadable block is an error here
//! and not a signal, and a scan does not grow large folios under the pages that will be written next.

use std::io;

use crate::header::{ALIGN, HEADER, Header, Kind, MAGIC, checksum_fits};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// Where a segment's bytes come from.
pub(crate) trait Source {
    /// Fills `buffer` from `offset` bytes after the segment's start.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for foliomq_segment::SegmentFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }
}

/// What is on the device, whatever the page cache holds.
impl Source for foliomq_segment::Uncached<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }
}

impl Source for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

/// Why a walk ended.
#[derive(Debug)]
pub(crate) enum Stop {
    /// At the segment's end, or the position asked for.
    End,
    /// No valid record stands here.
    Bad(String),
    /// Nothing but zeros follow, as far as was looked: never written.
    Blank,
}

/// A walk over the records of one segment.
pub(crate) struct Scan<'a, S> {
    source: &'a S,
    base: u64,
    size: u64,
    position: u64,
    /// Checksums are compared from here on.
    check_from: u64,
    /// If set, every record must carry this generation.
    generation: Option<u64>,
    chunk: Vec<u8>,
    chunk_offset: u64,
}

impl<'a, S: Source> Scan<'a, S> {
    /// Walks the segment of `size` bytes at `base`, from its start.
    pub(crate) fn new(source: &'a S, base: u64, size: u64) -> Self {
        Self {
            source,
            base,
            size,
            position: base,
            check_from: base,
            generation: None,
            chunk: Vec::new(),
            chunk_offset: 0,
        }
    }

    /// Begins at `position`, which is the start of a record.
    pub(crate) fn from(mut self, position: u64) -> Self {
        self.position = position;
        self
    }

    /// Compares checksums only of records at or above `position`.
    pub(crate) fn check_from(mut self, position: u64) -> Self {
        self.check_from = position;
        self
    }

    /// Takes records of another generation as invalid.
    pub(crate) fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Where the walk stands: after the last good record.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Walks up to `limit` and tells `visit` of each record.
    pub(crate) fn walk(&mut self, limit: u64, mut visit: impl FnMut(&Header)) -> io::Result<Stop> {
        let end = self.base + self.size;
        while self.position < limit.min(end) {
            match self.record()? {
                Ok(header) => {
                    visit(&header);
                    self.position += header.span(end - self.position);
                }
                Err(reason) => return self.stop(reason),
            }
        }
        if self.position > limit {
            return Ok(Stop::Bad(format!(
                "a record reaches across position {limit}"
            )));
        }
        Ok(Stop::End)
    }

    /// Checks the record at the current position.
    fn record(&mut self) -> io::Result<Result<Header, String>> {
        let room = self.base + self.size - self.position;
        if room < HEADER as u64 {
            return Ok(Err("no room for a header".to_owned()));
        }
        let (position, generation) = (self.position, self.generation);
        let bytes = self.bytes(HEADER)?;
        let Some(first) = bytes.first_chunk::<HEADER>() else {
            return Ok(Err("no header".to_owned()));
        };
        let header = match Header::parse(first, position, room) {
            Ok(header) => header,
            Err(reason) => return Ok(Err(reason)),
        };
        if generation.is_some_and(|generation| generation != header.generation) {
            return Ok(Err(format!(
                "the record is of generation {:#018x}, an earlier life of the log",
                header.generation
            )));
        }
        if position < self.check_from && header.kind != Kind::Filler {
            return Ok(Ok(header));
        }
        let whole = self.bytes(header.checked_len())?;
        Ok(if checksum_fits(whole) {
            Ok(header)
        } else {
            Err("the checksum does not fit".to_owned())
        })
    }

    /// The next `len` bytes of the segment, from the chunk, which is read anew if it does not hold them.
    fn bytes(&mut self, len: usize) -> io::Result<&[u8]> {
        let offset = self.position - self.base;
        let held = offset >= self.chunk_offset
            && offset + len as u64 <= self.chunk_offset + self.chunk.len() as u64;
        if !held {
            let room = self.size - offset;
            self.chunk
                .resize((CHUNK.max(len) as u64).min(room) as usize, 0);
            self.chunk_offset = offset;
            self.source.read_at(offset, &mut self.chunk)?;
        }
        let start = (offset - self.chunk_offset) as usize;
        Ok(&self.chunk[start..start + len])
    }

    /// Goes on from a bad record to the next place where a whole valid record stands, or to the segment's end, and
    /// returns that position. A record must carry `generation`, if that is known: bytes inside a message that look like
    /// a record do not.
    pub(crate) fn find_next(&mut self, generation: Option<u64>) -> io::Result<u64> {
        self.find(generation, 0)
    }

    /// The same for a header that fits its place, of any generation and whatever follows it.
    pub(crate) fn find_header(&mut self) -> io::Result<u64> {
        self.find(None, u64::MAX)
    }

    fn find(&mut self, generation: Option<u64>, check_from: u64) -> io::Result<u64> {
        let end = self.base + self.size;
        let known = std::mem::replace(&mut self.generation, generation);
        let check_from = std::mem::replace(&mut self.check_from, check_from);
        self.position += HEADER as u64;
        while self.position + HEADER as u64 <= end {
            // Most places are ruled out by the magic number alone.
            if *self.bytes(MAGIC.len())? == MAGIC && self.record()?.is_ok() {
                break;
            }
            self.position += ALIGN;
        }
        if self.position + HEADER as u64 > end {
            self.position = end;
        }
        (self.generation, self.check_from) = (known, check_from);
        Ok(self.position)
    }

    fn stop(&mut self, reason: String) -> io::Result<Stop> {
        let room = self.base + self.size - self.position;
        let rest = self.bytes(room.min(CHUNK as u64) as usize)?;
        Ok(if rest.iter().all(|&byte| byte == 0) {
            Stop::Blank
        } else {
            Stop::Bad(reason)
        })
    }
}
