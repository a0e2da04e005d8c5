//! A log of another process, through its control file.

use std::fs::File;
use std::hint;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapOptions;
use rustix::thread::futex;

use crate::PAGE;
use crate::control::{
    AT_COMMITTED, AT_GENERATION, AT_MAGIC, AT_PROCESS, AT_STATE, CONTROL, MAGIC, Mark, Pages, SIZE,
    State, owner,
};
use crate::file::check_size;
use crate::folder::{Claim, Folder};
use crate::segment::Segment;
use crate::watermark::{FOREIGN, Watermark};

/// The longest sleep at a time: the owner may die while one sleeps.
const LOOK: Duration = Duration::from_millis(100);
/// How long a reader sleeps that may not write to the control file, and so cannot ask to be woken.
const POLL: Duration = Duration::from_millis(1);
/// A spinning reader looks at the clock after so many looks at the watermark.
const SPINS: u32 = 1 << 10;

/// How a reader waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Asleep, until the owner of the log wakes it by a system call.
    #[default]
    Sleep,
    /// Awake, on a core of its own: it sees a move ten times as soon, and the owner has no system call to make.
    Spin,
}

/// How far a log is, in positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The first position still in the log.
    pub start: u64,
    /// Everything below is written.
    pub appended: u64,
    /// Everything below is on the device.
    pub durable: u64,
    /// Everything below is readable and may be acknowledged.
    pub committed: u64,
}

/// What another process that appends to a log lets others see of it. Nothing is written but the word that says that somebody
/// sleeps.
#[derive(Debug)]
pub struct Observer {
    dir: PathBuf,
    /// Mapped read-only: a reader gone astray harms no watermark.
    pages: Pages,
    /// The page of the sleepers' words, if it may be written.
    sleepers: Option<Pages>,
    generation: u64,
    process: u64,
    committing: Mark,
    /// What was found committed. The segments that are opened here go by it.
    committed: Arc<Watermark>,
}

