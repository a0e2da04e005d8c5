//! Records of another process's log by their positions.

use std::sync::Arc;

use bytes::Bytes;
use foliomq_segment::{Observer, Segment};

use crate::follow::{LogReader, ReaderError};
use crate::followed::{Found, record_at};
use crate::record::Record;

/// Reads records by position, one after the other; see [`LogReader::lookup`]. Keeps the segment of the last.
#[derive(Debug)]
pub struct Lookup<'a> {
    log: &'a LogReader,
    observer: Arc<Observer>,
    /// A segment, and what of it was published when last looked.
    window: Option<(Arc<Segment>, Bytes)>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(log: &'a LogReader, observer: Arc<Observer>) -> Self {
        Self {
            log,
            observer,
            window: None,
        }
    }

    /// The record that begins at `position`. Its structure and its checksum are checked.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn read(&mut self, position: u64) -> Result<Record, ReaderError> {
        let holds = |(segment, pages): &(Arc<Segment>, Bytes)| {
            let published = segment.base()..segment.base() + pages.len() as u64;
            published.contains(&position)
        };
        let (segment, pages) = match self.window.take().filter(holds) {
            Some(window) => window,
            None => {
                let segment = self.log.segment(&self.observer, position)?;
                let pages = segment.published_bytes();
                (segment, pages)
            }
        };
        let (segment, pages) = self.window.insert((segment, pages));
        match record_at(segment, pages, position)? {
            Found::Record(record) => Ok(record),
            Found::Filler { .. } => {
                let reason = "a filler stands there".to_owned();
                Err(ReaderError::Invalid { position, reason })
            }
        }
    }
}
