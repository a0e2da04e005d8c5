//! Every consume queue of a store, pooled in shared mapped files.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use parking_lot::{Mutex, RwLock};

use crate::entry::{Entry, QueueNumber};
use crate::error::IndexError;
use crate::extent::{Allocation, Extent, LAST_CLASS, Place};
use crate::extent_log::{Change, ExtentLog};
use crate::pool::{self, Pool};

/// Locks that the queues are spread over, so that a reader of one seldom meets the writer of another.
const SHARDS: usize = 64;
/// The extent log is compacted at open when fewer than half of its records, and more than so many, are dead.
const COMPACT_FROM: usize = 1024;

/// Every consume queue of a store. One thread puts, any number read.
#[derive(Debug)]
pub struct ConsumeQueues {
    shards: Vec<RwLock<HashMap<QueueNumber, Queue>>>,
    pool: Mutex<Pool>,
    /// Held through a flush, so that two never mix.
    log: Mutex<ExtentLog>,
}

/// The entries `start..end`; extents in ascending order, the last one never given back, since it says where the queue ends.
#[derive(Debug, Default)]
struct Queue {
    extents: Vec<Extent>,
    start: u64,
    end: u64,
}

impl ConsumeQueues {
    /// Opens or creates the pool. Entries that point at or above `checkpoint` (the log position up to which the
    /// indexes were flushed) are forgotten: the dispatcher brings them again.
    pub fn open(dir: &Path, checkpoint: u64) -> Result<Self, IndexError> {
        fs::create_dir_all(dir).map_err(IndexError::io("creating", dir))?;
        let (mut log, changes) = ExtentLog::open(&dir.join("extents"))?;
        let mut pool = Pool::open(dir)?;
        let state = State::replay(&changes);
        if changes.len() > COMPACT_FROM && state.len() < changes.len() / 2 {
            log.rewrite(&state.changes())?;
        }
        state.free.iter().for_each(|&place| pool.add_free(place));
        let queues = Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            pool: Mutex::new(pool),
            log: Mutex::new(log),
        };
        queues.load(state, checkpoint)?;
        Ok(queues)
    }

    /// Removes every file, so that all entries can be brought again from the log's start.
    pub fn wipe(dir: &Path) -> Result<(), IndexError> {
        pool::wipe(dir)
    }

    /// Adds the entry of `offset`. The first put of an empty queue may be any offset; a repeat of one that is there is
    /// ignored (the log is the same, so the entry is).
    ///
    /// # Errors
    ///
    /// [`IndexError::Gap`] if an offset is left out, `Io` if no file can be made for it.
    pub fn put(&self, queue: QueueNumber, offset: u64, entry: Entry) -> Result<(), IndexError> {
        let mut shard = self.shard(queue).write();
        let state = shard.entry(queue).or_default();
        if state.extents.is_empty() {
            (state.start, state.end) = (offset, offset);
        }
        if offset < state.end {
            return Ok(());
        }
        if offset > state.end {
            return Err(IndexError::Gap {
                queue,
                expected: state.end,
                offset,
            });
        }
        if state
            .extents
            .last()
            .is_none_or(|extent| offset >= extent.limit())
        {
            let class = state
                .extents
                .last()
                .map_or(0, |extent| (extent.place.class + 1).min(LAST_CLASS));
            state
                .extents
                .push(self.pool.lock().allocate(queue, offset, class)?);
        }
        if let Some(extent) = state.extents.last() {
            extent.put(offset, entry);
        }
        state.end = offset + 1;
        Ok(())
    }

    /// The entry of one offset.
    pub fn entry(&self, queue: QueueNumber, offset: u64) -> Option<Entry> {
        self.shard(queue).read().get(&queue)?.entry(offset)
    }

    /// Entries from `from` (or the queue's start, if that is later) on, at most `most`, appended to `out`; returns how many.
    pub fn entries(
        &self,
        queue: QueueNumber,
        from: u64,
        most: usize,
        out: &mut Vec<Entry>,
    ) -> usize {
        let shard = self.shard(queue).read();
        let Some(queue) = shard.get(&queue) else {
            return 0;
        };
        let from = from.max(queue.start);
        let to = queue.end.min(from.saturating_add(most as u64));
        let before = out.len();
        let mut at = from;
        for extent in &queue.extents[queue.extent_at(from).unwrap_or(0)..] {
            let end = to.min(extent.limit());
            out.extend((at..end).map_while(|offset| extent.entry(offset)));
            at = at.max(end);
        }
        out.len() - before
    }

    /// The offsets that the queue holds now: `start..end`; equal where it is empty. The end stays where it was when
    /// every entry is trimmed.
    pub fn offsets(&self, queue: QueueNumber) -> Range<u64> {
        self.shard(queue)
            .read()
            .get(&queue)
            .map_or(0..0, |queue| queue.start..queue.end)
    }

    /// The first offset whose store time is at or after `time` (Unix ms); the end if there is none.
    pub fn offset_at(&self, queue: QueueNumber, time: u64) -> u64 {
        let shard = self.shard(queue).read();
        let Some(queue) = shard.get(&queue) else {
            return 0;
        };
        queue.first(queue.start, |entry| entry.store_time >= time)
    }

    /// Every queue that has or had entries.
    pub fn numbers(&self) -> Vec<QueueNumber> {
        self.shards
            .iter()
            .flat_map(|shard| shard.read().keys().copied().collect::<Vec<_>>())
            .collect()
    }

    /// Drops the entries that point below `start` (the log's first position) and frees their extents.
    pub fn trim(&self, start: u64) {
        for shard in &self.shards {
            for queue in shard.write().values_mut() {
                let freed = queue.trim(start);
                if !freed.is_empty() {
                    let mut pool = self.pool.lock();
                    freed.into_iter().for_each(|place| pool.release(place));
                }
            }
        }
    }

    /// Forgets a deleted queue and frees its room.
    pub fn remove(&self, queue: QueueNumber) {
        if let Some(state) = self.shard(queue).write().remove(&queue) {
            let mut pool = self.pool.lock();
            state
                .extents
                .iter()
                .for_each(|extent| pool.release(extent.place));
        }
    }

    /// Flushes everything put so far; the caller may then move the checkpoint.
    ///
    /// The entries go first and the extents that hold them after, so an extent that is on record has what it held then.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut log = self.log.lock();
        let (files, changes) = self.pool.lock().begin_flush();
        let flushed = files
            .iter()
            .try_for_each(|words| words.flush())
            .map_err(|source| IndexError::Io {
                what: "flushing the consume queues".into(),
                source,
            })
            .and_then(|()| log.append(&changes));
        match flushed {
            Ok(()) => self.pool.lock().end_flush(&changes),
            Err(_) => self.pool.lock().undo_flush(changes),
        }
        flushed
    }

    fn shard(&self, queue: QueueNumber) -> &RwLock<HashMap<QueueNumber, Queue>> {
        &self.shards[queue as usize % SHARDS]
    }

    fn load(&self, state: State, checkpoint: u64) -> Result<(), IndexError> {
        let mut pool = self.pool.lock();
        for (number, allocations) in state.queues {
            let extents: Result<Vec<_>, _> = allocations
                .into_iter()
                .map(|extent| pool.extent(extent))
                .collect();
            let (queue, dropped) = Queue::recover(extents?, checkpoint);
            dropped.into_iter().for_each(|place| pool.release(place));
            self.shard(number).write().insert(number, queue);
        }
        Ok(())
    }
}