impl Observer {
    /// Opens the control file in the folder `dir` of a log. An error of kind `NotFound` if no log of this version was
    /// opened there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let (file, writable) = open(&dir.join(CONTROL))?;
        if file.metadata()?.len() < SIZE {
            return Err(strange("it is too short"));
        }
        let pages = MmapOptions::new()
            .len(SIZE as usize)
            .map_raw_read_only(&file)?;
        let sleepers = writable.then(|| sleepers(&file)).transpose()?;
        let pages = Pages::foreign(pages, file);
        if load(&pages, AT_MAGIC) != MAGIC {
            return Err(strange("its first bytes are not those of this version"));
        }
        let committing = Mark::of_number(load(&pages, AT_COMMITTED))
            .ok_or_else(|| strange("it does not say which watermark counts"))?;
        let observer = Self {
            dir: dir.to_path_buf(),
            generation: load(&pages, AT_GENERATION),
            process: load(&pages, AT_PROCESS),
            committing,
            committed: Arc::new(Watermark::new(0)),
            sleepers,
            pages,
        };
        observer.committed();
        Ok(observer)
    }

    /// The life of the log: random, new after every unclean start.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The number of the process that appends.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Whether waiting is by looking every millisecond, since the control file may not be written.
    pub fn polls(&self) -> bool {
        self.sleepers.is_none()
    }

    /// How far the log is.
    pub fn watermarks(&self) -> Watermarks {
        let mark = |mark: Mark| load(&self.pages, mark.at());
        // In this order, so that none is past one that is larger.
        let start = mark(Mark::Start);
        let durable = mark(Mark::Durable);
        let committed = self.committed();
        Watermarks {
            start,
            durable,
            committed,
            appended: mark(Mark::Appended),
        }
    }

    /// Everything below is readable. Never goes back, whatever the file says.
    pub fn committed(&self) -> u64 {
        let found = load(&self.pages, self.committing.at());
        if found <= self.committed.value() {
            return self.committed.value();
        }
        self.committed.advance(found);
        found
    }

    /// What the owner says of the log.
    pub fn state(&self) -> io::Result<State> {
        State::of_number(load(&self.pages, AT_STATE)).ok_or_else(|| strange("its state is unknown"))
    }

    /// Whether the process that made the control file still has the log open: its lock on the file is there. Asks for the lock
    /// and does not take it.
    pub fn owned(&self) -> io::Result<bool> {
        match self.pages.file() {
            Some(file) if self.state()? != State::Closed => owner::is_locked(file),
            _ => Ok(false),
        }
    }

    /// Blocks until more than `seen` is committed, the time is over, or the owner is gone; returns what is committed then.
    pub fn wait_past(&self, seen: u64, timeout: Duration, how: Wait) -> io::Result<u64> {
        let begin = Instant::now();
        loop {
            let committed = match how {
                Wait::Spin => self.spin(seen),
                Wait::Sleep => self.sleep(seen, timeout.saturating_sub(begin.elapsed()))?,
            };
            if committed > seen || begin.elapsed() >= timeout {
                return Ok(committed);
            }
            if !self.owned()? {
                // What it did before it went.
                return Ok(self.committed());
            }
        }
    }

    /// Opens a segment for reading what is committed of it.
    pub fn segment(&self, base: u64) -> io::Result<Arc<Segment>> {
        let path = Folder::path_in(&self.dir, base);
        let file = File::open(&path)?;
        let size = file.metadata()?.len();
        check_size(size)?;
        Segment::map(
            file,
            path,
            size,
            Claim::foreign(base),
            self.committed.clone(),
        )
    }

    /// Whether the segment was opened here, and so goes by what is committed here.
    pub fn opened(&self, segment: &Segment) -> bool {
        Arc::ptr_eq(segment.watermark(), &self.committed)
    }

    /// Looks for a while, at least once.
    fn spin(&self, seen: u64) -> u64 {
        let begin = Instant::now();
        loop {
            for _ in 0..SPINS {
                let committed = self.committed();
                if committed > seen {
                    return committed;
                }
                hint::spin_loop();
            }
            if begin.elapsed() > POLL {
                return seen;
            }
        }
    }

    /// Sleeps once, unless there is something already.
    fn sleep(&self, seen: u64, timeout: Duration) -> io::Result<u64> {
        let Some(pages) = &self.sleepers else {
            if self.committed() <= seen {
                thread::sleep(timeout.min(POLL));
            }
            return Ok(self.committed());
        };
        let word = pages.word(self.committing.sleepers_at() - PAGE as usize);
        let found = word.fetch_or(FOREIGN, Ordering::SeqCst) | FOREIGN;
        // See `Watermark`: either the owner sees the bit, or this sees his move.
        fence(Ordering::SeqCst);
        let committed = self.committed();
        if committed > seen || self.state()? == State::Closed {
            return Ok(committed);
        }
        let timeout = timeout.min(LOOK).try_into().map_err(io::Error::other)?;
        match futex::wait(word, futex::Flags::empty(), found, Some(&timeout)) {
            Ok(())
            | Err(
                rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::TIMEDOUT,
            ) => Ok(self.committed()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the control file for looking and sleeping, or, where that is not allowed, for looking only: then `false`.
fn open(path: &Path) -> io::Result<(File, bool)> {
    match File::options().read(true).write(true).open(path) {
        Err(error) if is_refusal(&error) => Ok((File::open(path)?, false)),
        file => Ok((file?, true)),
    }
}

/// The page that sleepers write to.
fn sleepers(file: &File) -> io::Result<Pages> {
    let mut pages = MmapOptions::new();
    let pages = pages.offset(PAGE).len(PAGE as usize).map_raw(file)?;
    Ok(Pages::foreign(pages, file.try_clone()?))
}

fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// A word of a page that may be mapped read-only, of which only relaxed loads are sure to leave it alone.
fn load(pages: &Pages, at: usize) -> u64 {
    let value = pages.long(at).load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

fn strange(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the control file cannot be used: {what}"),
    )
}
