//! Reading: one record by its position, or all from a position on.

use std::sync::Arc;

use bytes::Bytes;
use foliomq_segment::Segment;

use crate::error::ReadError;
use crate::header::{HEADER, Header, Kind, checksum_fits};
use crate::options::ReadMode;
use crate::record::Record;
use crate::shared::Shared;

impl Shared {
    pub(crate) fn read(&self, position: u64) -> Result<Record, ReadError> {
        let segment = self.segment_at(position)?;
        let found = match self.options.read_mode {
            ReadMode::Mapped => by_reference(&segment, &segment.published_bytes(), position)?,
            ReadMode::Buffered => by_copy(&segment, position)?,
        };
        match found {
            Found::Record(record) => Ok(record),
            Found::Filler { .. } => Err(ReadError::Filler { position }),
        }
    }

    /// The segment that holds a committed `position`.
    fn segment_at(&self, position: u64) -> Result<Arc<Segment>, ReadError> {
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

/// What stands at a position.
enum Found {
    Record(Record),
    Filler { end: u64 },
}

/// The record at `position` as a slice of `pages`, which are the published bytes of `segment`.
fn by_reference(segment: &Segment, pages: &Bytes, position: u64) -> Result<Found, ReadError> {
    let offset = (position - segment.base()) as usize;
    let Some(first) = pages
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<HEADER>())
    else {
        return invalid(position, "no whole header");
    };
    let header = parse(first, segment, position)?;
    match header.kind {
        Kind::Filler => Ok(filler(&header, segment)),
        _ if pages.len() - offset < header.size as usize => invalid(position, "no whole record"),
        _ => record(header, pages.slice(offset..offset + header.size as usize)),
    }
}

/// The record at `position`, read from the file.
fn by_copy(segment: &Segment, position: u64) -> Result<Found, ReadError> {
    let read = |buffer: &mut [u8]| {
        segment
            .read_at(position, buffer)
            .map_err(|source| ReadError::Io { position, source })
    };
    if segment.end() - position < HEADER as u64 {
        return invalid(position, "no whole header");
    }
    let mut first = [0; HEADER];
    read(&mut first)?;
    let header = parse(&first, segment, position)?;
    if header.kind == Kind::Filler {
        return Ok(filler(&header, segment));
    }
    let mut bytes = vec![0; header.size as usize];
    read(&mut bytes)?;
    record(header, bytes.into())
}

fn filler(header: &Header, segment: &Segment) -> Found {
    Found::Filler {
        end: header.position + header.span(segment.end() - header.position),
    }
}

fn parse(first: &[u8; HEADER], segment: &Segment, position: u64) -> Result<Header, ReadError> {
    let room = segment.end() - position;
    Header::parse(first, position, room).map_err(|reason| ReadError::Invalid { position, reason })
}

fn record(header: Header, bytes: Bytes) -> Result<Found, ReadError> {
    match Record::new(header, bytes) {
        Ok(record) => Ok(Found::Record(record)),
        Err(reason) => Err(ReadError::Invalid {
            position: header.position,
            reason,
        }),
    }
}

fn invalid<T>(position: u64, reason: &str) -> Result<T, ReadError> {
    Err(ReadError::Invalid {
        position,
        reason: reason.to_owned(),
    })
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
    /// The segment at `position`, and in mapped mode what was published of it when last looked.
    current: Option<(Arc<Segment>, Bytes)>,
}

impl Records {
    pub(crate) fn new(log: Arc<Shared>, position: u64) -> Self {
        Self {
            log,
            position,
            committed: 0,
            check_below: u64::MAX,
            current: None,
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

    fn may_advance(&mut self) -> bool {
        if self.position >= self.committed {
            self.committed = self.log.committed().value();
        }
        self.position < self.committed
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        while self.may_advance() {
            match self.find()? {
                Found::Record(record)
                    if self.position < self.check_below && !checksum_fits(record.bytes()) =>
                {
                    return invalid(self.position, "the checksum does not fit");
                }
                Found::Record(record) => {
                    self.position = record.end();
                    return Ok(Some(record));
                }
                Found::Filler { end } => self.position = end,
            }
        }
        Ok(None)
    }

    fn find(&mut self) -> Result<Found, ReadError> {
        let position = self.position;
        let held = self
            .current
            .take()
            .filter(|(segment, _)| (segment.base()..segment.end()).contains(&position));
        let (segment, pages) = match held {
            Some(held) => held,
            None => (self.log.segment_at(position)?, Bytes::new()),
        };
        let (segment, pages) = self.current.insert((segment, pages));
        if self.log.options.read_mode == ReadMode::Buffered {
            return by_copy(segment, position);
        }
        match by_reference(segment, pages, position) {
            Ok(found) => Ok(found),
            // What was held may end before this record.
            Err(_) => {
                *pages = segment.published_bytes();
                by_reference(segment, pages, position)
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
