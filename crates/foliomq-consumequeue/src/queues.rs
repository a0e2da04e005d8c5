//! Every consume queue of a store, pooled in shared mapped files.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_segment::disk::{self, Flush};
use parking_lot::{Mutex, RwLock};

use crate::directory::Directory;
use crate::entry::{Entry, QueueNumber};
use crate::error::IndexError;
use crate::expiry::Expiry;
use crate::extent::Allocation;
use crate::extent_log::ExtentLog;
use crate::files::Files;
use crate::page::{Next, Page, QUEUES, View};
use crate::pool::{self, Pool};
use crate::recover::Found;
use crate::table::Table;
use crate::writer::{State, Writer};

/// Queues that a trim looks at before it lets others put.
const TRIM_STEP: usize = 256;

/// The pages, by number. A page in which no queue has anything takes no memory.
pub(crate) type Pages = Table<RwLock<Option<Page>>>;

/// Every consume queue of a store. One thread puts, any number read; they do not wait for each other unless an extent
/// begins or ends.
///
/// A queue that was never used takes nothing. One that is used takes 48 bytes of memory beside the mapped entries.
#[derive(Debug)]
pub struct ConsumeQueues {
    pages: Pages,
    files: Arc<Files>,
    /// Entries that point below are gone.
    log_start: AtomicU64,
    writer: Mutex<State>,
    /// Held through a flush, so that two never mix.
    log: Mutex<ExtentLog>,
}

/// A queue of which retention has left nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emptied {
    /// The queue.
    pub queue: QueueNumber,
    /// The offset that its next message gets.
    pub next: u64,
}

/// Where a queue stands: its page, and its index there.
#[inline]
pub(crate) fn place(queue: QueueNumber) -> (usize, usize) {
    (queue as usize / QUEUES, queue as usize % QUEUES)
}

impl ConsumeQueues {
    /// Opens or creates the pool. Entries that point at or above `checkpoint` (the log position up to which the
    /// indexes were flushed) are forgotten: the dispatcher brings them again.
    ///
    /// # Errors
    ///
    /// [`IndexError::Damaged`] if the files contradict each other: they are to be made anew.
    pub fn open(dir: &Path, checkpoint: u64) -> Result<Self, IndexError> {
        disk::make_folder(dir).map_err(IndexError::io("creating", dir))?;
        let path = dir.join("extents");
        let (log, directory) = ExtentLog::open(&path)?;
        disk::flush_beside(Flush::QueuesOpened, &path).map_err(IndexError::io("flushing", dir))?;
        let pool = Pool::open(dir)?;
        let queues = Self {
            pages: Pages::default(),
            files: pool.files.clone(),
            log_start: AtomicU64::new(0),
            writer: Mutex::new(State {
                pool,
                expiry: Expiry::default(),
                cells: Vec::new(),
            }),
            log: Mutex::new(log),
        };
        let loaded = queues.load(&directory, checkpoint);
        loaded.map_err(|what| IndexError::damaged(dir, what))?;
        Ok(queues)
    }

    /// Removes every file, so that all entries can be brought again from the log's start.
    pub fn wipe(dir: &Path) -> Result<(), IndexError> {
        pool::wipe(dir)
    }

