//! The preparer: a thread that has the next segment ready before the roll, and unmaps the one before after it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener, Listener};
use foliomq_segment::{Folder, SegmentFile, Writer};
use parking_lot::Mutex;

use crate::append::Head;
use crate::error::AppendError;
use crate::options::Preheat;
use crate::preheater::prepare_mark;
use crate::shared::Shared;

/// After a failure, the next attempt to make a segment comes no sooner.
const RETRY: Duration = Duration::from_millis(100);
/// The window is renewed each time the head has gone through this share of it.
const WINDOW_STEPS: u64 = 16;

/// The segment after the active one.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Absent,
    Ready(Arc<dyn Writer>),
    Failed {
        reason: String,
        at: Instant,
        /// Whether an append was refused for it.
        refused: bool,
    },
}

/// How appenders and the preparer talk to each other.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    next: Mutex<Next>,
    /// An appender waits for the next segment.
    wanted: AtomicBool,
    stop: AtomicBool,
    /// Wakes the preparer.
    work: Event,
    /// Wakes the preheater, which wakes the preparer in turn.
    head: Event,
    /// Wakes the appenders that wait for a segment.
    done: Event,
}

impl Preparation {
    pub(crate) fn wake(&self) {
        self.work.notify(usize::MAX);
    }

    /// Says that the head has passed its mark.
    pub(crate) fn head_moved(&self, preheat: &Preheat) {
        match preheat {
            Preheat::Window { .. } => self.head.notify(usize::MAX),
            Preheat::Segment | Preheat::Off => self.work.notify(usize::MAX),
        };
    }

    /// What wakes the preheater. Take it first, then look, then wait.
    pub(crate) fn listen_to_head(&self) -> EventListener {
        self.head.listen()
    }

    pub(crate) fn wake_waiters(&self) {
        self.done.notify(usize::MAX);
    }

    /// What wakes the preparer. Take it first, then look, then wait.
    pub(crate) fn listen(&self) -> EventListener {
        self.work.listen()
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
        self.head.notify(usize::MAX);
        self.wake_waiters();
    }

    /// The next segment, if it is ready. Once it is the active one, say [`taken`](Self::taken).
    pub(crate) fn ready(&self) -> Option<Arc<dyn Writer>> {
        match &*self.next.lock() {
            Next::Ready(writer) => Some(writer.clone()),
            Next::Absent | Next::Failed { .. } => None,
        }
    }

    /// The next segment has become the active one: another may be made.
    pub(crate) fn taken(&self) {
        *self.next.lock() = Next::Absent;
    }

    /// Removes a segment that was made and never used.
    pub(crate) fn discard(&self, folder: &Folder) {
        if let Next::Ready(writer) = std::mem::take(&mut *self.next.lock()) {
            // Left behind it is removed at the next start.
            let _ = folder.remove(writer.segment().base());
        }
    }

    /// Forgets a failure: something has changed, a new attempt may go well.
    pub(crate) fn retry(&self) {
        let mut next = self.next.lock();
        if matches!(*next, Next::Failed { .. }) {
            *next = Next::Absent;
            drop(next);
            self.wake();
        }
    }

    /// Why appends were refused, if the reason still stands.
    pub(crate) fn refusing(&self) -> Option<String> {
        match &*self.next.lock() {
            Next::Failed {
                reason,
                refused: true,
                ..
            } => Some(reason.clone()),
            _ => None,
        }
    }

    /// What an appender without a segment finds.
    fn look(&self) -> Look {
        let mut next = self.next.lock();
        match &mut *next {
            Next::Ready(_) => Look::Ready,
            Next::Absent => Look::Wait,
            Next::Failed { at, .. } if at.elapsed() >= RETRY => {
                *next = Next::Absent;
                Look::Wait
            }
            Next::Failed {
                reason, refused, ..
            } => {
                *refused = true;
                Look::Full(reason.clone())
            }
        }
    }
}

enum Look {
    Ready,
    Wait,
    Full(String),
}

