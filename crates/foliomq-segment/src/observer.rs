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
use crate::sleepers::{self, FOREIGN};
use crate::watermark::Watermark;

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
    /// The longest sleep at a time.
    look: Duration,
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
            look: LOOK,
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
        let found = sleepers::announce(word, FOREIGN);
        let committed = self.committed();
        if committed > seen || self.state()? == State::Closed {
            return Ok(committed);
        }
        let timeout = timeout
            .min(self.look)
            .try_into()
            .map_err(io::Error::other)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use crate::control::{Beginning, Control};

    const LONG: Duration = Duration::from_secs(60);

    fn control(dir: &Path, committed: Mark) -> Control {
        let folder = Folder::lock(dir).unwrap();
        let beginning = Beginning {
            generation: 7,
            committed,
            start: 8,
            end: 16,
        };
        Control::create(&folder, &beginning).unwrap()
    }

    #[test]
    fn an_observer_sees_what_the_owner_says() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path(), Mark::Durable);
        let observer = Observer::open(dir.path()).unwrap();
        assert_eq!(observer.generation(), 7);
        assert_eq!(observer.process(), u64::from(std::process::id()));
        control.watermark(Mark::Appended).advance(32);
        control.watermark(Mark::Durable).advance(24);
        let expected = Watermarks {
            start: 8,
            appended: 32,
            durable: 24,
            committed: 24,
        };
        assert_eq!(observer.watermarks(), expected);
        assert!(observer.owned().unwrap());
        control.set_state(State::Poisoned);
        assert_eq!(observer.state().unwrap(), State::Poisoned);
        assert!(observer.owned().unwrap(), "reads go on");
        control.set_state(State::Closed);
        assert!(!observer.owned().unwrap());
    }

    #[test]
    fn an_owner_that_is_gone_or_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let first = control(dir.path(), Mark::Appended);
        let observer = Observer::open(dir.path()).unwrap();
        drop(first);
        assert!(!observer.owned().unwrap());
        assert_eq!(observer.wait_past(16, LONG, Wait::Sleep).unwrap(), 16);
        assert_eq!(observer.wait_past(16, LONG, Wait::Spin).unwrap(), 16);
        let _second = control(dir.path(), Mark::Appended);
        assert!(!observer.owned().unwrap(), "that is another file");
        assert!(Observer::open(dir.path()).unwrap().owned().unwrap());
    }

    /// In lockstep, so that a wake-up that goes missing is not made up for by the next, and sleeping without a look in
    /// between.
    #[test]
    fn sleepers_of_both_kinds_are_woken_by_every_move() {
        const MOVES: u64 = 3_000;
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path(), Mark::Appended);
        let watermark = control.watermark(Mark::Appended);
        let acks = [const { AtomicU64::new(16) }; 4];
        thread::scope(|scope| {
            for (ack, how) in acks.iter().zip([Wait::Sleep, Wait::Sleep, Wait::Spin]) {
                let mut observer = Observer::open(dir.path()).unwrap();
                observer.look = LONG;
                scope.spawn(move || {
                    for seen in 16..MOVES {
                        assert_eq!(observer.wait_past(seen, LONG, how).unwrap(), seen + 1);
                        ack.store(seen + 1, Ordering::Release);
                    }
                });
            }
            scope.spawn(|| {
                for seen in 16..MOVES {
                    assert_eq!(watermark.wait_past(seen, LONG), seen + 1);
                    acks[3].store(seen + 1, Ordering::Release);
                }
            });
            for position in 17..=MOVES {
                watermark.set(position);
                watermark.wake();
                while acks
                    .iter()
                    .any(|ack| ack.load(Ordering::Acquire) < position)
                {
                    thread::yield_now();
                }
            }
        });
    }

    #[test]
    fn nobody_sleeps_where_nothing_may_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path(), Mark::Appended);
        let mut observer = Observer::open(dir.path()).unwrap();
        assert!(!observer.polls());
        observer.sleepers = None;
        assert!(observer.polls());
        let watermark = control.watermark(Mark::Appended);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| observer.wait_past(16, LONG, Wait::Sleep).unwrap());
            watermark.advance(17);
            assert_eq!(waiter.join().unwrap(), 17);
        });
    }
}
