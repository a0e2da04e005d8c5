//! The log as its users see it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use event_listener::{EventListener, Listener};
use foliomq_segment::background;
use foliomq_segment::disk::Flush;
use foliomq_segment::{Segment, State, Usage, Watermarks};
use parking_lot::Mutex;

use crate::append::UNSET;
use crate::bill::PreheatBill;
use crate::cold::SegmentResidency;
use crate::error::{AppendError, OpenError, ReadError};
use crate::flushed::FlushBill;
use crate::options::{Options, Preheat};
use crate::read::Records;
use crate::record::{Appended, Draft, Record};
use crate::recovery::{self, Opened, Recovery};
use crate::segments::SegmentInfo;
use crate::share::ColdReads;
use crate::shared::Shared;
use crate::view::View;

/// The log. Cheap to clone; every method may be called from any thread. Background threads (flusher, preparer) end on
/// [`close`](Self::close) or when the last clone is dropped, which closes it cleanly too.
#[derive(Debug, Clone)]
pub struct CommitLog(Arc<Owner>);

/// Ends the threads when the last clone is gone.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    flusher: JoinHandle<()>,
    preparers: Vec<JoinHandle<()>>,
}

impl CommitLog {
    /// Opens or creates the log, recovers it, and takes the folder's lock.
    pub fn open(options: Options) -> Result<(Self, Recovery), OpenError> {
        let Opened { shared, recovery } = recovery::open(options)?;
        let shared = Arc::new(shared);
        let threads = Threads::start(&shared).map_err(|source| OpenError::Io {
            what: "starting the log's threads".to_owned(),
            source,
        })?;
        Ok((
            Self(Arc::new(Owner {
                shared,
                threads: Mutex::new(Some(threads)),
            })),
            recovery,
        ))
    }

    /// Appends one record; returns once it is in the log (not yet committed in sync mode).
    pub fn append(&self, draft: &Draft<'_>) -> Result<Appended, AppendError> {
        self.0.shared.append(draft)
    }

