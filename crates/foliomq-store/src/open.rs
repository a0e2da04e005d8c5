//! Opening a store: the logs recover, the indexes catch up with the log.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foliomq_commitlog::CommitLog;
use foliomq_consumequeue::{Checkpoint, ConsumeQueues, Emptied, IndexError, KeyIndex};
use foliomq_segment::disk;
use foliomq_segment::watermark::Watermark;

use crate::dispatcher::Gap;
use crate::error::{OpenError, StoreError};
use crate::lite::LiteArrivals;
use crate::meta::MetaLog;
use crate::options::Options;
use crate::progress::Progress;
use crate::registry::{Registry, Short};
use crate::shared::{CHECKPOINT, COMMIT_LOG, CONSUME_QUEUES, KEYS, META, Shared};

impl Shared {
    pub(crate) fn open(options: Options) -> Result<Self, OpenError> {
        options.check()?;
        make_dir(&options.dir)?;
        let (registry, progress) = (Registry::default(), Progress::default());
        let mut is_empty = true;
        let meta = MetaLog::open(&options.dir.join(META), |change| {
            registry.apply(&change);
            progress.apply(&change);
            is_empty = false;
        })?;
        let (log, recovery) = CommitLog::open(log_options(&options))?;
        if is_empty && recovery.end > recovery.start {
            // Without metadata nobody knows which queue has which number.
            tracing::warn!(
                "the metadata is missing: topics and indexes are made anew from the log"
            );
            forget_indexes(&options.dir)?;
        }
        let indexes = Indexes::open(&options, recovery.start, recovery.end)?;
        let (settled, _) = registry.next();
        let shared = Self {
            recovery,
            log,
            meta,
            registry,
            progress,
            queues: indexes.queues,
            lite_arrivals: LiteArrivals::default(),
            keys: indexes.keys,
            checkpoint: indexes.checkpoint,
            dispatched: Watermark::new(indexes.position),
            listed: Default::default(),
            ledger_event: Default::default(),
            wanted: Default::default(),
            topic_retention: Default::default(),
            changing: Default::default(),
            flushing: Default::default(),
            flush_at: AtomicU64::new(u64::MAX),
            refusals: Default::default(),
            refuses: Default::default(),
            closing: Default::default(),
            settled: AtomicU32::new(settled),
            wake: Default::default(),
            by_reference: Default::default(),
            copied: Default::default(),
            options,
        };
        shared.keep_offsets(&indexes.emptied).map_err(|error| {
            OpenError::invalid(format!("noting that queues are empty: {error}"))
        })?;
        Ok(shared)
    }

    /// Brings the indexes up to the log's end, and sets each queue's next offset from them; no progress is past that.
    pub(crate) fn catch_up(&self, gap: Gap) -> Result<(), CatchUpError> {
        // What a crash left of the queues of a topic that is deleted.
        let mut ends = self.registry.set_ends(self.queues.ends());
        let unknown = ends.unknown.iter();
        unknown.for_each(|&queue| self.queues.remove(queue));
        if self.dispatch(&mut self.feed(u64::MAX), gap)? > 0 {
            ends = self.registry.set_ends(self.queues.ends());
        }
        if let Some(Short { queue, end, next }) = ends.short
            && gap == Gap::IsAnError
        {
            let what = format!("queue {queue} goes on at {next}, and its index ends at {end}");
            return Err(CatchUpError::Rebuild(what));
        }
        self.cut_progress().map_err(|error| {
            let what = format!("setting back the progress of groups: {error}");
            CatchUpError::Failed(OpenError::invalid(what))
        })
    }

    /// Sets back progress that lies past the end of its queue, durably: a power cut may leave it there, and keep the messages
    /// from the device. Others will have their offsets, which nobody has read.
    fn cut_progress(&self) -> Result<(), StoreError> {
        if self.progress.is_empty() {
            return Ok(());
        }
        let topics = self.registry.by_id();
        let past = self.progress.past(|id, queue| {
            let index = topics.binary_search_by_key(&id, |topic| topic.meta.id);
            let next = topics[index.ok()?].next_offset(queue)?;
            Some(next.load(Ordering::Acquire))
        });
        if past.is_empty() {
            return Ok(());
        }
        let queues = past.len();
        tracing::warn!(
            queues,
            "queues end before what groups had done in them: their progress is set back"
        );
        self.meta.append_all(&past)?;
        past.iter().for_each(|change| self.progress.apply(change));
        self.meta.flush()
    }
}