impl Head {
    /// Whether the threads that prepare have something to do, at most once for each step of the head.
    pub(crate) fn passes_wake_mark(&mut self, preheat: &Preheat) -> bool {
        let position = self.reserver.position();
        if position < self.wake_at {
            return false;
        }
        let Some(segment) = self.reserver.writer().map(|writer| writer.segment()) else {
            return false;
        };
        let mark = prepare_mark(segment, position);
        self.wake_at = match preheat {
            Preheat::Window { bytes } => mark.min(position + bytes / WINDOW_STEPS),
            Preheat::Segment | Preheat::Off => mark,
        };
        true
    }
}

impl Shared {
    /// Waits, outside the lock, until the next segment is there or cannot be had.
    pub(crate) fn await_segment(&self) -> Result<(), AppendError> {
        loop {
            let listener = self.preparation.done.listen();
            self.poisoned()?;
            if self.preparation.stopped() {
                return Err(AppendError::Closed);
            }
            match self.preparation.look() {
                Look::Ready => return Ok(()),
                Look::Full(reason) => {
                    return Err(AppendError::DiskFull {
                        dir: self.options.dir.clone(),
                        reason,
                    });
                }
                Look::Wait => {
                    self.preparation.wanted.store(true, Ordering::SeqCst);
                    self.preparation.wake();
                    listener.wait();
                }
            }
        }
    }

    /// The preparer's thread.
    pub(crate) fn prepare_until_stopped(&self) {
        if let Some(active) = self.publication.writer() {
            self.warm(&*active, self.publication.position());
        }
        loop {
            let listener = self.preparation.listen();
            if self.preparation.stopped() {
                return;
            }
            self.prepare_next();
            // Unmapping takes milliseconds: it is left to this thread.
            drop(self.publication.retired());
            listener.wait();
        }
    }

    /// Makes the next segment once the active one is half full, or as soon as an appender waits for it.
    fn prepare_next(&self) {
        let wanted = self.preparation.wanted.swap(false, Ordering::SeqCst);
        if !matches!(*self.preparation.next.lock(), Next::Absent) {
            return;
        }
        // Without a next segment there is no roll: from here on this one stays the active one.
        let Some(active) = self.publication.writer() else {
            return;
        };
        let active = active.segment();
        let half = active.base() + active.size() / 2;
        if !wanted && self.publication.position() < half {
            return;
        }
        let next = match self.make_segment(active.end()) {
            Ok(writer) => Next::Ready(writer),
            Err(error) => {
                tracing::warn!(dir = %self.options.dir.display(), %error, "the next segment cannot be made");
                Next::Failed {
                    reason: error.to_string(),
                    at: Instant::now(),
                    refused: false,
                }
            }
        };
        *self.preparation.next.lock() = next;
        self.preparation.wake_waiters();
    }

    /// A new segment at `base`, mapped, its first pages resident.
    fn make_segment(&self, base: u64) -> io::Result<Arc<dyn Writer>> {
        let file = SegmentFile::create(&self.folder, base, self.options.segment_size)?;
        let segment = file.map(&self.publication)?;
        let writer = self.options.writer().open(&segment)?;
        self.warm(&*writer, base);
        Ok(writer)
    }

    /// Preheats and locks a segment that is about to be written from `start` on. Failing costs speed only.
    fn warm(&self, writer: &dyn Writer, start: u64) {
        let end = writer.segment().end();
        match self.options.preheat {
            Preheat::Window { bytes } => {
                self.preheat(writer, start..start.saturating_add(bytes).min(end));
            }
            Preheat::Segment => {
                self.preheat(writer, start..end);
            }
            Preheat::Off => {}
        }
        if self.options.lock_memory
            && let Err(error) = writer.lock()
        {
            let fix = "raise the limit (ulimit -l, or LimitMEMLOCK= in a systemd unit) or turn memory locking off";
            tracing::warn!(%error, fix, "the segment could not be locked in memory");
        }
    }
}