    /// Appends all or none, one after the other, with nothing of others in between, taking the lock once.
    ///
    /// Together they must fit a segment.
    pub fn append_batch(&self, drafts: &[Draft<'_>]) -> Result<Vec<Appended>, AppendError> {
        let mut appended = vec![UNSET; drafts.len()];
        if !drafts.is_empty() {
            self.0.shared.append_all(drafts, &mut appended)?;
        }
        Ok(appended)
    }

    /// Blocks until `end` is committed: on the device in sync mode; in async mode once every append before it is whole,
    /// since a crash would cut the log at the first that is not.
    pub fn wait_committed(&self, end: u64) -> Result<(), AppendError> {
        let shared = &self.0.shared;
        if shared.options.flush == crate::options::Flush::Sync {
            return shared.wait_durable(end);
        }
        while let Some(listener) = shared.committed_or_listener(end)? {
            listener.wait();
        }
        Ok(())
    }

    /// The same for async callers; needs no runtime.
    pub async fn committed(&self, end: u64) -> Result<(), AppendError> {
        while let Some(listener) = self.0.shared.committed_or_listener(end)? {
            listener.await;
        }
        Ok(())
    }

    /// How far the log is.
    pub fn watermarks(&self) -> Watermarks {
        let shared = &self.0.shared;
        // In this order each is at most the one after it.
        let start = shared.segments.start();
        let durable = shared.durable.value();
        let committed = shared.committed().value();
        Watermarks {
            start,
            durable,
            committed,
            appended: shared.publication.position(),
        }
    }

    /// A listener for the next move of `committed` (also woken by poison and close).
    pub fn listen(&self) -> EventListener {
        self.0.shared.committed().listen()
    }

    /// The record that begins at `position` (from an index, say). Fillers are `Invalid`.
    ///
    /// The record's structure is checked, and its checksum if this process has neither appended it nor compared it at open.
    pub fn read(&self, position: u64) -> Result<Record, ReadError> {
        self.0.shared.read(position)
    }

    /// Records from `position` (the start of one, or of a segment) up to what is committed, fillers skipped.
    /// `None` means "no more yet": the same iterator goes on when there is more.
    pub fn records(&self, position: u64) -> Records {
        Records::new(self.0.shared.clone(), position)
    }

    /// What reads single records in any order, without an allocation for each.
    pub fn view(&self) -> View {
        View::new(self.0.shared.clone())
    }

    /// Makes everything appended so far durable, in either mode.
    pub fn flush(&self) -> Result<(), AppendError> {
        let end = self.0.shared.head.lock().reserver.position();
        self.0.shared.wait_durable(end)
    }

    /// Runs `change` while no append takes its place, with the position of the next: every append that ran into
    /// [`Draft::closed`] later sees what `change` has set.
    pub fn while_locked<T>(&self, change: impl FnOnce(u64) -> T) -> T {
        let head = self.0.shared.head.lock();
        change(head.reserver.position())
    }

    /// Brings the pages of `len` committed bytes at `position` into memory, and waits for it.
    ///
    /// # Errors
    ///
    /// What the device cannot deliver.
    pub fn warm(&self, position: u64, len: u32) -> Result<(), ReadError> {
        let shared = &self.0.shared;
        let segment = shared.segment_at(position)?;
        shared.fetch(&segment, position..position + u64::from(len))
    }

    /// Whether `len` committed bytes at `position` can be read without waiting for the device.
    pub fn is_warm(&self, position: u64, len: u32) -> Result<bool, ReadError> {
        self.0.shared.is_warm(position..position + u64::from(len))
    }

    /// What of each segment is in memory, each looked at in `parts` parts; oldest first, those that are deleted and still
    /// held by readers included.
    pub fn residency(&self, parts: usize) -> io::Result<Vec<SegmentResidency>> {
        self.0.shared.residency(parts)
    }

    /// Oldest first; the last one is the active one.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.0.shared.segment_infos()
    }

    /// Where the log would begin after [`delete_before`](Self::delete_before) of the same position.
    pub fn start_without(&self, position: u64) -> u64 {
        self.0.shared.start_without(position)
    }

    /// Unlinks the sealed segments that end at or below `position`, durably; returns the new start. References handed out
    /// stay valid. What is not yet durable is not deleted.
    ///
    /// # Errors
    ///
    /// What the system says. The log then begins where it is known to: a segment whose removal may not be on the device
    /// still counts, and is removed again by the next call.
    pub fn delete_before(&self, position: u64) -> io::Result<u64> {
        self.0.shared.delete_before(position)
    }

    /// What preheating cost and bought since the log was opened.
    pub fn preheat_bill(&self) -> PreheatBill {
        let shared = &self.0.shared;
        let position = shared.publication.complete().value();
        shared.bill.total(shared.options.preheat, position)
    }

    /// The flushes since the log was opened.
    pub fn flush_bill(&self) -> FlushBill {
        self.0.shared.flushed.total()
    }

    /// Reads of what was not in memory, since the log was opened.
    pub fn cold_reads(&self) -> ColdReads {
        self.0.shared.cold.bill()
    }

    /// Why appends are refused now (disk full, poisoned), if they are.
    pub fn refusing(&self) -> Option<AppendError> {
        let shared = &self.0.shared;
        if let Err(error) = shared.poisoned() {
            return Some(error);
        }
        let reason = shared.preparation.refusing()?;
        Some(AppendError::DiskFull {
            dir: shared.options.dir.clone(),
            reason,
        })
    }

    /// Whether `bytes` lies in the pages of a mapped segment.
    pub fn is_mapped(&self, bytes: &[u8]) -> bool {
        self.0.shared.segments.contains(bytes)
    }

    /// Size and free space of the file system that holds the log.
    pub fn disk(&self) -> io::Result<Usage> {
        self.0.shared.folder.usage()
    }

