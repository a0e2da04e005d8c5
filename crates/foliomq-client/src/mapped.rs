//! The messages of a response that brings their positions.

use foliomq_proto::v1::Positions;
use foliomq_store::{Lookup, Reader, ReaderError, StoredMessage};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::received::Taken;
use crate::view::MessageView;
use crate::window::Amount;

/// What became of a response's positions.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    /// In order, until one could not be read.
    pub(crate) taken: Vec<Taken>,
    /// Queues, and in each the offset after the last that was read.
    pub(crate) ends: Vec<(String, u32, u64)>,
    /// Why the rest could not be read.
    pub(crate) error: Option<ReaderError>,
    /// Topic and handle of the rest, if it is leased.
    pub(crate) unread: Vec<(String, String)>,
}

/// Reads them, and compares each with its checksum. Their pages are in memory after that, so that a look at the messages waits
/// for nothing.
pub(crate) async fn read(reader: &Reader, runs: Vec<Positions>, until: Instant) -> Result<Mapped> {
    let reader = reader.clone();
    // A page may have to come from the disk: not on a thread of the runtime.
    let done = tokio::task::spawn_blocking(move || {
        let mut mapped = Mapped::default();
        let count = runs.iter().map(|run| run.positions.len()).sum();
        mapped.taken.reserve_exact(count);
        let mut lookup = reader.lookup();
        runs.into_iter()
            .try_for_each(|run| mapped.add(&mut lookup, run, until))
            .map(|()| mapped)
    });
    done.await
        .unwrap_or_else(|error| Err(Error::Protocol(format!("a task failed: {error}"))))
}

impl Mapped {
    fn add(&mut self, lookup: &mut Lookup<'_>, run: Positions, until: Instant) -> Result<()> {
        let leased = !run.handles.is_empty();
        let count = run.positions.len();
        if leased && (run.handles.len(), run.attempts.len()) != (count, count) {
            let what = "positions and handles do not match".to_owned();
            return Err(Error::Protocol(what));
        }
        let mut handles = run.handles.into_iter();
        let mut attempts = run.attempts.into_iter();
        let (mut position, mut offset) = (0_u64, run.queue_offset);
        for step in run.positions {
            position = position.wrapping_add_signed(step);
            let handle = handles.next().unwrap_or_default();
            let found = match self.error {
                None => read_one(lookup, position, (&run.topic, run.queue_id, offset)),
                Some(_) => {
                    self.give_up(&run.topic, handle);
                    continue;
                }
            };
            match found {
                Ok(message) => {
                    let attempt = attempts.next().unwrap_or_default();
                    self.taken.push(taken(message, attempt, handle, until));
                    offset += 1;
                }
                Err(error) => {
                    self.error = Some(error);
                    self.give_up(&run.topic, handle);
                }
            }
        }
        if offset > run.queue_offset {
            self.ends.push((run.topic, run.queue_id, offset));
        }
        Ok(())
    }

    fn give_up(&mut self, topic: &str, handle: String) {
        if !handle.is_empty() {
            self.unread.push((topic.to_owned(), handle));
        }
    }
}

fn taken(message: StoredMessage, attempt: u32, handle: String, until: Instant) -> Taken {
    // As the broker counts it: without a group it looks at the index alone.
    let bytes = match handle.is_empty() {
        true => u64::from(message.size()),
        false => message.body().len() as u64,
    };
    Taken {
        message: MessageView::mapped(message),
        attempt,
        handle,
        until,
        amount: Amount { messages: 1, bytes },
        undone: None,
    }
}

fn read_one(
    lookup: &mut Lookup<'_>,
    position: u64,
    (topic, queue_id, queue_offset): (&str, u32, u64),
) -> std::result::Result<StoredMessage, ReaderError> {
    let message = lookup.read_at(position)?;
    let is_the_one = message.queue_offset() == queue_offset
        && message.queue_id() == queue_id
        && message.topic() == topic;
    if !is_the_one {
        return Err(ReaderError::Invalid {
            position,
            reason: "another message is there".to_owned(),
        });
    }
    message.touch();
    Ok(message)
}
