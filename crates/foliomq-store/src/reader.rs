//! A store that another process has open, followed without a lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foliomq_commitlog::{
    FollowedRecords, Kind, LogReader, ReaderError, Record, State, Wait, Watermarks,
};

use crate::error::OpenError;
use crate::hidden::{Control, Place};
use crate::shared::COMMIT_LOG;
use crate::store::Store;
use crate::stored::StoredMessage;

/// How to follow a store of another process.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    dir: PathBuf,
    wait: Wait,
}

impl ReaderOptions {
    /// Follows the store in `dir`, asleep while there is nothing new.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            wait: Wait::Sleep,
        }
    }

    /// Sets how to wait.
    pub fn wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Opens the reader. The store must be open, in this process or another.
    pub fn open(self) -> Result<Reader, OpenError> {
        let log = LogReader::open(&self.dir.join(COMMIT_LOG), self.wait)?;
        Ok(Reader { log: Arc::new(log) })
    }
}

impl Store {
    /// Follows the store in `dir`, which another process has open: see [`Reader`]. [`ReaderOptions`] says more.
    pub fn open_reader(dir: impl AsRef<Path>) -> Result<Reader, OpenError> {
        ReaderOptions::new(dir.as_ref()).open()
    }
}

/// The messages of a store that another process has open, in the order of its log, by reference to the same pages.
///
/// It takes no lock, and writes nothing but a word that says that it sleeps. The store does not know of it: it is not slowed
/// by a reader that hangs or dies, and retention does not wait for one that is slow, which then gets
/// [`ReaderError::Expired`]. A message that is held stays whole; it keeps its segment on the disk, if it is deleted
/// meanwhile. Messages of topics that were deleted since are still there.
///
/// When the store is closed, or its process dies, waiting ends with [`ReaderError::WriterGone`]; once a process has it open
/// again, the reader goes on where it was. Cheap to clone; every method may be called from any thread.
#[derive(Debug, Clone)]
pub struct Reader {
    log: Arc<LogReader>,
}

impl Reader {
    /// How far the log is.
    pub fn watermarks(&self) -> Watermarks {
        self.log.watermarks()
    }

    /// The life of the log: random, new after every unclean start of the store.
    pub fn generation(&self) -> u64 {
        self.log.generation()
    }

    /// What the process that has, or had, the store open says of it.
    pub fn state(&self) -> io::Result<State> {
        self.log.state()
    }

    /// Whether this process may not write to the control file, so that it looks for news every millisecond instead of being
    /// woken. It takes write permission for the file `commitlog/control`.
    pub fn polls(&self) -> bool {
        self.log.polls()
    }

    /// The message at `position`, compared with its checksum.
    pub fn read_at(&self, position: u64) -> Result<StoredMessage, ReaderError> {
        self.lookup().read_at(position)
    }

    /// The same for many positions, best in their order: what was found out for one serves the next.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup {
            records: self.log.lookup(),
            log: &self.log,
        }
    }

    /// Messages from `position` on: that of a message, the end of one, or a [watermark](Self::watermarks).
    pub fn messages(&self, position: u64) -> Messages {
        Messages {
            records: self.log.records(position),
            log: self.log.clone(),
            topic: None,
            queue: None,
        }
    }

    /// Messages that are committed from now on.
    pub fn tail(&self) -> Messages {
        self.messages(self.watermarks().committed)
    }

    /// Blocks until more than `position` is committed, or the time is over (then `false`).
    ///
    /// # Errors
    ///
    /// [`ReaderError::WriterGone`] once no process has the store open; it may take a tenth of a second to be noticed.
    pub fn wait_past(&self, position: u64, timeout: Duration) -> Result<bool, ReaderError> {
        self.log.wait_past(position, timeout)
    }
}

/// Reads the messages of a [`Reader`] by position, one after the other. Keeps the segment of the last.
#[derive(Debug)]
pub struct Lookup<'a> {
    records: foliomq_commitlog::Lookup<'a>,
    log: &'a LogReader,
}

impl Lookup<'_> {
    /// As [`Reader::read_at`].
    pub fn read_at(&mut self, position: u64) -> Result<StoredMessage, ReaderError> {
        let record = self.records.read(position)?;
        match record.kind() {
            Kind::Control => revealed(self.log, &record),
            _ => message(record),
        }
    }
}

/// Messages of a [`Reader`], in log order, each compared with its checksum. Iterating ends at what is committed now, and
/// goes on when there is more.
///
/// After an error it stands still, and says the same again: go on with [`Reader::messages`] from a position that the error
/// names.
#[derive(Debug)]
pub struct Messages {
    records: FollowedRecords,
    log: Arc<LogReader>,
    topic: Option<String>,
    queue: Option<u32>,
}

impl Messages {
    /// Only those of one topic.
    pub fn of_topic(self, topic: impl Into<String>) -> Self {
        let topic = Some(topic.into());
        Self { topic, ..self }
    }

    /// Only those of the queue with this number, of any topic unless one was named.
    pub fn of_queue(self, queue: u32) -> Self {
        let queue = Some(queue);
        Self { queue, ..self }
    }

    /// Where the next message is looked for: everything before was handed out or passed over.
    pub fn next_position(&self) -> u64 {
        self.records.next_position()
    }

    /// Blocks until there is one; `None` when the time is over.
    ///
    /// # Errors
    ///
    /// As [`Reader::wait_past`].
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<StoredMessage>, ReaderError> {
        let begin = Instant::now();
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            match self.records.next_timeout(left)? {
                Some(record) if self.wants(&record) => match self.message(record)? {
                    None => {}
                    found => return Ok(found),
                },
                Some(_) if begin.elapsed() < timeout => {}
                Some(_) => return Ok(None),
                None => return Ok(None),
            }
        }
    }

    /// The message of a record; `None` if it lies further back than the record, and retention has dropped it.
    fn message(&self, record: Record) -> Result<Option<StoredMessage>, ReaderError> {
        if record.kind() != Kind::Control {
            return message(record).map(Some);
        }
        match revealed(&self.log, &record) {
            Err(ReaderError::Expired { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    fn wants(&self, record: &Record) -> bool {
        let stands = match record.kind() {
            Kind::Message => true,
            Kind::Control => Control::reveal(record.message()).is_some(),
            Kind::Hidden | Kind::Filler => false,
        };
        stands
            && self.queue.is_none_or(|queue| queue == record.queue_id())
            && self
                .topic
                .as_ref()
                .is_none_or(|topic| topic == record.topic())
    }
}

impl Iterator for Messages {
    type Item = Result<StoredMessage, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if self.wants(&record) => {
                    if let Some(found) = self.message(record).transpose() {
                        return Some(found);
                    }
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The message that a control record has put into its queue.
fn revealed(log: &LogReader, control: &Record) -> Result<StoredMessage, ReaderError> {
    let position = control.position();
    let invalid = |reason: String| ReaderError::Invalid { position, reason };
    let original = Control::reveal(control.message());
    let original = original.ok_or_else(|| invalid("not a message".to_owned()))?;
    let record = log.read(original.position)?;
    let place = Place::of(control.header());
    StoredMessage::hidden(record, Some(place)).map_err(|error| invalid(error.to_string()))
}

fn message(record: Record) -> Result<StoredMessage, ReaderError> {
    let position = record.position();
    StoredMessage::new(record).map_err(|error| ReaderError::Invalid {
        position,
        reason: error.to_string(),
    })
}
