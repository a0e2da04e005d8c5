//! Opening: the tail is found and made good, then the log goes on after it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use foliomq_segment::disk;
use foliomq_segment::{Beginning, Control, Folder, FolderError, Mark, Publication, SegmentFile};

use crate::append::Head;
use crate::checkpoint::{self, Checkpoint, CheckpointFile};
use crate::error::OpenError;
use crate::flusher::Marks;
use crate::options::{Flush, Options};
use crate::segments::{Entry, Segments};
use crate::shared::Shared;
use crate::tail::{Tail, failed};

/// What `open` found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the log was closed before.
    pub clean: bool,
    /// The first position in the log.
    pub start: u64,
    /// The position after the last record.
    pub end: u64,
    /// A torn tail that was cut: from which position, in which segment, and why.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Everything from here on was given up.
    pub position: u64,
    /// The segment that holds the position.
    pub segment: PathBuf,
    /// What did not fit there.
    pub reason: String,
}

/// An open log whose threads do not run yet.
pub(crate) struct Opened {
    pub(crate) shared: Shared,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open(options: Options) -> Result<Opened, OpenError> {
    check(&options)?;
    let folder = Folder::lock(&options.dir).map_err(folder_error)?;
    folder
        .remove_temporary()
        .map_err(failed("removing unfinished segments"))?;
    checkpoint::settle(&options.dir).map_err(failed("flushing the checkpoint"))?;
    let mut tail = Tail::find(&options, &folder)?;
    let cut = tail.recover()?;
    if let Some(cut) = &cut {
        let segment = cut.segment.display();
        tracing::warn!(position = cut.position, %segment, reason = cut.reason, "a torn tail was cut");
    }
    let recovery = Recovery {
        clean: tail.checkpoint.clean,
        start: tail.start(),
        end: tail.end,
        cut,
    };
    let shared = tail.go_on(&options, &folder)?;
    Ok(Opened { shared, recovery })
}

impl Tail {
    /// Opens the log at the end: in the tail segment after a clean close, otherwise in a new segment and generation.
    fn go_on(self, options: &Options, folder: &Arc<Folder>) -> Result<Shared, OpenError> {
        let covered = self
            .files
            .last()
            .map_or(self.end, |last| last.base() + last.size());
        let (position, generation) = match self.checkpoint.clean {
            true => (self.end, self.checkpoint.generation),
            false => (covered, new_generation()),
        };
        let mut file =
            CheckpointFile::open(&options.dir).map_err(failed("opening the checkpoint"))?;
        file.keep_marks(self.mark, options.check_on_open);
        folder
            .sync(disk::Flush::LogOpened)
            .map_err(failed("flushing the folder"))?;
        let checkpoint = Checkpoint {
            durable: position,
            generation,
            clean: false,
            segment_size: options.segment_size,
            store_time: self.store_time,
        };
        // In both slots: one of an earlier life would give up what is appended now if the other were damaged.
        for _slot in 0..2 {
            file.write(&checkpoint)
                .map_err(failed("writing the checkpoint"))?;
        }
        let marks = Marks {
            file,
            durable: position,
            written: Instant::now(),
        };
        self.map(options, position, generation, marks)
    }

    fn map(
        mut self,
        options: &Options,
        position: u64,
        generation: u64,
        marks: Marks,
    ) -> Result<Shared, OpenError> {
        let mapping = failed("mapping a segment");
        let sound_from = self.sound_from();
        let full = self
            .files
            .last()
            .is_none_or(|last| last.base() + last.size() <= position);
        if full {
            let file = SegmentFile::create(&self.folder, position, options.segment_size);
            self.files.push(file.map_err(failed("making a segment"))?);
        }
        let start = self.files.first().map_or(position, SegmentFile::base);
        let control = control(&self.folder, options, generation, start..position)?;
        let appended = control.watermark(Mark::Appended);
        let (publication, mut reserver) = Publication::over(appended, options.writer());
        let mut entries = Vec::with_capacity(self.files.len());
        for file in self.files {
            entries.push(Entry {
                segment: file.map(&publication).map_err(&mapping)?,
                last_store_time: 0,
            });
        }
        for index in 1..entries.len() {
            // At most this; an empty successor knows nothing.
            entries[index - 1].last_store_time = match entries[index].first_store_time() {
                0 => self.store_time,
                time => time,
            };
        }
        let Some(last) = entries.last() else {
            return Err(OpenError::Invalid {
                what: "no segment to append to".to_owned(),
            });
        };
        let writer = options.writer().open(&last.segment).map_err(&mapping)?;
        reserver
            .go_on(writer)
            .map_err(|refused| OpenError::Invalid {
                what: refused.to_string(),
            })?;
        let head = Head {
            reserver,
            wake_at: position,
            closed: false,
        };
        let mut shared = Shared::new(
            options.clone(),
            self.folder,
            control,
            head,
            publication,
            Segments::new(entries),
            marks,
        );
        shared.sound_from = sound_from;
        shared.store_time.store(self.store_time, Ordering::Relaxed);
        Ok(shared)
    }
}

/// Makes the control file of a log that holds these `positions`. Without room for it (two pages) the log opens all the same,
/// unseen by other processes.
fn control(
    folder: &Folder,
    options: &Options,
    generation: u64,
    positions: Range<u64>,
) -> Result<Control, OpenError> {
    let beginning = Beginning {
        generation,
        committed: match options.flush {
            Flush::Sync => Mark::Durable,
            Flush::Async { .. } => Mark::Appended,
        },
        start: positions.start,
        end: positions.end,
    };
    let control = match Control::create(folder, &beginning) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(%error, "no room for the control file: other processes cannot follow this log");
            Control::private(&beginning)
        }
        made => made,
    };
    control.map_err(failed("making the control file"))
}

fn check(options: &Options) -> Result<(), OpenError> {
    let size = options.segment_size;
    if !size.is_power_of_two() || !(Options::MIN_SEGMENT..=Options::MAX_SEGMENT).contains(&size) {
        let what =
            format!("a segment size of {size} bytes is not a power of two from 64 KiB to 4 GiB");
        return Err(OpenError::Invalid { what });
    }
    Ok(())
}

fn folder_error(error: FolderError) -> OpenError {
    match error {
        FolderError::Locked(path) => OpenError::Locked { path },
        FolderError::Io { path, source } => OpenError::Io {
            what: format!("opening {}", path.display()),
            source,
        },
    }
}

/// Random: the standard library seeds its hashers from the system.
pub(crate) fn new_generation() -> u64 {
    RandomState::new().build_hasher().finish()
}
