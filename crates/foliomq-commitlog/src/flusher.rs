//! The flusher: a thread that makes appends durable, many at a time.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event_listener::{Event, Listener};

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::error::AppendError;
use crate::options::Flush;
use crate::shared::Shared;
use crate::turns::Lead;

/// A checkpoint is at most this much behind what was flushed.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of the largest folio: what a flush takes as a whole.
const HEAD_STRETCH: u64 = 2 << 20;
/// The writer's memory is given back each time that a flush passes a multiple of this many bytes.
const RELEASE_STEP: u64 = 2 << 20;

/// A flush waits for others to append by giving up the processor so many times at most.
const MOST_YIELDS: usize = 16;

/// What the flusher is asked for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Everything below is wanted on the device.
    wanted: AtomicU64,
    stop: AtomicBool,
    event: Event,
}

impl Requests {
    /// Asks for everything below `end`.
    pub(crate) fn want(&self, end: u64) {
        if self.wanted.fetch_max(end, Ordering::SeqCst) < end {
            self.event.notify(usize::MAX);
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// What the flusher does next.
enum Step {
    /// Up to the last byte: somebody waits for it.
    FlushAll,
    /// Because it is time to.
    FlushDue,
    /// Something is wanted that is still being written.
    AwaitAppend,
    Idle,
}

impl Shared {
    /// Blocks until everything below `end` is durable. The first of those who wait flushes for all of them: nobody is
    /// woken to do it.
    pub(crate) fn wait_durable(&self, end: u64) -> Result<(), AppendError> {
        self.wait_complete(end)?;
        while self.durable.value() < end {
            self.poisoned()?;
            if self.requests.stopped() {
                return Err(AppendError::Closed);
            }
            match self.turns.try_lead() {
                Some(lead) => {
                    self.gather();
                    self.flush_appended(lead);
                }
                None => self.turns.wait(end, || self.is_awaited(end)),
            }
        }
        Ok(())
    }

    /// Lets those whom the last flush has woken append first, so that this one takes them along. Where nobody else is
    /// about to append it costs a call of the scheduler.
    fn gather(&self) {
        let complete = self.publication.complete();
        for _ in 0..MOST_YIELDS {
            let before = complete.value();
            std::thread::yield_now();
            if complete.value() == before {
                return;
            }
        }
    }

    /// Whether a flush may still bring `end` to the device.
    fn is_awaited(&self, end: u64) -> bool {
        self.durable.value() < end && self.poisoned().is_ok() && !self.requests.stopped()
    }

    /// Blocks until every append before `end` is whole.
    fn wait_complete(&self, end: u64) -> Result<(), AppendError> {
        let complete = self.publication.complete();
        while complete.value() < end {
            let listener = complete.listen();
            self.poisoned()?;
            if self.publication.poisoned() {
                return Err(half_way());
            }
            if self.requests.stopped() {
                return Err(AppendError::Closed);
            }
            if complete.value() < end {
                listener.wait();
            }
        }
        Ok(())
    }

    /// `None` once everything below `end` is committed; otherwise what to wait for before asking again.
    pub(crate) fn committed_or_listener(
        &self,
        end: u64,
    ) -> Result<Option<event_listener::EventListener>, AppendError> {
        if self.options.flush == Flush::Sync {
            return self.durable_or_listener(end);
        }
        self.poisoned()?;
        let appended = self.publication.watermark();
        if appended.value() >= end {
            return Ok(None);
        }
        if self.publication.complete().value() >= end {
            return self.write_out().map(|()| None);
        }
        let listener = appended.listen();
        if self.publication.poisoned() {
            return Err(half_way());
        }
        Ok((appended.value() < end).then_some(listener))
    }

    /// `None` once everything below `end` is durable; otherwise what to wait for before asking again.
    pub(crate) fn durable_or_listener(
        &self,
        end: u64,
    ) -> Result<Option<event_listener::EventListener>, AppendError> {
        if self.durable.value() >= end {
            return Ok(None);
        }
        let listener = self.durable.listen();
        self.requests.want(end);
        if self.durable.value() >= end {
            return Ok(None);
        }
        self.poisoned()?;
        if self.requests.stopped() {
            Err(AppendError::Closed)
        } else {
            Ok(Some(listener))
        }
    }

    /// The flusher's thread.
    pub(crate) fn flush_until_stopped(&self) {
        let mut flushed = Instant::now();
        // Where the last record ended when a flush was last due.
        let mut seen = self.durable.value();
        loop {
            let listener = self.requests.event.listen();
            if self.requests.stopped() || self.poisoned().is_err() {
                return;
            }
            match self.next_step(flushed) {
                step @ (Step::FlushAll | Step::FlushDue) => {
                    flushed = Instant::now();
                    match step {
                        Step::FlushDue => self.flush_behind_head(&mut seen),
                        _ => self.flush_appended(self.turns.lead()),
                    }
                    self.checkpoint_if_due();
                }
                Step::AwaitAppend => self.await_append(),
                Step::Idle => {
                    self.checkpoint_if_due();
                    match self.idle_until(flushed) {
                        Some(deadline) => drop(listener.wait_deadline(deadline)),
                        None => listener.wait(),
                    }
                }
            }
        }
    }

    fn next_step(&self, flushed: Instant) -> Step {
        let durable = self.durable.value();
        let wanted = self.requests.wanted.load(Ordering::SeqCst) > durable;
        let pending = self.publication.complete().value() > durable;
        let due = match self.options.flush {
            Flush::Sync => false,
            Flush::Async { interval } => flushed.elapsed() >= interval / 2,
        };
        match (pending, wanted) {
            (true, true) => Step::FlushAll,
            (false, true) => Step::AwaitAppend,
            (_, false) if due => Step::FlushDue,
            (_, false) => Step::Idle,
        }
    }

    /// Waits until more is published than is durable.
    fn await_append(&self) {
        let complete = self.publication.complete();
        let listener = complete.listen();
        if self.publication.poisoned() {
            self.poison("a write was given up half way".to_owned());
        } else if complete.value() <= self.durable.value() && !self.requests.stopped() {
            listener.wait();
        }
    }

    /// When an idle flusher has something to do again, if nobody asks before.
    fn idle_until(&self, flushed: Instant) -> Option<Instant> {
        let interval = match self.options.flush {
            Flush::Sync => None,
            Flush::Async { interval } => Some(flushed + interval / 2),
        };
        let marks = self.marks.lock();
        let checkpoint =
            (self.durable.value() > marks.durable).then(|| marks.written + CHECKPOINT_INTERVAL);
        interval.into_iter().chain(checkpoint).min()
    }

    /// Makes everything appended so far durable. A failure poisons the log.
    fn flush_appended(&self, lead: Lead<'_>) {
        if self.write_out().is_ok() {
            let appended = self.publication.position();
            self.flush(lead, appended, appended);
        }
    }

    /// Makes what lies behind the head's stretch durable, if the head has entered that since the last look: a flush
    /// takes from the appender the pages that it is about to write. The next time, half an interval later, it is done.
    ///
    /// A stretch may begin within a record, but the log is durable up to the end of one: here, up to what was `seen` the
    /// last time.
    fn flush_behind_head(&self, seen: &mut u64) {
        let lead = self.turns.lead();
        if self.write_out().is_err() {
            return;
        }
        let appended = self.publication.position();
        let before = std::mem::replace(seen, appended);
        // Segments begin at multiples of this, or are smaller than it.
        let stretch = appended / HEAD_STRETCH * HEAD_STRETCH;
        if before < stretch {
            self.flush(lead, stretch, before);
        } else {
            self.flush(lead, appended, appended);
        }
    }

    /// Flushes everything below `end`, after which the log is durable up to `record_end`, which is not above it.
    fn flush(&self, mut lead: Lead<'_>, end: u64, record_end: u64) {
        let durable = self.durable.value();
        // After a failure the kernel may call lost pages clean: another flush would prove nothing.
        if self.poisoned().is_err() {
            return;
        }
        lead.covers(record_end.max(durable));
        if durable < end
            && let Err(error) = self.flush_range(durable, end)
        {
            return self.poison(format!("flushing positions {durable} to {end}: {error}"));
        }
        self.durable.advance(record_end.max(durable));
        drop(lead);
        if self.checkpoint_is_due() {
            self.requests.event.notify(usize::MAX);
        }
    }

    fn flush_range(&self, start: u64, end: u64) -> io::Result<()> {
        self.release(start, end);
        let begin = Instant::now();
        for segment in self.segments.overlapping(start, end) {
            segment.flush(start..end)?;
        }
        self.flushed.add(end - start, begin.elapsed());
        Ok(())
    }

    /// Gives back the writer's memory of a long stretch before it is flushed. Failing costs speed only.
    fn release(&self, start: u64, end: u64) {
        if end / RELEASE_STEP == start / RELEASE_STEP {
            return;
        }
        if let Err(error) = self.publication.release(end) {
            tracing::debug!(%error, "the writer's memory could not be given back");
        }
    }

    fn checkpoint_if_due(&self) {
        let mut marks = self.marks.lock();
        if self.is_behind(&marks) {
            self.checkpoint(&mut marks, false);
        }
    }

    /// Whether the flusher should be woken for the checkpoint; not while it is writing one.
    fn checkpoint_is_due(&self) -> bool {
        self.marks
            .try_lock()
            .is_some_and(|marks| self.is_behind(&marks))
    }

    fn is_behind(&self, marks: &Marks) -> bool {
        self.durable.value() > marks.durable && marks.written.elapsed() >= CHECKPOINT_INTERVAL
    }

    /// Sees to it that the checkpoint is not below `position`, which is durable: what it points at must stay.
    pub(crate) fn checkpoint_up_to(&self, position: u64) {
        let mut marks = self.marks.lock();
        if marks.durable < position {
            self.checkpoint(&mut marks, false);
        }
    }

    /// Writes the last checkpoint, which says that the log was closed.
    pub(crate) fn checkpoint_clean(&self) {
        self.checkpoint(&mut self.marks.lock(), true);
    }

    /// Writes down how far the log is durable. A failure costs a longer recovery, unless the mark is the final one.
    fn checkpoint(&self, marks: &mut Marks, clean: bool) {
        let checkpoint = Checkpoint {
            durable: self.durable.value(),
            generation: self.generation,
            clean,
            segment_size: self.options.segment_size,
            store_time: self.store_time.load(Ordering::Relaxed),
        };
        if let Err(error) = marks.file.write(&checkpoint) {
            self.poison(format!("writing the checkpoint: {error}"));
        }
        marks.durable = checkpoint.durable;
        marks.written = Instant::now();
    }
}

fn half_way() -> AppendError {
    let reason = "an append was given up half-way".to_owned();
    AppendError::Poisoned { reason }
}

/// The checkpoint file and what was last written to it.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) file: CheckpointFile,
    pub(crate) durable: u64,
    pub(crate) written: Instant,
}
