//! What the handles and the threads of a store share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_listener::Event;
use foliomq_commitlog::{AppendError, CommitLog, ReadMode, Recovery, Usage};
use foliomq_consumequeue::{Checkpoint, ConsumeQueues, KeyIndex};
use foliomq_segment::watermark::Watermark;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::meta::{Change, MetaLog};
use crate::options::Options;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::stored::StoredMessage;

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
    pub(crate) keys: KeyIndex,
    pub(crate) checkpoint: Checkpoint,
    /// Everything below is in the indexes.
    pub(crate) dispatched: Watermark,
    /// Held while metadata changes, so that log and memory agree on the order.
    pub(crate) changing: Mutex<()>,
    /// Why appends are refused although the log would take them.
    pub(crate) refusal: Mutex<Option<AppendError>>,
    /// Set while `refusal` is, to look at without a lock.
    pub(crate) refuses: AtomicBool,
    pub(crate) closing: AtomicBool,
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
        let message = StoredMessage::new(self.log.read(position)?)?;
        let counter = match self.options.read_mode {
            ReadMode::Mapped => &self.by_reference,
            ReadMode::Buffered => &self.copied,
        };
        counter.fetch_add(message.body().len() as u64, Ordering::Relaxed);
        Ok(message)
    }

    /// Whether the store takes messages now.
    pub(crate) fn admit(&self) -> Result<(), AppendError> {
        if !self.refuses.load(Ordering::Acquire) {
            return Ok(());
        }
        self.refusal.lock().clone().map_or(Ok(()), Err)
    }

    /// Refuses appends from now on, or takes them again.
    pub(crate) fn set_refusal(&self, refusal: Option<AppendError>) {
        self.refuses.store(refusal.is_some(), Ordering::Release);
        *self.refusal.lock() = refusal;
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Bytes of the file system that holds the log.
    pub(crate) fn usage(&self) -> std::io::Result<Usage> {
        self.log.disk()
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.options.dir.join(COMMIT_LOG)
    }
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
