//! What the threads of one log share.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use foliomq_segment::{Control, Folder, Mark, Publication, State, Watermark};
use parking_lot::Mutex;

use crate::append::Head;
use crate::bill::Bill;
use crate::cold::Fetched;
use crate::error::AppendError;
use crate::flushed::Flushed;
use crate::flusher::{Marks, Requests};
use crate::folios::Choice;
use crate::memory::Memory;
use crate::options::{Flush, Options};

use crate::preparer::Preparation;
use crate::segments::Segments;
use crate::share::Share;
use crate::turns::Turns;

/// The state of an open log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) folder: Arc<Folder>,
    pub(crate) generation: u64,
    /// Records from here on were appended by this process, or compared with their checksums when it opened the log. Those before
    /// are compared whenever they are read: a bit that flipped on the disk is not served.
    pub(crate) sound_from: u64,
    /// The short lock.
    pub(crate) head: Mutex<Head>,
    /// Unix milliseconds of the last record; written under the short lock.
    pub(crate) store_time: AtomicU64,
    /// Holds `appended`.
    pub(crate) publication: Arc<Publication>,
    pub(crate) durable: Watermark,
    /// The first position, for other processes to see.
    pub(crate) start: Watermark,
    /// Where other processes see how far the log is.
    pub(crate) control: Control,
    pub(crate) segments: Segments,
    pub(crate) fetched: Fetched,
    pub(crate) memory: Memory,
    /// Of the device, for reads of what is not in memory.
    pub(crate) cold: Share,
    pub(crate) preparation: Preparation,
    pub(crate) folios: Mutex<Choice>,
    pub(crate) bill: Bill,
    pub(crate) flushed: Flushed,
    pub(crate) requests: Requests,
    /// Whoever flushes leads: the flusher, or one of those who wait.
    pub(crate) turns: Turns,
    /// Held while the checkpoint is written.
    pub(crate) marks: Mutex<Marks>,
    /// Why nothing more is acknowledged, once a flush has failed.
    poison: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        folder: Arc<Folder>,
        control: Control,
        head: Head,
        publication: Arc<Publication>,
        segments: Segments,
        marks: Marks,
    ) -> Self {
        let bill = Bill::new(publication.position());
        let (preparation, requests) = (Preparation::default(), Requests::default());
        let head = Mutex::new(head);
        let poison = OnceLock::new();
        let cold = Share::new(options.cold_reads);
        Self {
            options,
            folder,
            generation: control.generation(),
            sound_from: u64::MAX,
            head,
            store_time: AtomicU64::new(0),
            publication,
            durable: control.watermark(Mark::Durable),
            start: control.watermark(Mark::Start),
            control,
            segments,
            fetched: Fetched::default(),
            memory: Memory::default(),
            cold,
            preparation,
            folios: Mutex::default(),
            bill,
            flushed: Flushed::default(),
            requests,
            turns: Turns::default(),
            marks: Mutex::new(marks),
            poison,
        }
    }

    /// Brings everything that appends have completed into the files: what a staged writer holds. A failure poisons
    /// the log.
    pub(crate) fn write_out(&self) -> Result<(), AppendError> {
        if let Err(error) = self.publication.write_out() {
            self.poison(format!("writing to the log: {error}"));
        }
        self.poisoned()
    }

    /// The watermark that readers and acknowledgements go by.
    pub(crate) fn committed(&self) -> &Watermark {
        match self.options.flush {
            Flush::Sync => &self.durable,
            Flush::Async { .. } => self.publication.watermark(),
        }
    }

    /// The error of a poisoned log.
    pub(crate) fn poisoned(&self) -> Result<(), AppendError> {
        match self.poison.get() {
            Some(reason) => Err(AppendError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Stops all acknowledging, for good, and wakes everyone who waits.
    pub(crate) fn poison(&self, reason: String) {
        tracing::error!(dir = %self.options.dir.display(), reason, "the log is poisoned: nothing more is acknowledged until a restart");
        let _ = self.poison.set(reason);
        self.control.set_state(State::Poisoned);
        self.durable.wake();
        self.turns.wake();
        self.publication.wake();
        self.preparation.wake_waiters();
    }
}
