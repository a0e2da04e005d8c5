//! The control file: how far a log is, for other processes to see.
//!
//! Two pages. The first holds what readers only look at, and map read-only: what the log is, and its watermarks, each on
//! cache lines of its own. The second holds the words that sleepers of other processes set and sleep on.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::PAGE;
use crate::disk;
use crate::folder::Folder;
use crate::watermark::Watermark;

/// Name of the file, in the folder of its log.
pub const CONTROL: &str = "control";
/// Bytes of the file.
pub(crate) const SIZE: u64 = 2 * PAGE;
/// The first word: `FOCT`, and the version of the layout.
pub(crate) const MAGIC: u64 = u64::from_ne_bytes(*b"FOCT\x01\0\0\0");

/// Offsets of the words in the first page.
pub(crate) const AT_MAGIC: usize = 0;
pub(crate) const AT_GENERATION: usize = 8;
pub(crate) const AT_PROCESS: usize = 16;
pub(crate) const AT_COMMITTED: usize = 24;
pub(crate) const AT_STATE: usize = 32;
/// Offset of the first watermark, and from one to the next: two cache lines, which some processors fetch together.
const LINE: usize = 128;

/// The watermarks of a log that others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The first position still in the log.
    Start,
    /// Everything below is in the segments' files.
    Appended,
    /// Everything below is on the device.
    Durable,
}

impl Mark {
    /// Offset of its position, a 64-bit word.
    pub(crate) fn at(self) -> usize {
        LINE * (1 + self as usize)
    }

    /// Offset of its sleepers' word, of 32 bits.
    pub(crate) fn sleepers_at(self) -> usize {
        PAGE as usize + LINE * self as usize
    }

    /// The number that stands for it in the file.
    fn number(self) -> u64 {
        self as u64
    }

    pub(crate) fn of_number(number: u64) -> Option<Self> {
        let all = [Self::Start, Self::Appended, Self::Durable];
        all.into_iter().find(|mark| mark.number() == number)
    }
}

/// What the owner of a log says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes appends.
    Open,
    /// A flush failed: nothing more is committed until a restart.
    Poisoned,
    /// It was closed.
    Closed,
}

impl State {
    pub(crate) fn of_number(number: u64) -> Option<Self> {
        let all = [Self::Open, Self::Poisoned, Self::Closed];
        all.into_iter().find(|state| *state as u64 == number)
    }
}

/// What the log is, as it is written down when the file is made.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// The life of the log.
    pub generation: u64,
    /// The watermark that readers go by.
    pub committed: Mark,
    /// The first position in the log.
    pub start: u64,
    /// Where it goes on: everything below is on the device.
    pub end: u64,
}

/// The control file of a log that this process appends to. Made anew at each opening, under a name of its own until it is
/// whole; whoever still looks at the one before finds it closed or its owner gone.
///
/// Its owner holds a lock on the file (of the open file: `F_OFD_SETLK`), which readers ask for and never take, so that
/// they notice his death, and never stand in the way of the next.
#[derive(Debug)]
pub struct Control {
    pages: Arc<Pages>,
}

impl Control {
    /// Makes the file in a locked folder.
    pub fn create(folder: &Folder, beginning: &Beginning) -> io::Result<Self> {
        let path = folder.path().join(CONTROL);
        // First, so that its blocks can be had again on a full disk.
        remove_if_there(&path)?;
        let temporary = path.with_extension("tmp");
        // Nothing of it is flushed: the next opening makes another.
        let made = disk::create_empty(&temporary).and_then(|file| {
            disk::allocate(&file, SIZE)?;
            owner::lock(&file)?;
            let control = Self::over(MmapOptions::new().map_raw(&file)?, Some(file), beginning);
            disk::rename(&temporary, &path).map(|()| control)
        });
        made.inspect_err(|_| {
            // The first error is the one to report; a leftover is overwritten by the next attempt.
            let _ = disk::unlink(&temporary);
        })
    }

    /// One that no other process sees.
    pub fn private(beginning: &Beginning) -> io::Result<Self> {
        let pages = MmapOptions::new().len(SIZE as usize).map_anon()?;
        Ok(Self::over(pages.into(), None, beginning))
    }

    fn over(pages: MmapRaw, file: Option<File>, beginning: &Beginning) -> Self {
        let pages = Pages { pages, file };
        let set = |at, value| pages.long(at).store(value, Ordering::Release);
        set(AT_GENERATION, beginning.generation);
        set(AT_PROCESS, u64::from(std::process::id()));
        set(AT_COMMITTED, beginning.committed.number());
        set(AT_STATE, State::Open as u64);
        set(Mark::Start.at(), beginning.start);
        set(Mark::Appended.at(), beginning.end);
        set(Mark::Durable.at(), beginning.end);
        set(AT_MAGIC, MAGIC);
        let pages = Arc::new(pages);
        Self { pages }
    }

    /// The life of the log.
    pub fn generation(&self) -> u64 {
        self.pages.long(AT_GENERATION).load(Ordering::Acquire)
    }

    /// One of its watermarks. Take each once: those who wait in this process wait on one of them.
    pub fn watermark(&self, mark: Mark) -> Watermark {
        Watermark::in_pages(&self.pages, mark.at(), mark.sleepers_at())
    }

    /// Says that the log is no longer open. Wake those who wait for a watermark afterwards.
    pub fn set_state(&self, state: State) {
        self.pages
            .long(AT_STATE)
            .store(state as u64, Ordering::Release);
    }
}

/// Mapped memory whose words are accessed as atomics only.
#[derive(Debug)]
pub(crate) struct Pages {
    pages: MmapRaw,
    /// Holds the owner's lock.
    file: Option<File>,
}

impl Pages {
    /// Pages of another's file. If they are mapped read-only, their words may be loaded only, relaxed.
    pub(crate) fn foreign(pages: MmapRaw, file: File) -> Self {
        let file = Some(file);
        Self { pages, file }
    }

    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// The word of 64 bits at this offset, in bytes. Panics if it does not lie inside.
    pub(crate) fn long(&self, at: usize) -> &AtomicU64 {
        let inside = at.is_multiple_of(8) && at + 8 <= self.pages.len();
        assert!(inside, "a word at {at} of {}", self.pages.len());
        // SAFETY: the word is aligned and lies in the mapping, which lives as long as `self`. The file keeps its length:
        // nobody but its owner writes it. All access, here and in other processes, is atomic.
        unsafe { AtomicU64::from_ptr(self.pages.as_mut_ptr().add(at).cast()) }
    }

    /// The word of 32 bits at this offset, in bytes. Panics if it does not lie inside.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        let inside = at.is_multiple_of(4) && at + 4 <= self.pages.len();
        assert!(inside, "a word at {at} of {}", self.pages.len());
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.pages.as_mut_ptr().add(at).cast()) }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match disk::unlink(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The lock by which others see that the owner lives. It belongs to the open file and goes with it, however the process
/// ends; and unlike `flock` it can be asked for without being taken.
pub(crate) mod owner {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    /// Takes it.
    pub(crate) fn lock(file: &File) -> io::Result<()> {
        let mut lock = whole_file();
        // SAFETY: the descriptor is open, and `lock` is a valid `flock` for as long as the call takes.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Whether somebody holds it, through another open file than this.
    pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
        let mut lock = whole_file();
        // SAFETY: as above.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
        match done {
            0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn whole_file() -> libc::flock {
        // SAFETY: a `flock` is plain numbers, for which zero is a value.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock
    }
}
