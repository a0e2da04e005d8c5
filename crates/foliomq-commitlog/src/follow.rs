//! Reading a log that another process appends to.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foliomq_segment::{Folder, Observer, Segment, State, Wait, Watermarks};
use parking_lot::{Mutex, RwLock};

use crate::error::OpenError;
use crate::followed::FollowedRecords;
use crate::lookup::Lookup;
use crate::record::Record;

/// Segments that stay open for reads by position. Each keeps its blocks on the disk, even after retention has dropped it.
const RECENT: usize = 4;

/// Why a reader in another process got no record.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Retention has removed it. Go on from `start`.
    #[error("position {position} is gone: the log now begins at {start}")]
    Expired {
        /// Asked for.
        position: u64,
        /// The first position still there.
        start: u64,
    },
    /// Not readable yet.
    #[error("position {position} is not committed yet")]
    NotCommitted {
        /// Asked for.
        position: u64,
    },
    /// Not the start of a message, or damaged.
    #[error("no message at position {position}: {reason}")]
    Invalid {
        /// Asked for.
        position: u64,
        /// What does not fit.
        reason: String,
    },
    /// Nothing more comes until a process opens the log again; what is committed can be read. Asking again finds the next
    /// writer, and goes on with it.
    #[error(
        "process {process} has closed the log, or died; nothing new comes until one opens it again"
    )]
    WriterGone {
        /// The number of the process that had it open.
        process: u64,
    },
    /// The log was opened anew, and a recovery or a salvage has given up what stood at the position.
    #[error("position {position} was given up when the log was opened anew; it goes on from {end}")]
    Rewound {
        /// Asked for.
        position: u64,
        /// Where what is appended from now on follows, at the latest.
        end: u64,
    },
    /// The system refused.
    #[error("reading at position {position}: {source}")]
    Io {
        /// Asked for.
        position: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A log that another process has open, read by reference to its pages. Takes no lock and writes nothing but the word of its
/// control file that says that somebody sleeps.
///
/// Its owner does not know of it. So records may be deleted while it reads them: those that it holds stay, and keep the blocks of
/// their segments on the disk.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    wait: Wait,
    /// Of the process that has the log open, or had it last.
    observer: RwLock<Arc<Observer>>,
    /// Segments read last, the newest at the back. All of the present observer.
    recent: Mutex<VecDeque<Arc<Segment>>>,
}

impl LogReader {
    /// Opens a log that another process, or this one, has open.
    pub fn open(dir: &Path, wait: Wait) -> Result<Self, OpenError> {
        let observer = match observe(dir) {
            Ok(Some(observer)) => observer,
            Ok(None) => return Err(OpenError::NoWriter { path: dir.into() }),
            Err(source) => {
                let what = format!("looking at the control file in {}", dir.display());
                return Err(OpenError::Io { what, source });
            }
        };
        Ok(Self {
            dir: dir.to_path_buf(),
            wait,
            observer: RwLock::new(Arc::new(observer)),
            recent: Mutex::default(),
        })
    }

    /// How far the log is.
    pub fn watermarks(&self) -> Watermarks {
        self.observer().watermarks()
    }

    /// The life of the log: random, new after every unclean start.
    pub fn generation(&self) -> u64 {
        self.observer().generation()
    }

    /// What its owner says of the log, which may be dead.
    pub fn state(&self) -> io::Result<State> {
        self.observer().state()
    }

    /// Whether waiting is by looking every millisecond, since the control file may not be written.
    pub fn polls(&self) -> bool {
        self.observer().polls()
    }

    /// The record that begins at `position`. Its structure and its checksum are checked.
    pub fn read(&self, position: u64) -> Result<Record, ReaderError> {
        self.lookup().read(position)
    }

