//! The store as its users see it.

mod appending;
mod hiding;
mod reading;
mod topics;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use foliomq_commitlog::{AppendError, ColdReads, FlushBill, PreheatBill, Recovery, SegmentInfo};
use parking_lot::Mutex;

use crate::dispatcher::Gap;
use crate::error::{OpenError, StoreError};
use crate::open::{CatchUpError, forget_indexes};
use crate::options::Options;
use crate::shared::Shared;

/// How far a store is, in positions of its commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The first position still in the log.
    pub start: u64,
    /// Everything below is written.
    pub appended: u64,
    /// Everything below is on the device.
    pub durable: u64,
    /// Everything below may be acknowledged and read.
    pub committed: u64,
    /// Everything below is in the indexes.
    pub dispatched: u64,
}

/// Body bytes that readers got, by the way they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// As slices of mapped pages.
    pub by_reference: u64,
    /// In buffers.
    pub copied: u64,
}

/// The store. Cheap to clone; every method may be called from any thread; no async runtime, no global state.
///
/// It closes when the last clone is dropped, or by [`close`](Self::close).
#[derive(Debug, Clone)]
pub struct Store(Arc<Owner>);

/// Ends the threads when the last clone is gone.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store could not be closed cleanly");
        }
    }
}

impl Store {
    /// Opens or creates a store, recovers its log and brings the indexes up to it.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let shared = Self::open_caught_up(&options)?;
        let owner = Owner {
            shared: shared.clone(),
            threads: Mutex::default(),
        };
        let start = |name: &str, run: fn(&Shared)| {
            let shared = shared.clone();
            let thread = thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || run(&shared));
            thread.map_err(|error| {
                OpenError::invalid(format!("cannot start the thread {name}: {error}"))
            })
        };
        owner
            .threads
            .lock()
            .push(start("dispatcher", Shared::run_dispatcher)?);
        owner
            .threads
            .lock()
            .push(start("housekeeper", Shared::run_housekeeper)?);
        Ok(Self(Arc::new(owner)))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Makes the indexes anew, once, if they contradict the log.
    fn open_caught_up(options: &Options) -> Result<Arc<Shared>, OpenError> {
        let shared = Shared::open(options.clone())?;
        let reason = match shared.catch_up(Gap::IsAnError) {
            Ok(()) => return Ok(Arc::new(shared)),
            Err(CatchUpError::Failed(error)) => return Err(error),
            Err(CatchUpError::Rebuild(reason)) => reason,
        };
        tracing::warn!(%reason, "the indexes are made anew from the log");
        drop(shared);
        forget_indexes(&options.dir)?;
        let shared = Shared::open(options.clone())?;
        match shared.catch_up(Gap::IsLost) {
            Ok(()) => Ok(Arc::new(shared)),
            Err(CatchUpError::Failed(error)) => Err(error),
            Err(CatchUpError::Rebuild(reason)) => Err(OpenError::invalid(format!(
                "the log contradicts itself: {reason}"
            ))),
        }
    }

    /// The settings it was opened with.
    pub fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// What opening found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.0.shared.recovery
    }

    /// Waits until what is committed now is in the indexes.
    pub fn catch_up(&self) {
        self.0.shared.catch_up_with_commits();
    }

    /// How far the store is.
    pub fn watermarks(&self) -> Watermarks {
        // Read before the log's, so that it is never past what is committed.
        let dispatched = self.0.shared.dispatched.value();
        let log = self.0.shared.log.watermarks();
        let (start, appended, durable, committed) =
            (log.start, log.appended, log.durable, log.committed);
        Watermarks {
            start,
            appended,
            durable,
            committed,
            dispatched,
        }
    }

    /// The segments of the log, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.0.shared.log.segments()
    }

    /// Body bytes that readers got.
    pub fn delivered(&self) -> Delivered {
        let shared = &self.0.shared;
        Delivered {
            by_reference: shared.by_reference.load(Ordering::Relaxed),
            copied: shared.copied.load(Ordering::Relaxed),
        }
    }

    /// What preheating cost and bought since the store was opened.
    pub fn preheat_bill(&self) -> PreheatBill {
        self.0.shared.log.preheat_bill()
    }

    /// The flushes of the log since the store was opened.
    pub fn flush_bill(&self) -> FlushBill {
        self.0.shared.log.flush_bill()
    }

    /// Reads of what was not in memory, since the store was opened.
    pub fn cold_reads(&self) -> ColdReads {
        self.0.shared.log.cold_reads()
    }

    /// Why appends are refused now, if they are.
    pub fn refusing(&self) -> Option<AppendError> {
        self.0
            .shared
            .admit()
            .err()
            .or_else(|| self.0.shared.log.refusing())
    }

    /// Whether `bytes` lies in the pages of a mapped segment.
    pub fn is_mapped(&self, bytes: &[u8]) -> bool {
        self.0.shared.log.is_mapped(bytes)
    }

    /// Makes everything durable: messages, metadata, indexes.
    pub fn flush(&self) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        shared.log.flush()?;
        shared.meta.flush()?;
        shared.flush_indexes()
    }

    /// Flushes everything and marks the store clean; wakes whoever waits. Appends fail with `Closed` afterwards.
    /// Idempotent; also done when the last clone is dropped.
    pub fn close(&self) -> Result<(), StoreError> {
        self.0.close()
    }
}

impl Owner {
    fn close(&self) -> Result<(), StoreError> {
        let mut threads = self.threads.lock();
        let shared = &self.shared;
        if shared.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Wakes the dispatcher, too.
        let log = shared.log.close();
        shared.wake.notify(usize::MAX);
        threads.drain(..).for_each(|thread| _ = thread.join());
        // What came between the dispatcher's end and the log's. If it cannot be entered, the next start does it.
        let mut rest = shared.feed(u64::MAX);
        if let Err(error) = shared.dispatch(&mut rest, Gap::IsAnError) {
            tracing::warn!(?error, "the last messages are entered at the next start");
        }
        drop(rest);
        shared
            .registry
            .all()
            .iter()
            .for_each(|topic| topic.event.notify(usize::MAX));
        shared.ledger_event.notify(usize::MAX);
        let indexes = shared.flush_indexes();
        let meta = shared.meta.close();
        log.map_err(StoreError::from).and(indexes).and(meta)
    }
}
