//! Reads what is committed, in log order, and enters it into the indexes.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use event_listener::Listener;
use foliomq_commitlog::{AppendError, Flush, Kind, RecordRef, Records};
use foliomq_consumequeue::{Entry, key_hash, tag_hash};

use crate::error::{OpenError, StoreError};
use crate::hidden::{Awaits, Control, Prefix, Verdict};
use crate::known::Known;
use crate::ledger::LedgerEvent;
use crate::lite::lite_parts;
use crate::open::CatchUpError;
use crate::registry::TopicState;
use crate::shared::{Cause, Shared, is_full};
use crate::stored::{LOST, system_properties};
use crate::topic::{MAX_QUEUES, TopicOptions, TopicType};
use crate::topic_settings::TopicSettings;

/// What a queue offset means that the log leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The index and the log contradict each other.
    IsAnError,
    /// The message was damaged, and given up by a salvage.
    IsLost,
}

/// Bytes of a record without topic and message: as many as fit below a record were lost before it, at most.
const SMALLEST_RECORD: u64 = 64;
/// Records that are entered before those who wait for them are woken.
const BATCH: usize = 256;
/// Where a record comes this often, or more often, the next ones are likely to as well.
const OFTEN: Duration = Duration::from_micros(50);
/// Then the dispatcher sleeps for this long instead of waiting to be woken: that would cost each append a system call, and, where
/// both share a core, two changes of thread.
const NAP: Duration = Duration::from_micros(250);
/// How long the dispatcher waits, at most, before it looks again whether there is room for the indexes.
const RETRY: Duration = Duration::from_millis(500);

/// What is entered next, and the topics met so far.
#[derive(Debug)]
pub(crate) struct Feed {
    records: Records,
    known: Known,
}

impl Shared {
    /// What is not yet in the indexes. Records from `trusted` on are taken without a look at their checksums.
    pub(crate) fn feed(&self, trusted: u64) -> Feed {
        let records = self.log.records(self.dispatched.value());
        Feed {
            records: records.trusting_from(trusted),
            known: Known::default(),
        }
    }

    /// The thread: enters what comes, until the store closes.
    pub(crate) fn run_dispatcher(&self) {
        let _guard = Guard(self);
        // Everything from here on was, or will be, appended by this process.
        let trusted = self.dispatched.value();
        let mut feed = self.feed(trusted);
        let naps = matches!(self.options.flush, Flush::Async { .. }) && nap_on_time();
        let mut looked = Instant::now();
        loop {
            let closing = self.closing();
            match self.dispatch(&mut feed, Gap::IsAnError) {
                Ok(entered) => {
                    if self.refuses_for(Cause::IndexRoom) {
                        self.set_refusal(Cause::IndexRoom, None);
                    }
                    if closing {
                        return;
                    }
                    let last = std::mem::replace(&mut looked, Instant::now());
                    if naps && comes_often(entered, looked - last) {
                        thread::sleep(NAP);
                    } else {
                        self.await_commit();
                    }
                }
                Err(CatchUpError::Failed(OpenError::Index(error))) if is_full(&error) => {
                    self.refuse_for_index(&error);
                    if closing {
                        return;
                    }
                    thread::sleep(RETRY);
                    // What was entered of the batch already is passed over.
                    feed = self.feed(trusted);
                }
                Err(error) => return self.stop_dispatching(&error),
            }
        }
    }

    /// Waits until more is committed than is in the indexes, or the store closes.
    fn await_commit(&self) {
        let listener = self.log.listen();
        if self.log.watermarks().committed <= self.dispatched.value() && !self.closing() {
            listener.wait();
        }
    }

    /// Enters everything that is committed now; returns how many records that were.
    pub(crate) fn dispatch(&self, feed: &mut Feed, gap: Gap) -> Result<usize, CatchUpError> {
        let mut entered = 0;
        loop {
            for gone in feed.known.refresh(&self.registry, &self.lite_arrivals) {
                // Records of it may have been entered after its queues were removed.
                self.remove_queues(&gone);
            }
            let listed = self.listed.load(Ordering::Relaxed);
            let mut count = 0;
            while count < BATCH
                && let Some(record) = feed.records.next_ref()
            {
                let record = record.map_err(|error| failed(error.into()))?;
                self.enter(&record, &mut feed.known, gap)?;
                count += 1;
            }
            let position = Records::position(&feed.records);
            self.dispatched.advance(position);
            self.flush_indexes_past(position);
            feed.known.wake(&self.lite_arrivals);
            if self.listed.load(Ordering::Relaxed) != listed {
                self.ledger_event.notify(usize::MAX);
            }
            entered += count;
            if count == 0 {
                return Ok(entered);
            }
        }
    }

