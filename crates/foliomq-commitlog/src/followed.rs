//! The records of another process's log, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foliomq_segment::{Observer, Segment};

use crate::follow::{LogReader, ReaderError};
use crate::header::{HEADER, Header, Kind};
use crate::read::UNFIT;
use crate::record::Record;

/// What stands at a position.
pub(crate) enum Found {
    Record(Record),
    /// To be passed over.
    Filler {
        end: u64,
    },
}

/// Bytes after a read of what is not in memory that are asked for as well.
const READ_AHEAD: u64 = 1 << 20;

/// The record at `position`, of which `pages` holds what is published of `segment`. Its pages are in memory then, and it is
/// compared with its checksum.
pub(crate) fn record_at(
    segment: &Segment,
    pages: &Bytes,
    position: u64,
) -> Result<Found, ReaderError> {
    let invalid = |reason: String| ReaderError::Invalid { position, reason };
    let warm = |positions| {
        let warmed = segment.warm(positions, READ_AHEAD, |_| ());
        warmed.map_err(|source| ReaderError::Io { position, source })
    };
    let offset = (position - segment.base()) as usize;
    let room = segment.end() - position;
    warm(position..position + HEADER as u64)?;
    let bytes = pages.get(offset..).unwrap_or_default();
    let Some(first) = bytes.first_chunk::<HEADER>() else {
        return Err(invalid("no whole header".to_owned()));
    };
    let header = Header::parse(first, position, room).map_err(invalid)?;
    if header.kind == Kind::Filler {
        let end = position + header.span(room);
        return Ok(Found::Filler { end });
    }
    let size = header.size as usize;
    if size > bytes.len() {
        return Err(invalid("no whole record".to_owned()));
    }
    let end = position + u64::from(header.size);
    if end > segment.block_end(position) {
        warm(position..end)?;
    }
    let record = Record::new(header, pages.slice(offset..offset + size)).map_err(invalid)?;
    match record.verify() {
        true => Ok(Found::Record(record)),
        false => Err(invalid(UNFIT.to_owned())),
    }
}

/// The records of a [`LogReader`] from a position on; see [`LogReader::records`].
///
/// After an error it stands still, and says the same again.
#[derive(Debug)]
pub struct FollowedRecords {
    log: Arc<LogReader>,
    observer: Arc<Observer>,
    position: u64,
    /// What was committed when last looked.
    committed: u64,
    /// The log was opened anew, and nothing has shown yet that the position still holds.
    doubtful: bool,
    /// A segment, and what of it was published when last looked.
    window: Option<(Arc<Segment>, Bytes)>,
}

impl FollowedRecords {
    pub(crate) fn new(log: Arc<LogReader>, observer: Arc<Observer>, position: u64) -> Self {
        Self {
            log,
            observer,
            position,
            committed: 0,
            doubtful: false,
            window: None,
        }
    }

    /// Where the next record is looked for.
    pub fn next_position(&self) -> u64 {
        self.position
    }

    /// Blocks until there is one; `None` when the time is over.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Record>, ReaderError> {
        let begin = Instant::now();
        loop {
            if let Some(record) = self.next() {
                return record.map(Some);
            }
            let left = timeout.saturating_sub(begin.elapsed());
            if !self.log.worth_a_look(&self.observer, self.position, left)? {
                return Ok(None);
            }
        }
    }

    fn may_advance(&mut self) -> bool {
        if self.position >= self.committed {
            self.committed = self.observer.committed();
        }
        if self.position >= self.committed && self.log.is_past(&self.observer) {
            self.observer = self.log.observer();
            self.committed = self.observer.committed();
            self.window = None;
            self.doubtful = true;
        }
        self.position < self.committed
    }

    fn rewound(&self) -> Option<Result<Record, ReaderError>> {
        let (position, end) = (self.position, self.committed);
        Some(Err(ReaderError::Rewound { position, end }))
    }

    /// What comes next, which is committed.
    fn find(&mut self) -> Result<Found, ReaderError> {
        let position = self.position;
        let holds = |(segment, _): &(Arc<Segment>, Bytes)| {
            (segment.base()..segment.end()).contains(&position)
        };
        let (segment, pages) = match self.window.take().filter(holds) {
            Some(window) => window,
            None => (self.log.segment(&self.observer, position)?, Bytes::new()),
        };
        let wanted = self.committed.min(segment.end()) - segment.base();
        let pages = if (pages.len() as u64) < wanted {
            segment.published_bytes()
        } else {
            pages
        };
        let (segment, pages) = self.window.insert((segment, pages));
        record_at(segment, pages, position)
    }
}

impl Iterator for FollowedRecords {
    type Item = Result<Record, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.may_advance() {
            match self.find() {
                Ok(Found::Filler { end }) => self.position = end,
                Ok(Found::Record(record)) => {
                    self.position = record.end();
                    self.doubtful = false;
                    return Some(Ok(record));
                }
                Err(ReaderError::Invalid { .. }) if self.doubtful => return self.rewound(),
                Err(error) => return Some(Err(error)),
            }
        }
        if self.doubtful && self.position > self.committed {
            return self.rewound();
        }
        None
    }
}
