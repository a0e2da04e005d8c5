//! Reading: one record by its position, or all from a position on.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foliomq_segment::Segment;

use crate::error::ReadError;
use crate::header::{HEADER, Header, Kind, checksum_fits};
use crate::options::ReadMode;
use crate::record::{Record, RecordRef};
use crate::shared::Shared;

impl Shared {
    pub(crate) fn read(&self, position: u64) -> Result<Record, ReadError> {
        let segment = self.segment_at(position)?;
        let found = match self.options.read_mode {
            ReadMode::Mapped => self.by_reference(&segment, position)?,
            ReadMode::Buffered => by_copy(&segment, position, self.committed().value())?,
        };
        match found {
            Found::Record(record) if self.is_sound(position) || record.verify() => Ok(record),
            Found::Record(_) => invalid(position, UNFIT),
            Found::Filler { .. } => Err(ReadError::Filler { position }),
        }
    }

    /// Whether the record at `position` need not be compared with its checksum.
    #[inline]
    pub(crate) fn is_sound(&self, position: u64) -> bool {
        position >= self.sound_from
    }

    /// The record at `position` as a slice of the segment's pages, which are in memory when it is handed out.
    fn by_reference(
        &self,
        segment: &Arc<Segment>,
        position: u64,
    ) -> Result<Found<Record>, ReadError> {
        let body = position + HEADER as u64;
        self.fetch(segment, position..body)?;
        let pages = segment.published_bytes();
        let offset = (position - segment.base()) as usize;
        match locate(segment, pages.get(offset..).unwrap_or_default(), position)? {
            Found::Filler { end } => Ok(Found::Filler { end }),
            Found::Record(header) => {
                self.fetch(segment, body..position + u64::from(header.size))?;
                let bytes = pages.slice(offset..offset + header.size as usize);
                record(header, bytes).map(Found::Record)
            }
        }
    }

    /// The segment that holds a committed `position`.
    pub(crate) fn segment_at(&self, position: u64) -> Result<Arc<Segment>, ReadError> {
        if position >= self.committed().value() {
            return Err(ReadError::NotCommitted { position });
        }
        self.segments
            .find(position)
            .ok_or_else(|| ReadError::Deleted {
                position,
                start: self.segments.start(),
            })
    }
}

/// Why a record that is there is refused.
pub(crate) const UNFIT: &str = "the checksum does not fit";

/// What stands at a position.
enum Found<R> {
    Record(R),
    Filler { end: u64 },
}

/// The header of the record at `position`, of which `bytes` holds the whole.
fn locate(segment: &Segment, bytes: &[u8], position: u64) -> Result<Found<Header>, ReadError> {
    let Some(first) = bytes.first_chunk::<HEADER>() else {
        return invalid(position, "no whole header");
    };
    let header = parse(first, segment, position)?;
    match header.kind {
        Kind::Filler => Ok(filler(&header, segment)),
        _ if bytes.len() < header.size as usize => invalid(position, "no whole record"),
        _ => Ok(Found::Record(header)),
    }
}

/// The record at `position`, read from the file: by one read if the guess of its size is large enough.
fn by_copy(segment: &Segment, position: u64, committed: u64) -> Result<Found<Record>, ReadError> {
    let room = committed.min(segment.end()) - position;
    let mut bytes = vec![0; room.min(GUESS) as usize];
    read_at(segment, position, &mut bytes)?;
    let Some(first) = bytes.first_chunk::<HEADER>() else {
        return invalid(position, "no whole header");
    };
    let header = parse(first, segment, position)?;
    if header.kind == Kind::Filler {
        return Ok(filler(&header, segment));
    }
    let (held, size) = (bytes.len(), header.size as usize);
    if size as u64 > room {
        return invalid(position, "no whole record");
    }
    bytes.resize(size, 0);
    if held < size {
        read_at(segment, position + held as u64, &mut bytes[held..])?;
    }
    record(header, bytes.into()).map(Found::Record)
}

fn read_at(segment: &Segment, position: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
    segment
        .read_at(position, buffer)
        .map_err(|source| ReadError::Io { position, source })
}

fn filler<R>(header: &Header, segment: &Segment) -> Found<R> {
    Found::Filler {
        end: header.position + header.span(segment.end() - header.position),
    }
}

fn parse(first: &[u8; HEADER], segment: &Segment, position: u64) -> Result<Header, ReadError> {
    let room = segment.end() - position;
    Header::parse(first, position, room).map_err(|reason| unread(position, reason))
}

fn record(header: Header, bytes: Bytes) -> Result<Record, ReadError> {
    let position = header.position;
    Record::new(header, bytes).map_err(|reason| unread(position, reason))
}

fn invalid<T>(position: u64, reason: &'static str) -> Result<T, ReadError> {
    Err(unread(position, reason))
}

/// There is no record at `position`, and why.
pub(crate) fn unread(position: u64, reason: impl Into<Cow<'static, str>>) -> ReadError {
    let reason = reason.into();
    ReadError::Invalid { position, reason }
}

/// The records of a log from a position on; see [`CommitLog::records`](crate::CommitLog::records).
///
/// Each record's checksum is compared, unless it was asked not to. After an error the iterator stands still: it returns the same error again.
#[derive(Debug)]
pub struct Records {
    log: Arc<Shared>,
    position: u64,
    /// What was committed when last looked: appenders write that word all the time.
    committed: u64,
    /// Checksums are compared below this position.
    check_below: u64,
    /// The pages of positions up to here were found in memory, or brought there, during this scan.
    warm_below: u64,
    window: Option<Window>,
}