    /// Flushes, writes the clean mark, stops the threads. Appends fail with `Closed` afterwards; idempotent.
    pub fn close(&self) -> Result<(), AppendError> {
        self.0.close()
    }
}

impl Threads {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let started = Self::start_all(shared);
        if started.is_err() {
            shared.preparation.stop();
        }
        started
    }

    fn start_all(shared: &Arc<Shared>) -> io::Result<Self> {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        // Failing costs an appender a moment now and then, if processors are short.
        let behind = || drop(background::yield_to_others());
        let log = shared.clone();
        let mut preparers = vec![named("folio-preparer").spawn(move || {
            behind();
            log.prepare_until_stopped();
        })?];
        if let Preheat::Window { bytes } = shared.options.preheat {
            let log = shared.clone();
            preparers.push(named("folio-preheater").spawn(move || {
                behind();
                log.preheat_until_stopped(bytes);
            })?);
        }
        let log = shared.clone();
        let flusher = named("folio-flusher").spawn(move || log.flush_until_stopped())?;
        Ok(Self { flusher, preparers })
    }
}

impl Owner {
    fn close(&self) -> Result<(), AppendError> {
        // Held to the end, so that a second caller returns when all is done.
        let mut running = self.threads.lock();
        let Some(threads) = running.take() else {
            return self.shared.poisoned();
        };
        let end = self.shared.refuse_appends();
        let flushed = self.shared.wait_durable(end);
        self.shared.requests.stop();
        self.shared.preparation.stop();
        let flusher = threads.flusher.join();
        // A panic of theirs costs nothing that matters here.
        threads
            .preparers
            .into_iter()
            .for_each(|thread| drop(thread.join()));
        self.shared.control.set_state(State::Closed);
        self.shared.durable.wake();
        self.shared.turns.wake();
        self.shared.publication.wake();
        flushed?;
        self.shared.preparation.discard(&self.shared.folder);
        match flusher {
            Ok(()) => self.shared.checkpoint_clean(),
            Err(_) => self.shared.poison("the flusher has panicked".to_owned()),
        }
        self.shared.poisoned()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(dir = %self.shared.options.dir.display(), %error, "the log was not closed cleanly");
        }
    }
}

impl Shared {
    /// No append begins after this; returns where the last one ends.
    fn refuse_appends(&self) -> u64 {
        let mut head = self.head.lock();
        head.closed = true;
        head.reserver.position()
    }

    fn segment_infos(&self) -> Vec<SegmentInfo> {
        let store_time = self.store_time.load(Ordering::Relaxed);
        let entries = self.segments.all();
        let last = entries.len().saturating_sub(1);
        let mut infos = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            infos.push(entry.info((index == last).then_some(store_time)));
        }
        infos
    }

    fn start_without(&self, position: u64) -> u64 {
        let droppable = self.droppable(position);
        let end = droppable.last().map(|segment| segment.end());
        end.unwrap_or_else(|| self.segments.start())
    }

    fn droppable(&self, position: u64) -> Vec<Arc<Segment>> {
        self.segments.ending_by(position.min(self.durable.value()))
    }

    fn delete_before(&self, position: u64) -> io::Result<u64> {
        let droppable = self.droppable(position);
        for segment in &droppable {
            // After a crash the log is looked for where the checkpoint says.
            self.checkpoint_up_to(segment.end());
            self.poisoned().map_err(io::Error::other)?;
            self.folder.remove(segment.base())?;
            // One after the other: a power cut that kept an older one than it took would leave a hole. And before anybody
            // sees the new start: what is forgotten for it must not be needed again when the segment comes back.
            self.folder.sync(Flush::SegmentsDropped)?;
            self.segments.forget_first(segment.base());
            self.start.advance(self.segments.start());
        }
        if !droppable.is_empty() {
            self.preparation.retry();
        }
        Ok(self.segments.start())
    }
}
