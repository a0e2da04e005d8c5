//! What the handles and the threads of a store share.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use event_listener::Event;
use foliomq_commitlog::{AppendError, CommitLog, Kind, ReadMode, Record, Recovery, Usage};
use foliomq_consumequeue::{Checkpoint, ConsumeQueues, Entry, IndexError, KeyIndex};
use foliomq_segment::watermark::Watermark;
use parking_lot::Mutex;

use crate::change::Change;
use crate::error::StoreError;
use crate::hidden::{Control, Place};
use crate::lite::LiteArrivals;
use crate::meta::MetaLog;
use crate::options::Options;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::stored::{LOST, StoredMessage};
use crate::topic_retention::TopicRetention;
use crate::topic_state::Arrivals;

/// An open store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) recovery: Recovery,
    pub(crate) log: CommitLog,
    pub(crate) meta: MetaLog,
    pub(crate) registry: Registry,
    pub(crate) progress: Progress,
    pub(crate) queues: ConsumeQueues,
    pub(crate) lite_arrivals: LiteArrivals,
    pub(crate) keys: KeyIndex,
    pub(crate) checkpoint: Checkpoint,
    /// Everything below is in the indexes.
    pub(crate) dispatched: Watermark,
    /// How many lines were added to the ledger of hidden messages since the start, and who waits for more.
    pub(crate) listed: AtomicU64,
    pub(crate) ledger_event: Arrivals,
    /// What retention would drop up to, but for hidden messages; 0: nothing.
    pub(crate) wanted: AtomicU64,
    /// What is known of topics with a limit. Only the housekeeper changes it.
    pub(crate) topic_retention: Mutex<TopicRetention>,
    /// Held while metadata changes, so that log and memory agree on the order.
    pub(crate) changing: Mutex<()>,
    /// Held while the indexes are flushed, so that the checkpoint never goes back.
    pub(crate) flushing: Mutex<()>,
    /// Once so much is in the indexes the housekeeper is to flush them.
    pub(crate) flush_at: AtomicU64,
    /// Why appends are refused although the log would take them.
    pub(crate) refusals: Mutex<Refusals>,
    /// Set while there is one, to look at without a lock.
    pub(crate) refuses: AtomicBool,
    pub(crate) closing: AtomicBool,
    /// The device knows of all topics with lower ids.
    pub(crate) settled: AtomicU32,
    /// Wakes the housekeeper.
    pub(crate) wake: Event,
    pub(crate) by_reference: AtomicU64,
    pub(crate) copied: AtomicU64,
}

impl Shared {
    /// Writes a change of metadata, then brings it into effect.
    pub(crate) fn change(&self, change: &Change) -> Result<(), StoreError> {
        let _changing = self.changing.lock();
        self.meta.append(change)?;
        self.registry.apply(change);
        self.progress.apply(change);
        Ok(())
    }

    /// The message of the record at `position`.
    pub(crate) fn message(&self, position: u64) -> Result<StoredMessage, StoreError> {
        self.message_in(self.log.read(position)?)
    }

    /// The message that a record is, or has put into its queue.
    pub(crate) fn message_in(&self, record: Record) -> Result<StoredMessage, StoreError> {
        let message = match record.kind() {
            Kind::Control => self.revealed(&record)?,
            _ => StoredMessage::new(record)?,
        };
        self.count_delivered(message.body().len() as u64);
        Ok(message)
    }

    /// The message that a control record has put into its queue.
    fn revealed(&self, control: &Record) -> Result<StoredMessage, StoreError> {
        let Some(original) = Control::reveal(control.message()) else {
            return Err(StoredMessage::malformed(control.position()));
        };
        let record = self.log.read(original.position)?;
        StoredMessage::hidden(record, Some(Place::of(control.header())))
    }