/// Bytes of a segment in which records are looked for.
#[derive(Debug)]
struct Window {
    segment: Arc<Segment>,
    /// Position of the first of `bytes`.
    start: u64,
    bytes: Bytes,
}

/// Bytes read at once where a record is not mapped and its size not known: one read for most.
const GUESS: u64 = 4 << 10;
/// Bytes read at once where records are not mapped.
const CHUNK: u64 = 64 << 10;

impl Records {
    pub(crate) fn new(log: Arc<Shared>, position: u64) -> Self {
        Self {
            log,
            position,
            committed: 0,
            check_below: u64::MAX,
            warm_below: 0,
            window: None,
        }
    }

    /// Leaves the checksums alone from `position` on: of what this process has appended itself, say.
    pub fn trusting_from(mut self, position: u64) -> Self {
        self.check_below = position;
        self
    }

    /// Where the next record is looked for.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next record without a share of its pages: less work, where it is only looked at.
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, ReadError>> {
        let header = match self.advance().transpose()? {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let window = self.window.as_ref()?;
        Some(Ok(RecordRef::new(header, window.record(&header))))
    }

    fn may_advance(&mut self) -> bool {
        if self.position >= self.committed {
            self.committed = self.log.committed().value();
        }
        self.position < self.committed
    }

    /// Moves past the next record, which the window then holds.
    fn advance(&mut self) -> Result<Option<Header>, ReadError> {
        while self.may_advance() {
            match self.find()? {
                Found::Filler { end } => self.position = end,
                Found::Record(header) => {
                    self.warm(header.position + u64::from(header.size))?;
                    self.check(&header)?;
                    self.position += u64::from(header.size);
                    return Ok(Some(header));
                }
            }
        }
        // Nobody knows for how long the scan rests here.
        self.warm_below = 0;
        Ok(None)
    }

    /// Brings the pages of what comes next, up to `end`, into memory.
    fn warm(&mut self, end: u64) -> Result<(), ReadError> {
        let start = self.position.max(self.warm_below);
        let mapped = self.log.options.read_mode == ReadMode::Mapped;
        if let Some(window) = self.window.as_ref().filter(|_| mapped && start < end) {
            self.log.fetch(&window.segment, start..end)?;
            self.warm_below = window.segment.block_end(end - 1);
        }
        Ok(())
    }

    fn check(&self, header: &Header) -> Result<(), ReadError> {
        let held = self.window.as_ref().map(|window| window.record(header));
        match held {
            Some(record) if header.position < self.check_below && !checksum_fits(record) => {
                invalid(header.position, UNFIT)
            }
            _ => Ok(()),
        }
    }

    fn find(&mut self) -> Result<Found<Header>, ReadError> {
        let position = self.position;
        let holds =
            |window: &Window| (window.segment.base()..window.segment.end()).contains(&position);
        let window = match self.window.take().filter(holds) {
            Some(window) => window,
            None => Window {
                segment: self.log.segment_at(position)?,
                start: position,
                bytes: Bytes::new(),
            },
        };
        self.window = Some(window);
        self.warm(position + HEADER as u64)?;
        let Some(window) = &mut self.window else {
            return invalid(position, "no window");
        };
        match locate(&window.segment, window.from(position), position) {
            Ok(found) => Ok(found),
            // What was held may end before this record.
            Err(_) => {
                match self.log.options.read_mode {
                    ReadMode::Mapped => window.map(),
                    ReadMode::Buffered => window.read(position, self.committed)?,
                }
                locate(&window.segment, window.from(position), position)
            }
        }
    }
}

impl Window {
    /// What is held from `position` on.
    fn from(&self, position: u64) -> &[u8] {
        let offset = position
            .checked_sub(self.start)
            .map_or(usize::MAX, |offset| offset as usize);
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// A record that was located in it.
    fn record(&self, header: &Header) -> &[u8] {
        &self.from(header.position)[..header.size as usize]
    }

    fn range(&self, header: &Header) -> Range<usize> {
        let start = (header.position - self.start) as usize;
        start..start + header.size as usize
    }

    /// Holds all that is published of the segment.
    fn map(&mut self) {
        self.start = self.segment.base();
        self.bytes = self.segment.published_bytes();
    }

    /// Reads a stretch from `position` on, at least one record long, none of it past `committed`.
    fn read(&mut self, position: u64, committed: u64) -> Result<(), ReadError> {
        let room = committed.min(self.segment.end()) - position;
        let read = |len: u64| {
            let mut bytes = vec![0; len as usize];
            match self.segment.read_at(position, &mut bytes) {
                Ok(()) => Ok(bytes),
                Err(source) => Err(ReadError::Io { position, source }),
            }
        };
        let mut bytes = read(room.min(CHUNK))?;
        if let Some(first) = bytes.first_chunk::<HEADER>() {
            let size = u64::from(parse(first, &self.segment, position)?.size);
            if size > bytes.len() as u64 && size <= room {
                bytes = read(size)?;
            }
        }
        (self.start, self.bytes) = (position, bytes.into());
        Ok(())
    }
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match self.advance().transpose()? {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let window = self.window.as_ref()?;
        let found = record(header, window.bytes.slice(window.range(&header)));
        if found.is_err() {
            self.position = header.position;
        }
        Some(found)
    }
}