    /// The same for many positions, best in their order: what was found out for one serves the next.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup::new(self, self.observer())
    }

    /// Records from `position` (the start of one, or of a segment) up to what is committed, each compared with its
    /// checksum. `None` means "no more yet".
    pub fn records(self: &Arc<Self>, position: u64) -> FollowedRecords {
        FollowedRecords::new(self.clone(), self.observer(), position)
    }

    /// Blocks until more than `position` is committed, or the time is over (then `false`). Notices within a tenth of a second
    /// if the other process dies.
    pub fn wait_past(&self, position: u64, timeout: Duration) -> Result<bool, ReaderError> {
        let begin = Instant::now();
        loop {
            let observer = self.observer();
            if observer.committed() > position {
                return Ok(true);
            }
            let left = timeout.saturating_sub(begin.elapsed());
            if !self.worth_a_look(&observer, position, left)? {
                return Ok(false);
            }
        }
    }

    /// Blocks until more than `position` is committed by the process that `observer` looks at, or another took its place; or
    /// the time is over: then `false`.
    pub(crate) fn worth_a_look(
        &self,
        observer: &Arc<Observer>,
        position: u64,
        timeout: Duration,
    ) -> Result<bool, ReaderError> {
        let failed = |source| ReaderError::Io { position, source };
        let committed = observer.wait_past(position, timeout, self.wait);
        if committed.map_err(failed)? > position {
            return Ok(true);
        }
        if observer.owned().map_err(failed)? {
            return Ok(false);
        }
        // Its last words may have come after the look at them.
        if observer.committed() <= position {
            self.go_on(observer, position)?;
        }
        Ok(true)
    }

    pub(crate) fn observer(&self) -> Arc<Observer> {
        self.observer.read().clone()
    }

    /// Whether the log was opened anew since `observer` was had.
    pub(crate) fn is_past(&self, observer: &Arc<Observer>) -> bool {
        !Arc::ptr_eq(&self.observer.read(), observer)
    }

    /// Goes on with the next process that has the log open, if there is one.
    fn go_on(&self, last: &Arc<Observer>, position: u64) -> Result<(), ReaderError> {
        let mut observer = self.observer.write();
        if Arc::ptr_eq(&observer, last) {
            let next = observe(&self.dir).map_err(|source| ReaderError::Io { position, source })?;
            let Some(next) = next else {
                let process = last.process();
                return Err(ReaderError::WriterGone { process });
            };
            self.recent.lock().clear();
            *observer = Arc::new(next);
        }
        Ok(())
    }

    /// The segment that holds `position`, which must be committed.
    pub(crate) fn segment(
        &self,
        observer: &Observer,
        position: u64,
    ) -> Result<Arc<Segment>, ReaderError> {
        if position >= observer.committed() {
            return Err(ReaderError::NotCommitted { position });
        }
        let mut recent = self.recent.lock();
        let holds = |segment: &&Arc<Segment>| {
            observer.opened(segment) && (segment.base()..segment.end()).contains(&position)
        };
        if let Some(segment) = recent.iter().find(holds) {
            return Ok(segment.clone());
        }
        let segment = self.open_segment(observer, position)?;
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(segment.clone());
        Ok(segment)
    }

    fn open_segment(
        &self,
        observer: &Observer,
        position: u64,
    ) -> Result<Arc<Segment>, ReaderError> {
        let failed = |source| ReaderError::Io { position, source };
        // The next in turn, most often.
        match observer.segment(position) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(failed),
        }
        loop {
            let bases = Folder::bases(&self.dir).map_err(failed)?;
            let after = bases.partition_point(|&base| base <= position);
            let expired = |index: usize| ReaderError::Expired {
                position,
                start: bases.get(index).copied().unwrap_or(observer.committed()),
            };
            let Some(index) = after.checked_sub(1) else {
                return Err(expired(0));
            };
            match observer.segment(bases[index]) {
                Ok(segment) if position < segment.end() => return Ok(segment),
                Ok(_) => return Err(expired(after)),
                // Deleted meanwhile: the next list is shorter.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// What a process that has the log in `dir` open shows of it; `None` if none has.
fn observe(dir: &Path) -> io::Result<Option<Observer>> {
    match Observer::open(dir) {
        Ok(observer) => Ok(observer.owned()?.then_some(observer)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
