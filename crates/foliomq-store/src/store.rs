//! The store as its users see it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use event_listener::EventListener;
use foliomq_commitlog::{AppendError, Appended, PreheatBill, Recovery, SegmentInfo};
use foliomq_consumequeue::Entry;
use parking_lot::Mutex;

use crate::append::Submitted;
use crate::appender::Appender;
use crate::change::Change;
use crate::cursor::Cursor;
use crate::dispatcher::Gap;
use crate::error::{OpenError, StoreError};
use crate::hidden::{Awaits, HiddenMessage};
use crate::ledger::LedgerEntry;
use crate::lite::{LiteListener, check_lite, lite_name};
use crate::message::Message;
use crate::open::{CatchUpError, wipe_indexes};
use crate::options::Options;
use crate::reveal::Revealed;
use crate::shared::Shared;
use crate::stored::StoredMessage;
use crate::tail::Tail;
use crate::topic::{Topic, TopicOptions, TopicType, check_name, check_queues};

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
        wipe_indexes(&options.dir)?;
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

    /// Creates a topic, durably. One that is there with the same settings is no error.
    pub fn create_topic(&self, name: &str, options: TopicOptions) -> Result<Topic, StoreError> {
        check_name(name)?;
        let shared = &self.0.shared;
        let queues = if options.queues == 0 {
            shared.options.default_queues
        } else {
            options.queues
        };
        check_queues(queues)?;
        let since = shared.log.watermarks().appended;
        let since = since.max(shared.registry.deleted_at(name));
        let topic = shared
            .make_topic(name, queues, options.kind, since)?
            .topic();
        if topic.kind != options.kind || (options.queues != 0 && topic.queues != queues) {
            let what = format!("{} queues and type {:?}", topic.queues, topic.kind);
            return Err(StoreError::TopicExists {
                topic: name.to_owned(),
                what,
            });
        }
        Ok(topic)
    }

    /// Creates many topics alike, durably, with one flush for all. Those that are there already, with whatever settings,
    /// stay as they are; returns how many were made.
    pub fn create_topics(
        &self,
        names: &[&str],
        options: TopicOptions,
    ) -> Result<usize, StoreError> {
        names.iter().try_for_each(|name| check_name(name))?;
        let shared = &self.0.shared;
        let queues = match options.queues {
            0 => shared.options.default_queues,
            queues => queues,
        };
        check_queues(queues)?;
        shared.make_topics(names, queues, options.kind)
    }

    /// One topic.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        self.0.shared.registry.find(name).map(|topic| topic.topic())
    }

    /// All topics but lite topics, by name.
    pub fn topics(&self) -> Vec<Topic> {
        let topics = self.0.shared.registry.plain();
        topics.iter().map(|topic| topic.topic()).collect()
    }

    /// Creates lite topics of a topic, durably, with one flush for all: each has a single queue, and is read and written by
    /// its name [`lite_name`]. Those that are there stay as they are; returns how many were made.
    pub fn create_lite_topics(&self, parent: &str, names: &[&str]) -> Result<usize, StoreError> {
        self.0.shared.registry.get(parent)?;
        names.iter().try_for_each(|name| check_lite(name))?;
        let names: Vec<String> = names.iter().map(|lite| lite_name(parent, lite)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.0.shared.make_topics(&names, 1, TopicType::Lite)
    }

    /// The lite topics of a topic, in no order.
    pub fn lite_topics(&self, parent: &str) -> Vec<Topic> {
        let topics = self.0.shared.registry.lite(parent);
        topics.iter().map(|topic| topic.topic()).collect()
    }

    /// How many lite topics a topic has.
    pub fn lite_count(&self, parent: &str) -> usize {
        self.0.shared.registry.lite_count(parent)
    }

    /// Tells `listener` from now on, in place of an earlier one, when new messages of a lite topic can be read. It is called
    /// by the dispatcher: it must neither wait nor append.
    pub fn on_lite_arrival(&self, listener: Arc<LiteListener>) {
        self.0.shared.lite_arrivals.set(listener);
    }

    /// Grows when topics are made or deleted: whoever remembers topics looks whether they still are.
    pub fn topic_changes(&self) -> u64 {
        self.0.shared.registry.changes()
    }

    /// Deletes a topic with its lite topics, durably. Its messages can no longer be read; their bytes go with their segments.
    pub fn delete_topic(&self, name: &str) -> Result<(), StoreError> {
        let lite = self.0.shared.registry.lite(name);
        for topic in lite {
            self.delete_unflushed(&topic.meta.name)?;
        }
        self.delete_topics(&[name])
    }

    /// Deletes topics, with one flush for all, but not their lite topics. One that is not there is an error.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), StoreError> {
        let deleted = names
            .iter()
            .try_for_each(|name| self.delete_unflushed(name));
        self.0.shared.meta.flush()?;
        deleted
    }

    fn delete_unflushed(&self, name: &str) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let topic = shared.registry.get(name)?;
        // Whatever took its place before lies below, and nothing comes after.
        let position = shared.log.while_locked(|position| {
            topic.closed.store(true, Ordering::Release);
            position
        });
        let deleted = Change::Deleted {
            name: name.to_owned(),
            id: topic.meta.id,
            position,
        };
        let taken_again = |_: &StoreError| topic.closed.store(false, Ordering::Release);
        shared.change(&deleted).inspect_err(taken_again)?;
        shared.remove_queues(&topic.meta);
        Ok(())
    }

    /// What appends to one topic: look it up once, append often.
    pub fn appender(&self, topic: &str) -> Result<Appender, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        Ok(Appender::new(self.clone(), topic))
    }

    /// Appends to the topic's next queue in turn, and blocks until it is committed.
    pub fn append(&self, topic: &str, message: &Message<'_>) -> Result<Appended, StoreError> {
        self.append_and_wait(topic, None, message)
    }

    /// The same, to one queue.
    pub fn append_to(
        &self,
        topic: &str,
        queue: u32,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        self.append_and_wait(topic, Some(queue), message)
    }

    fn append_and_wait(
        &self,
        topic: &str,
        queue: Option<u32>,
        message: &Message<'_>,
    ) -> Result<Appended, StoreError> {
        let shared = self.shared();
        let appended = shared.append_one(&*shared.registry.get(topic)?, queue, message)?;
        shared.log.wait_committed(appended.end())?;
        Ok(appended)
    }

    /// Appends all or none, contiguous, in one queue (`None`: the next in turn), *without* waiting: they may be
    /// acknowledged once [`committed`](Self::committed) or [`wait_committed`](Self::wait_committed) returns for
    /// [`Submitted::end`]. Together they must fit a segment.
    pub fn submit(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[Message<'_>],
    ) -> Result<Submitted, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        self.0.shared.append_all(&topic, queue, messages)
    }

    /// Appends all or none, in no queue, *without* waiting, as [`submit`](Self::submit): nobody reads them before
    /// [`reveal`](Self::reveal). `queue` is where they go then; `None`: the next in turn. The position of each is its id.
    ///
    /// From the first of them on, retention drops nothing unless [`keep_from`](Self::keep_from) says that it may.
    pub fn submit_hidden(
        &self,
        topic: &str,
        queue: Option<u32>,
        messages: &[(Awaits, &Message<'_>)],
    ) -> Result<Vec<Appended>, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        self.0.shared.append_hidden(&topic, queue, messages)
    }

    /// The hidden message whose record lies at `position`.
    pub fn hidden(&self, position: u64) -> Result<HiddenMessage, StoreError> {
        self.0.shared.hidden(position)
    }

    /// Puts hidden messages, by the positions where they lie, into their queues *without* waiting: the first of them, as many
    /// as go into one batch. An error means that none was, yet what was carried forward is. Each is to be revealed or cancelled
    /// once: see [`ledger`](Self::ledger).
    pub fn reveal(&self, positions: &[u64]) -> Result<Revealed, StoreError> {
        self.0.shared.reveal(positions)
    }

    /// Gives up the hidden message `id` that lies at `position`, *without* waiting; returns the position to wait for.
    pub fn cancel(&self, id: u64, position: u64) -> Result<u64, StoreError> {
        self.0.shared.cancel(id, position)
    }

    /// Appends the hidden message at `position` again, under the same id, so that the old record may go.
    pub fn carry(&self, position: u64) -> Result<Appended, StoreError> {
        self.0.shared.carry(position)
    }

    /// The number of the first ledger line of a record at or after `position`.
    pub fn ledger_at(&self, position: u64) -> Result<u64, StoreError> {
        self.0.shared.ledger_at(position)
    }

    /// Lines of the ledger, in log order, from number `from` (or the first that is there) on, at most `most`, appended to
    /// `out`; returns the number that comes next. Numbers change when the indexes are made anew, never while the store is open.
    pub fn ledger(
        &self,
        from: u64,
        most: usize,
        out: &mut Vec<LedgerEntry>,
    ) -> Result<u64, StoreError> {
        self.0.shared.ledger(from, most, out)
    }

    /// Woken when the ledger has new lines, and when the store closes. Listen first, then look, then wait.
    pub fn listen_ledger(&self) -> EventListener {
        self.0.shared.ledger_event.listen()
    }

    /// Waits until what is committed now is in the indexes.
    pub fn catch_up(&self) {
        self.0.shared.catch_up_with_commits();
    }

    /// Up to which position retention would drop the log, if it may not for what [`keep_from`](Self::keep_from) says.
    pub fn held_back(&self) -> Option<u64> {
        let wanted = self.0.shared.wanted.load(Ordering::Acquire);
        Some(wanted).filter(|&wanted| wanted > 0)
    }

    /// Says that no hidden message lies below `position` any more, so that retention may drop it. It never goes back.
    pub fn keep_from(&self, position: u64) -> Result<(), StoreError> {
        self.0.shared.keep_from(position)
    }

    /// Blocks until everything below `end` is committed.
    pub fn wait_committed(&self, end: u64) -> Result<(), StoreError> {
        Ok(self.0.shared.log.wait_committed(end)?)
    }

    /// The same for async callers; needs no runtime.
    pub async fn committed(&self, end: u64) -> Result<(), StoreError> {
        Ok(self.0.shared.log.committed(end).await?)
    }

    /// One message; `None` if the queue does not hold the offset. What was committed before the call is found.
    pub fn read(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let found = self.read_many(topic, queue, offset, 1)?.pop();
        Ok(found.filter(|message| message.queue_offset() == offset))
    }

    /// Up to `most` messages from `offset` (or the queue's start, if that is later) on.
    pub fn read_many(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.0.shared.read_many(topic, queue, offset, most)
    }

    /// Index entries from `offset` (or the queue's start, if that is later) on, without touching the log: to filter by
    /// tag hash, say. Appended to `out`; returns how many.
    pub fn entries(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
        most: usize,
        out: &mut Vec<Entry>,
    ) -> Result<usize, StoreError> {
        self.0.shared.entries(topic, queue, offset, most, out)
    }

    /// The message of an entry.
    pub fn message(&self, entry: &Entry) -> Result<StoredMessage, StoreError> {
        self.0.shared.message_of(entry)
    }

    /// Follows a queue from an offset on.
    pub fn tail(&self, topic: &str, queue: u32, from: u64) -> Result<Tail, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        topic.number(queue)?;
        Ok(Tail::new(self.0.shared.clone(), topic, queue, from))
    }

    /// Goes over a queue from an offset on, by reference and without an allocation for each message.
    pub fn cursor(&self, topic: &str, queue: u32, from: u64) -> Result<Cursor, StoreError> {
        let number = self.0.shared.registry.get(topic)?.number(queue)?;
        Ok(Cursor::new(self.0.shared.clone(), number, from))
    }

    /// Woken when new messages of the topic can be read, and when it is deleted or the store closes. Listen first, then
    /// look, then wait.
    pub fn listen(&self, topic: &str) -> Result<EventListener, StoreError> {
        Ok(self.0.shared.registry.get(topic)?.event.listen())
    }

    /// The offsets that a queue holds.
    pub fn offsets(&self, topic: &str, queue: u32) -> Result<Range<u64>, StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        let offsets = self.0.shared.queues.offsets(topic.number(queue)?);
        if offsets != (0..0) {
            return Ok(offsets);
        }
        // An index that was made anew does not know of messages that retention had dropped.
        let floor = topic.floor(queue);
        Ok(floor..floor)
    }

    /// The first offset whose store time is at or after `time` (Unix ms); the queue's end if there is none.
    pub fn offset_at(&self, topic: &str, queue: u32, time: u64) -> Result<u64, StoreError> {
        let number = self.0.shared.registry.get(topic)?.number(queue)?;
        Ok(self.0.shared.queues.offset_at(number, time)?)
    }

    /// Messages with this key, newest first.
    pub fn find_by_key(
        &self,
        topic: &str,
        key: &str,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.0.shared.find_by_key(topic, key, most)
    }

    /// Messages with this id, newest first: a client that sends again sends the same id.
    pub fn find_by_id(
        &self,
        topic: &str,
        id: &str,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.0.shared.find_by_id(topic, id, most)
    }

    /// A group's progress in one queue: every message below it is done. Survives a restart.
    pub fn progress(&self, group: &str, topic: &str, queue: u32) -> Option<u64> {
        let topic = self.0.shared.registry.find(topic)?;
        self.0.shared.progress.offset(group, topic.meta.id, queue)
    }

    /// Sets a group's progress: safe from a crash of the process when it returns, from a power cut half a second later.
    /// The next start sets back what lies past the queue's end, where a power cut may leave it.
    pub fn set_progress(
        &self,
        group: &str,
        topic: &str,
        queue: u32,
        offset: u64,
    ) -> Result<(), StoreError> {
        let topic = self.0.shared.registry.get(topic)?;
        topic.number(queue)?;
        self.0.shared.change(&Change::Progress {
            group: group.to_owned(),
            topic: topic.meta.id,
            queue,
            offset,
        })
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