    /// Forgets the consume queues of a deleted topic.
    pub(crate) fn remove_queues(&self, topic: &TopicState) {
        let first = topic.meta.first_number..topic.end_number();
        let later = topic.spans();
        let later = later.flat_map(|span| span.first_number..span.end_number());
        first
            .chain(later)
            .for_each(|number| self.queues.remove(number));
    }

    /// Enters one record.
    fn enter(
        &self,
        record: &RecordRef<'_>,
        known: &mut Known,
        gap: Gap,
    ) -> Result<(), CatchUpError> {
        match record.header().kind {
            Kind::Message => self.enter_message(record, known, gap),
            Kind::Control => self.enter_control(record, known, gap),
            Kind::Hidden => self.enter_hidden(record),
            Kind::Filler => Ok(()),
        }
    }

    fn enter_message(
        &self,
        record: &RecordRef<'_>,
        known: &mut Known,
        gap: Gap,
    ) -> Result<(), CatchUpError> {
        let Some(topic) = self.topic_of(record, known)? else {
            return Ok(());
        };
        let system = system_properties(record.message())
            .ok_or_else(|| contradiction(record, "not a message"))?;
        let keys = system.keys().chain(system.sender_id());
        let keys = keys.map(|key| key_hash(&topic.meta.name, key));
        self.enter_queue(record, topic, gap, tag_hash(system.tag()), keys)?;
        known.touch();
        Ok(())
    }

    /// A delayed message is found by its id while it waits, too: its sender may not know that it is there.
    fn enter_hidden(&self, record: &RecordRef<'_>) -> Result<(), CatchUpError> {
        let parts = Prefix::split(record.message());
        let (prefix, message) =
            parts.ok_or_else(|| contradiction(record, "not a hidden message"))?;
        self.enter_ledger(record, LedgerEvent::of_prefix(prefix))?;
        let system = system_properties(message)
            .ok_or_else(|| contradiction(record, "not a hidden message"))?;
        let topic = std::str::from_utf8(record.topic())
            .map_err(|_| contradiction(record, "of a topic whose name is not UTF-8"))?;
        if let (Awaits::Time(_), Some(id)) = (prefix.awaits, system.sender_id()) {
            let position = record.header().position;
            self.keys.put(key_hash(topic, id), position)?;
        }
        Ok(())
    }

    fn enter_control(
        &self,
        record: &RecordRef<'_>,
        known: &mut Known,
        gap: Gap,
    ) -> Result<(), CatchUpError> {
        let control = Control::decode(record.message())
            .ok_or_else(|| contradiction(record, "a control record of another version"))?;
        self.enter_ledger(record, LedgerEvent::of_control(&control))?;
        if control.verdict == Verdict::Cancelled {
            return Ok(());
        }
        let Some(topic) = self.topic_of(record, known)? else {
            return Ok(());
        };
        self.enter_queue(record, topic, gap, control.tag_hash, control.keys())?;
        known.touch();
        Ok(())
    }

    /// Enters a record that stands for a message into its queue, and under its keys.
    fn enter_queue(
        &self,
        record: &RecordRef<'_>,
        topic: &TopicState,
        gap: Gap,
        tag_hash: u64,
        keys: impl Iterator<Item = u64>,
    ) -> Result<(), CatchUpError> {
        let header = record.header();
        let Ok(number) = topic.number(header.queue_id) else {
            return Err(contradiction(
                record,
                "of a queue that its topic does not have",
            ));
        };
        let entry = Entry {
            position: header.position,
            size: header.size,
            tag_hash,
            store_time: header.store_time,
        };
        if gap == Gap::IsLost {
            self.fill_gap(record, number, entry)?;
        }
        self.queues.put(number, header.queue_offset, entry)?;
        for key in keys {
            self.keys.put(key, header.position)?;
        }
        Ok(())
    }

