//! The end of the log on the disk: where it is, and how it is made good.
//!
//! The result is a prefix of what was appended that holds everything acknowledged, and a crash in here leads to the same
//! result at the next start: later segments go first, then the torn one is sealed, then the checkpoint moves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foliomq_segment::disk::{self, Flush};
use foliomq_segment::{Folder, SegmentFile, WriterKind};

use crate::checkpoint::{self, Checkpoint};
use crate::error::OpenError;
use crate::header::{HEADER, Header, filler_size};
use crate::options::Options;
use crate::recovery::{Cut, new_generation};
use crate::scan::{Scan, Stop};

/// Bytes of the largest folio in which the kernel caches a file, on the usual machines.
const LARGEST_FOLIO: u64 = 2 << 20;

/// The segments on the disk, and how much of them counts.
pub(crate) struct Tail {
    dir: PathBuf,
    pub(crate) folder: Arc<Folder>,
    pub(crate) checkpoint: Checkpoint,
    /// Bytes before the durable position that are compared with their checksums.
    check: u64,
    /// The start of a record some way before the durable position, or 0.
    pub(crate) mark: u64,
    /// Whether what lies ahead in the tail segment is made as if never written.
    unwrite: bool,
    /// Ascending, without gaps.
    pub(crate) files: Vec<SegmentFile>,
    /// The position after the last good record.
    pub(crate) end: u64,
    /// Unix milliseconds of the last good record.
    pub(crate) store_time: u64,
}

impl Tail {
    pub(crate) fn find(options: &Options, folder: &Arc<Folder>) -> Result<Self, OpenError> {
        let bases = Folder::bases(&options.dir).map_err(failed("listing the segments"))?;
        let checkpoint = match (Checkpoint::load(&options.dir), bases.is_empty()) {
            (Ok(Some(checkpoint)), _) => checkpoint,
            (Ok(None) | Err(_), true) => first_checkpoint(options),
            (Ok(None), false) => return Err(no_checkpoint(&options.dir, "it is missing")),
            (Err(error), false) => return Err(no_checkpoint(&options.dir, &error.to_string())),
        };
        let mut tail = Self {
            dir: options.dir.clone(),
            folder: folder.clone(),
            checkpoint,
            check: options.check_on_open,
            mark: checkpoint::mark(&options.dir)
                .unwrap_or_default()
                .min(checkpoint.durable),
            unwrite: options.writer() == WriterKind::Mapped,
            files: Vec::new(),
            end: checkpoint.durable,
            store_time: checkpoint.store_time,
        };
        for base in bases {
            tail.add(base)?;
        }
        Ok(tail)
    }