/// Why the indexes could not be brought up to the log's end.
#[derive(Debug)]
pub(crate) enum CatchUpError {
    /// They contradict the log, and are to be made anew.
    Rebuild(String),
    /// Nothing helps here.
    Failed(OpenError),
}

impl From<IndexError> for CatchUpError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Io { .. } | IndexError::NotFlushed { .. } => Self::Failed(error.into()),
            IndexError::Gap { .. }
            | IndexError::Damaged { .. }
            | IndexError::DamagedEntry { .. } => Self::Rebuild(error.to_string()),
        }
    }
}

/// Has every index of the store in `dir` made anew at the next start: without a checkpoint their files count for nothing.
///
/// The files go only once the device has a new checkpoint, at 0: see [`Indexes`]. Whenever the power goes, either the old
/// checkpoint is there with all that it speaks for, or what is left of the files is removed by the next start.
pub(crate) fn forget_indexes(dir: &Path) -> Result<(), OpenError> {
    match disk::unlink(&dir.join(CHECKPOINT)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IndexError::Io {
            what: format!("removing {}", dir.join(CHECKPOINT).display()),
            source,
        }
        .into()),
        _ => Ok(()),
    }
}

/// The indexes as they were flushed. Their checkpoint says whether their files count: at 0 they do not.
struct Indexes {
    checkpoint: Checkpoint,
    queues: ConsumeQueues,
    keys: KeyIndex,
    /// The queues of which the log has nothing.
    emptied: Vec<Emptied>,
    /// Everything below is in them.
    position: u64,
}

impl Indexes {
    /// Opens them; makes them anew where they are damaged, or ahead of a log that has lost its end.
    fn open(options: &Options, start: u64, end: u64) -> Result<Self, OpenError> {
        let reason = match Self::try_open(options, start, end) {
            Err(OpenError::Index(IndexError::Damaged { path, what })) => {
                format!("{}: {what}", path.display())
            }
            Ok(indexes) if indexes.position > end => {
                format!("they reach to {}, the log to {end}", indexes.position)
            }
            other => return other,
        };
        tracing::warn!(%reason, "the indexes are made anew from the log");
        forget_indexes(&options.dir)?;
        Self::try_open(options, start, end)
    }

    fn try_open(options: &Options, start: u64, end: u64) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint::open(&options.dir.join(CHECKPOINT))?;
        let position = checkpoint.position();
        let (queues, keys) = (options.dir.join(CONSUME_QUEUES), options.dir.join(KEYS));
        if position == 0 {
            // Nothing of them was ever flushed as a whole. They may be what an earlier life has left, of queues whose
            // records are gone from the log: no record to come need fit them.
            ConsumeQueues::wipe(&queues)?;
            KeyIndex::wipe(&keys)?;
        } else if let Some(path) = [&queues, &keys].into_iter().find(|path| !path.is_dir()) {
            return Err(IndexError::Damaged {
                path: path.clone(),
                what: "the folder is missing".to_owned(),
            }
            .into());
        }
        let queues = ConsumeQueues::open(&queues, position.min(end))?;
        let keys = KeyIndex::open(&keys, position.min(end), options.segment_size)?;
        let emptied = queues.trim(start);
        keys.trim(start)?;
        Ok(Self {
            emptied,
            checkpoint,
            queues,
            keys,
            position: position.max(start),
        })
    }
}

fn log_options(options: &Options) -> foliomq_commitlog::Options {
    foliomq_commitlog::Options {
        segment_size: options.segment_size,
        flush: options.flush,
        writer: options.writer,
        preheat: options.preheat,
        lock_memory: options.lock_memory,
        read_mode: options.read_mode,
        read_ahead: options.read_ahead,
        cold_cache: options.cold_cache,
        cold_reads: options.cold_reads,
        check_on_open: options.check_on_open,
        ..foliomq_commitlog::Options::new(options.dir.join(COMMIT_LOG))
    }
}

/// Messages are nobody else's business: mode 0700.
fn make_dir(dir: &Path) -> Result<(), OpenError> {
    disk::make_folder(dir).map_err(|error| {
        OpenError::invalid(format!("cannot make the folder {}: {error}", dir.display()))
    })
}