    /// Enters the offsets before that of `record` that the log no longer holds, each pointing at no record of its own.
    fn fill_gap(
        &self,
        record: &RecordRef<'_>,
        number: u32,
        next: Entry,
    ) -> Result<(), CatchUpError> {
        let offset = record.header().queue_offset;
        let known = self.queues.offsets(number);
        if known.is_empty() || known.end >= offset {
            return Ok(());
        }
        if offset - known.end > next.position / SMALLEST_RECORD {
            let what = "at an offset that the log before it has no room for";
            return Err(contradiction(record, what));
        }
        tracing::warn!(
            queue = number,
            from = known.end,
            to = offset,
            "messages are lost: a salvage gave them up"
        );
        let lost = Entry {
            size: LOST,
            tag_hash: 0,
            ..next
        };
        for offset in known.end..offset {
            self.queues.put(number, offset, lost)?;
        }
        Ok(())
    }

    /// The topic of a record, made from the log if the metadata has lost it; `None` if it is deleted.
    fn topic_of<'k>(
        &self,
        record: &RecordRef<'_>,
        known: &'k mut Known,
    ) -> Result<Option<&'k TopicState>, CatchUpError> {
        let position = record.header().position;
        if known.find(record.topic(), &self.registry).is_none() {
            let name = std::str::from_utf8(record.topic())
                .map_err(|_| contradiction(record, "of a topic whose name is not UTF-8"))?;
            if self.registry.is_deleted(name, position) {
                return Ok(None);
            }
            known.add(self.topic_from_log(name, position)?);
        }
        let topic = known.find(record.topic(), &self.registry);
        let topic = topic.filter(|topic| position >= topic.meta.since);
        Ok(topic.map(|topic| &**topic))
    }

    /// Makes the topic `name`, whose first record is at `position`.
    fn topic_from_log(&self, name: &str, position: u64) -> Result<Arc<TopicState>, CatchUpError> {
        let is_lite = lite_parts(name).is_some();
        let (queues, kind) = if is_lite {
            (1, TopicType::Lite)
        } else {
            let in_log = self.queues_in_log(name, position)?;
            (self.options.default_queues.max(in_log), TopicType::Any)
        };
        tracing::warn!(
            topic = name,
            queues,
            "a topic is missing in the metadata: made from the log"
        );
        let options = TopicOptions { queues, kind };
        self.make_topic(name, options, TopicSettings::default(), Some(position))
            .map_err(failed)
    }

    /// How many queues a topic has, as far as its records from `position` on tell.
    fn queues_in_log(&self, name: &str, position: u64) -> Result<u32, CatchUpError> {
        let mut queues = 0;
        for record in self.log.records(position) {
            let record = record.map_err(|error| failed(error.into()))?;
            let stands = match record.kind() {
                Kind::Message => true,
                Kind::Control => Control::reveal(record.message()).is_some(),
                Kind::Hidden | Kind::Filler => false,
            };
            if stands && record.topic() == name {
                queues = queues.max(record.queue_id().saturating_add(1));
            }
        }
        Ok(queues.min(MAX_QUEUES))
    }

    /// Nothing new can be read any more: so nothing more is taken either.
    fn stop_dispatching(&self, error: &CatchUpError) {
        let reason = match error {
            CatchUpError::Rebuild(reason) => format!("{reason}; a restart makes the indexes anew"),
            CatchUpError::Failed(error) => error.to_string(),
        };
        tracing::error!(%reason, "the indexes cannot follow the log: no more messages are taken");
        let reason = format!("the indexes cannot follow the log: {reason}");
        self.set_refusal(Cause::Dispatcher, Some(AppendError::Poisoned { reason }));
    }
}

/// Tells appenders and readers if the dispatcher panics.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the dispatcher has panicked: see the log".to_owned();
            self.0
                .set_refusal(Cause::Dispatcher, Some(AppendError::Poisoned { reason }));
        }
    }
}

fn comes_often(records: usize, within: Duration) -> bool {
    let records = u32::try_from(records).unwrap_or(u32::MAX);
    within < OFTEN.saturating_mul(records)
}

/// Has the kernel end this thread's sleeps when they are over, not up to 50 us later. Without it no naps are taken.
fn nap_on_time() -> bool {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).is_ok()
}

pub(crate) fn contradiction(record: &RecordRef<'_>, what: &str) -> CatchUpError {
    let position = record.header().position;
    CatchUpError::Failed(OpenError::invalid(format!("record {position} is {what}")))
}

fn failed(error: StoreError) -> CatchUpError {
    CatchUpError::Failed(OpenError::invalid(error.to_string()))
}