impl Queue {
    /// Finds the end: the first entry that is missing or points at or above `checkpoint`. What lies behind it is zeroed,
    /// so that it cannot pass for an entry once the checkpoint has moved on; extents left empty are dropped.
    fn recover(mut extents: Vec<Extent>, checkpoint: u64) -> (Self, Vec<Place>) {
        extents.sort_unstable_by_key(|extent| extent.first);
        let mut dropped = Vec::new();
        let mut end = 0;
        while let Some(extent) = extents.last() {
            let missing = |offset| {
                extent
                    .entry(offset)
                    .is_none_or(|entry: Entry| entry.position >= checkpoint)
            };
            end = partition(extent.first..extent.limit(), missing);
            extent.clear_from(end);
            if end > extent.first || extents.len() == 1 {
                break;
            }
            dropped.push(extent.place);
            extents.pop();
        }
        let start = extents.first().map_or(0, |extent| extent.first);
        (
            Self {
                extents,
                start,
                end,
            },
            dropped,
        )
    }

    fn entry(&self, offset: u64) -> Option<Entry> {
        if !(self.start..self.end).contains(&offset) {
            return None;
        }
        self.extents[self.extent_at(offset)?].entry(offset)
    }

    fn extent_at(&self, offset: u64) -> Option<usize> {
        self.extents
            .partition_point(|extent| extent.first <= offset)
            .checked_sub(1)
    }

    /// The first offset from `from` on whose entry passes, the end if none does. Entries that pass follow those that do not.
    fn first(&self, from: u64, passes: impl Fn(Entry) -> bool) -> u64 {
        partition(from..self.end, |offset| {
            self.entry(offset).is_none_or(&passes)
        })
    }

    fn trim(&mut self, log_start: u64) -> Vec<Place> {
        self.start = self.first(self.start, |entry| entry.position >= log_start);
        let keep = self
            .extent_at(self.start.min(self.end.saturating_sub(1)))
            .unwrap_or(0);
        self.extents
            .drain(..keep)
            .map(|extent| extent.place)
            .collect()
    }
}

/// The extents that the log leaves standing.
struct State {
    queues: HashMap<QueueNumber, Vec<Allocation>>,
    free: Vec<Place>,
}

impl State {
    fn replay(changes: &[Change]) -> Self {
        let mut owners: HashMap<Place, Option<Allocation>> = HashMap::new();
        for change in changes {
            match *change {
                Change::Allocated(extent) => owners.insert(extent.place, Some(extent)),
                Change::Freed(place) => owners.insert(place, None),
            };
        }
        let mut state = Self {
            queues: HashMap::new(),
            free: Vec::new(),
        };
        for (place, owner) in owners {
            match owner {
                Some(extent) => state.queues.entry(extent.queue).or_default().push(extent),
                None => state.free.push(place),
            }
        }
        state
    }

    fn len(&self) -> usize {
        self.free.len() + self.queues.values().map(Vec::len).sum::<usize>()
    }

    fn changes(&self) -> Vec<Change> {
        let allocated = self
            .queues
            .values()
            .flatten()
            .copied()
            .map(Change::Allocated);
        allocated
            .chain(self.free.iter().copied().map(Change::Freed))
            .collect()
    }
}

/// The first of `range` that passes, or its end. Those that pass follow those that do not.
fn partition(range: Range<u64>, passes: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle
        } else {
            low = middle + 1
        }
    }
    low
}