    /// Counts body bytes that a reader got.
    pub(crate) fn count_delivered(&self, bytes: u64) {
        let counter = match self.options.read_mode {
            ReadMode::Mapped => &self.by_reference,
            ReadMode::Buffered => &self.copied,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The message of an entry.
    pub(crate) fn message_of(&self, entry: &Entry) -> Result<StoredMessage, StoreError> {
        match *entry {
            Entry {
                size: LOST,
                position,
                ..
            } => Err(StoreError::Lost { position }),
            Entry { position, .. } => self.message(position),
        }
    }

    /// The same; `None` if retention has dropped it since its entry was found, or a salvage gave it up.
    pub(crate) fn message_if_there(
        &self,
        entry: &Entry,
    ) -> Result<Option<StoredMessage>, StoreError> {
        match self.message_of(entry) {
            Err(StoreError::Lost { .. } | StoreError::Deleted { .. }) => Ok(None),
            Err(_) if entry.position < self.log.watermarks().start => Ok(None),
            found => found.map(Some),
        }
    }

    /// Whether the store takes messages now.
    pub(crate) fn admit(&self) -> Result<(), AppendError> {
        if !self.refuses.load(Ordering::Acquire) {
            return Ok(());
        }
        let refusals = self.refusals.lock();
        let first = refusals.iter().flatten().next();
        first.cloned().map_or(Ok(()), Err)
    }

    /// Refuses appends for this cause from now on, or no more.
    pub(crate) fn set_refusal(&self, cause: Cause, refusal: Option<AppendError>) {
        let mut refusals = self.refusals.lock();
        refusals[cause as usize] = refusal;
        let any = refusals.iter().any(Option::is_some);
        self.refuses.store(any, Ordering::Release);
    }

    pub(crate) fn refuses_for(&self, cause: Cause) -> bool {
        self.refusal(cause).is_some()
    }

    pub(crate) fn refusal(&self, cause: Cause) -> Option<AppendError> {
        self.refusals.lock()[cause as usize].clone()
    }

    /// Refuses appends because an index cannot grow, or for good because it failed otherwise.
    pub(crate) fn refuse_for_index(&self, error: &IndexError) {
        if !is_full(error) {
            tracing::error!(%error, "an index failed: no more messages are taken");
            let reason = format!("{error}; a restart makes the indexes anew");
            return self.set_refusal(Cause::Index, Some(AppendError::Poisoned { reason }));
        }
        if !self.refuses_for(Cause::IndexRoom) {
            tracing::warn!(%error, "no room for the indexes: no more messages are taken until there is");
        }
        let refusal = AppendError::DiskFull {
            dir: self.options.dir.clone(),
            reason: error.to_string(),
        };
        self.set_refusal(Cause::IndexRoom, Some(refusal));
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Bytes of the file system that holds the log.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        match &self.options.disk {
            Some(disk) => disk.usage(),
            None => self.log.disk(),
        }
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.options.dir.join(COMMIT_LOG)
    }
}

/// What appends are refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The dispatcher has ended: nothing more comes into the indexes. Never cleared.
    Dispatcher,
    /// An index failed. Never cleared.
    Index,
    /// The dispatcher finds no room for the indexes.
    IndexRoom,
    /// The disk is fuller than retention allows.
    Disk,
}

/// By cause, the gravest first.
pub(crate) type Refusals = [Option<AppendError>; 4];

/// Whether an index failed for want of room, which may come back.
pub(crate) fn is_full(error: &IndexError) -> bool {
    let IndexError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Folder of the commit log, in the store's.
pub(crate) const COMMIT_LOG: &str = "commitlog";
/// Folder of the consume queues.
pub(crate) const CONSUME_QUEUES: &str = "consumequeue";
/// Folder of the key index.
pub(crate) const KEYS: &str = "keys";
/// Folder of the metadata log.
pub(crate) const META: &str = "meta";
/// How far the indexes are flushed.
pub(crate) const CHECKPOINT: &str = "index-checkpoint";