    /// Takes in the segment at `base`, or drops it where it cannot follow what was there before.
    fn add(&mut self, base: u64) -> Result<(), OpenError> {
        let durable = self.checkpoint.durable;
        let expected = self
            .files
            .last()
            .map_or(base, |last| last.base() + last.size());
        let problem = match SegmentFile::open(&self.folder, base) {
            Ok(file) if base == expected => {
                self.files.push(file);
                return Ok(());
            }
            Ok(_) => format!("the segment before it ends at {expected}"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
            Err(error) => return Err(failed("opening a segment")(error)),
        };
        if expected.min(base) < durable {
            return Err(self.corrupt(expected.min(base), &problem));
        }
        let path = self.folder.segment_path(base);
        tracing::warn!(segment = %path.display(), problem, "a segment beyond the durable position was dropped");
        disk::unlink(&path).map_err(failed("removing a segment"))
    }

    pub(crate) fn start(&self) -> u64 {
        self.files.first().map_or(self.end, SegmentFile::base)
    }

    /// From here on [`recover`](Self::recover) compares checksums.
    pub(crate) fn sound_from(&self) -> u64 {
        self.checkpoint.durable.saturating_sub(self.check)
    }

    /// Finds the end of what counts, and cuts what follows.
    pub(crate) fn recover(&mut self) -> Result<Option<Cut>, OpenError> {
        let durable = self.checkpoint.durable;
        let covered = self
            .files
            .last()
            .map_or(durable, |last| last.base() + last.size());
        let vanished = self.files.is_empty() && durable > 0;
        if covered < durable || self.start() > durable || vanished {
            return Err(self.corrupt(covered, "the segment that should hold it is missing"));
        }
        self.check_durable()?;
        let stop = if self.checkpoint.clean {
            Stop::Blank
        } else {
            self.scan_on()?
        };
        let stop = self.look_beyond(stop)?;
        let cut = match stop {
            Stop::Bad(reason) => Some(Cut {
                position: self.end,
                segment: self.folder.segment_path(self.base()),
                reason,
            }),
            Stop::Blank | Stop::End => None,
        };
        self.drop_after_end()?;
        match self.checkpoint.clean {
            true => self.reopen_tail()?,
            false => self.seal()?,
        }
        Ok(cut)
    }

    /// Base of the segment that holds the end, or would.
    fn base(&self) -> u64 {
        let holds =
            |file: &&SegmentFile| (file.base()..file.base() + file.size()).contains(&self.end);
        self.files
            .iter()
            .find(holds)
            .map_or(self.end, SegmentFile::base)
    }

    /// Checks the last records below the durable position, structure and checksums: as many bytes as are set, and those
    /// from the mark before them on. Without a mark, the structure from the segment's start on.
    fn check_durable(&mut self) -> Result<(), OpenError> {
        let durable = self.checkpoint.durable;
        let check_from = durable.saturating_sub(self.check);
        for file in &self.files {
            let (base, end) = (file.base(), file.base() + file.size());
            if base >= durable || end <= check_from.min(durable - 1) {
                continue;
            }
            let mut scan = Scan::new(file, base, file.size())
                .from(self.scan_from(base, check_from))
                .check_from(check_from);
            let stop = scan
                .walk(durable.min(end), |_| {})
                .map_err(failed("reading a segment"))?;
            if let Stop::Bad(_) | Stop::Blank = stop {
                let reason = if let Stop::Bad(reason) = stop {
                    reason
                } else {
                    "nothing but zeros".to_owned()
                };
                return Err(self.corrupt(scan.position(), &reason));
            }
        }
        Ok(())
    }

    /// Where a record begins from which the segment at `base` is read, to check what lies from `check_from` on.
    fn scan_from(&self, base: u64, check_from: u64) -> u64 {
        if self.mark > check_from {
            return base;
        }
        base.max(self.mark)
    }

    /// Walks on from the durable position, over what came after the checkpoint: over what the device has of it. After a
    /// failed flush the page cache may hold records that never got there, in pages that it takes for clean.
    fn scan_on(&mut self) -> Result<Stop, OpenError> {
        let mut stop = Stop::End;
        for file in &self.files {
            let (base, end) = (file.base(), file.base() + file.size());
            if end <= self.end {
                continue;
            }
            let from = self.end;
            let device = file.uncached().map_err(failed("opening a segment"))?;
            let mut scan = Scan::new(&device, base, file.size())
                .from(from)
                .generation(self.checkpoint.generation);
            let store_time = &mut self.store_time;
            stop = scan
                .walk(end, |header| {
                    *store_time = (*store_time).max(header.store_time)
                })
                .map_err(failed("reading a segment"))?;
            self.end = scan.position();
            if self.end < end {
                break;
            }
        }
        Ok(stop)
    }

    /// A tail that ends in zeros is torn all the same if a later segment holds something.
    fn look_beyond(&self, stop: Stop) -> Result<Stop, OpenError> {
        let Stop::Blank = stop else { return Ok(stop) };
        for file in self.files.iter().filter(|file| file.base() > self.end) {
            let mut first = [0; HEADER];
            file.read_at(0, &mut first)
                .map_err(failed("reading a segment"))?;
            if first != [0; HEADER] {
                return Ok(Stop::Bad(format!(
                    "nothing was written here, yet the segment at {} holds records",
                    file.base()
                )));
            }
        }
        Ok(Stop::Blank)
    }

    /// Removes the segments that begin at or after the end, the last one first, so that no crash leaves a hole. One
    /// segment always stays: a folder without any would look like a log that was lost.
    ///
    /// The folder is flushed though there be none: a process that was killed may have removed them, and were they to come
    /// back, their records would follow what is written at the end next.
    fn drop_after_end(&mut self) -> Result<(), OpenError> {
        let kept = self
            .files
            .partition_point(|file| file.base() < self.end)
            .max(1);
        for file in self.files.drain(kept.min(self.files.len())..).rev() {
            self.folder
                .remove(file.base())
                .map_err(failed("removing a segment"))?;
        }
        self.folder
            .sync(Flush::TailDropped)
            .map_err(failed("flushing the folder"))
    }

    /// Makes the tail segment, which is written on, like a new one: what the scan has read of it leaves the page cache,
    /// where the scan has put it in large folios, and what lies ahead, where an earlier window was made ready and the
    /// kernel has written its zeros, is not read from the device, page by page, to be made ready again.
    fn reopen_tail(&self) -> Result<(), OpenError> {
        let Some(file) = self.files.last() else {
            return Ok(());
        };
        if self.unwrite {
            let offset = self.end.saturating_sub(file.base());
            file.unwrite_from(offset)
                .map_err(failed("making the rest of the tail segment as new"))?;
        }
        let check_from = self.checkpoint.durable.saturating_sub(self.check);
        let start = self.scan_from(file.base(), check_from) - file.base();
        file.drop_cached(start / LARGEST_FOLIO * LARGEST_FOLIO)
            .map_err(failed("dropping cached pages"))
    }

    /// Makes what was found durable, and ends the tail segment where it ends: nothing is written to it again.
    fn seal(&mut self) -> Result<(), OpenError> {
        for file in &self.files {
            let end = file.base() + file.size();
            if end <= self.checkpoint.durable {
                continue;
            }
            if self.end < end {
                self.fill(file)
                    .map_err(failed("sealing the tail segment"))?;
            }
            file.sync(Flush::TailSealed)
                .map_err(failed("flushing a segment"))?;
        }
        Ok(())
    }

    fn fill(&self, file: &SegmentFile) -> io::Result<()> {
        let room = file.base() + file.size() - self.end;
        let header = Header::filler(
            self.end,
            filler_size(room),
            self.checkpoint.generation,
            self.store_time,
        );
        let header = header.encode();
        let offset = self.end - file.base();
        file.punch_from(offset)?;
        file.write_at(offset, &header)
    }

    fn corrupt(&self, position: u64, reason: &str) -> OpenError {
        let holds =
            |file: &&SegmentFile| (file.base()..file.base() + file.size()).contains(&position);
        let base = self
            .files
            .iter()
            .find(holds)
            .map_or(position, SegmentFile::base);
        OpenError::Corrupt {
            position,
            segment: self.folder.segment_path(base),
            durable: self.checkpoint.durable,
            reason: reason.to_owned(),
            dir: self.dir.clone(),
        }
    }
}

fn first_checkpoint(options: &Options) -> Checkpoint {
    let generation = new_generation();
    Checkpoint {
        durable: 0,
        generation,
        clean: true,
        segment_size: options.segment_size,
        store_time: 0,
    }
}

fn no_checkpoint(dir: &Path, problem: &str) -> OpenError {
    let dir = dir.display();
    let what = format!(
        "the checkpoint of {dir} cannot be used: {problem}; nothing was changed. To keep what is readable, run: foliomq verify --salvage {dir}"
    );
    OpenError::Invalid { what }
}

pub(crate) fn failed(what: &str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io {
        what: what.to_owned(),
        source,
    }
}