    /// To put many entries without taking the lock for each.
    pub fn writer(&self) -> Writer<'_> {
        Writer {
            pages: &self.pages,
            state: self.writer.lock(),
        }
    }

    /// Adds one entry: see [`Writer::put`].
    pub fn put(&self, queue: QueueNumber, offset: u64, entry: Entry) -> Result<(), IndexError> {
        self.writer().put(queue, offset, entry)
    }

    /// The entry of one offset.
    ///
    /// # Errors
    ///
    /// [`IndexError::DamagedEntry`] if it is not as it was put.
    pub fn entry(&self, queue: QueueNumber, offset: u64) -> Result<Option<Entry>, IndexError> {
        self.view(queue, |view| view.entry(offset))
            .unwrap_or(Ok(None))
    }

    /// Entries from `from` (or the queue's start, if that is later) on, at most `most`, appended to `out`; returns how many.
    /// Those before a damaged one are handed out.
    ///
    /// # Errors
    ///
    /// [`IndexError::DamagedEntry`] if the first is not as it was put.
    pub fn entries(
        &self,
        queue: QueueNumber,
        from: u64,
        most: usize,
        out: &mut Vec<Entry>,
    ) -> Result<usize, IndexError> {
        self.view(queue, |view| view.entries(from, most, out))
            .unwrap_or(Ok(0))
    }

    /// The offsets that the queue holds now: `start..end`; equal where it is empty. The end stays where it was when
    /// every entry is trimmed.
    pub fn offsets(&self, queue: QueueNumber) -> Range<u64> {
        self.view(queue, |view| view.offsets()).unwrap_or_default()
    }

    /// The first offset whose store time is at or after `time` (Unix ms); the end if there is none.
    ///
    /// # Errors
    ///
    /// [`IndexError::DamagedEntry`] if one that was looked at is not as it was put.
    pub fn offset_at(&self, queue: QueueNumber, time: u64) -> Result<u64, IndexError> {
        self.view(queue, |view| view.offset_at(time))
            .unwrap_or(Ok(0))
    }

    /// Every queue that has or had entries, ascending, with the offset after its last entry.
    pub fn ends(&self) -> Vec<(QueueNumber, u64)> {
        let mut ends = Vec::new();
        for (number, slot) in self.pages.iter() {
            let slot = slot.read();
            let Some(page) = slot.as_ref() else { continue };
            let queues = page.extents.iter().zip(&page.cells[..]).enumerate();
            let used = queues.filter(|(_, (extents, _))| !extents.as_slice().is_empty());
            ends.extend(used.map(|(index, (_, cell))| {
                let queue = (number * QUEUES + index) as QueueNumber;
                (queue, cell.end.load(Ordering::Acquire))
            }));
        }
        ends
    }

    /// Drops the entries that point below `start` (the log's first position) and frees their extents. Returns the
    /// queues that this has emptied. Looks only at queues that have lost something.
    pub fn trim(&self, start: u64) -> Vec<Emptied> {
        self.log_start.fetch_max(start, Ordering::AcqRel);
        let due = self.writer.lock().expiry.take_due(start);
        let mut emptied = Vec::new();
        for queues in due.iter().flat_map(|list| list.chunks(TRIM_STEP)) {
            let mut writer = self.writer();
            for &queue in queues {
                let end = writer.trim(queue, start);
                emptied.extend(end.map(|next| Emptied { queue, next }));
            }
        }
        emptied
    }

    /// The queues that a [`trim`](Self::trim) to `start` would empty, of which nothing is changed yet.
    pub fn emptied_by(&self, start: u64) -> Vec<Emptied> {
        let due = self.writer.lock().expiry.due(start);
        let emptied = |queue| {
            let slot = self.pages.get(place(queue).0)?.read();
            let offsets = slot.as_ref()?.view(queue, &self.files, start).offsets();
            let next = offsets.end;
            (offsets.is_empty() && next > 0).then_some(Emptied { queue, next })
        };
        due.into_iter().filter_map(emptied).collect()
    }

    /// Forgets a deleted queue and frees its room.
    pub fn remove(&self, queue: QueueNumber) {
        self.writer().remove(queue);
    }

    /// Flushes everything put so far; the caller may then move the checkpoint.
    ///
    /// The entries go first and the extents that hold them after, so an extent that is on record has what it held then.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut log = self.log.lock();
        let unflushed = self.writer.lock().pool.begin_flush();
        let files = unflushed.files.iter();
        let flushed = files
            .filter_map(|&file| self.files.get(file))
            .try_for_each(|words| words.flush())
            .map_err(|source| IndexError::NotFlushed {
                what: "flushing the consume queues".into(),
                source,
            })
            .and_then(|()| log.append(&unflushed.changes));
        let pool = &mut self.writer.lock().pool;
        match flushed {
            Ok(()) => pool.end_flush(&unflushed),
            Err(_) => pool.undo_flush(unflushed),
        }
        flushed
    }

    /// Looks at a queue, if anything is known of it.
    fn view<T>(&self, queue: QueueNumber, look: impl FnOnce(View<'_>) -> T) -> Option<T> {
        let slot = self.pages.get(place(queue).0)?.read();
        let log_start = self.log_start.load(Ordering::Acquire);
        Some(look(slot.as_ref()?.view(queue, &self.files, log_start)))
    }

    fn load(&self, directory: &Directory, checkpoint: u64) -> Result<(), String> {
        let state = &mut *self.writer.lock();
        for &place in &directory.free {
            if !state.pool.add_free(place) {
                return Err(format!(
                    "a free place lies outside its pool file: {place:?}"
                ));
            }
        }
        for allocations in directory.queues() {
            self.load_queue(state, allocations, checkpoint)?;
        }
        Ok(())
    }

    fn load_queue(
        &self,
        state: &mut State,
        allocations: &[Allocation],
        checkpoint: u64,
    ) -> Result<(), String> {
        let mut places = allocations.iter().map(|one| one.extent.place);
        if let Some(place) = places.find(|&place| !state.pool.add_used(place)) {
            return Err(format!("an extent lies outside its pool file: {place:?}"));
        }
        let Some(queue) = allocations.first().map(|one| one.queue) else {
            return Ok(());
        };
        let found = Found::new(allocations, &self.files, checkpoint)?;
        let dropped = found.dropped.iter();
        dropped.for_each(|extent| state.pool.release(extent.place));
        let (number, index) = place(queue);
        let mut slot = self.pages.grow_to(number).write();
        let page = slot.get_or_insert_with(|| state.add_page(number));
        if let (Some(first), Some(last)) = (found.extents.first(), found.extents.last()) {
            let next = Next::of(last, found.end);
            page.cells[index].set(first.first..found.end, next);
        }
        page.extents[index] = found.extents.into();
        let due = page.view(queue, &self.files, 0).next_expiry();
        state.expiry.add(queue, due);
        Ok(())
    }
}
