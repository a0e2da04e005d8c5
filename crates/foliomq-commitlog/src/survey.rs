//! Looking at a log from outside, without its lock: it may be open in a broker meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use foliomq_segment::Folder;

use crate::checkpoint::Checkpoint;
use crate::header::{Header, Kind};
use crate::scan::{Scan, Stop};

/// What is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// How far the log is known to be durable; `None` if that cannot be read.
    pub checkpoint: Option<Checkpoint>,
    /// Oldest first.
    pub segments: Vec<SegmentSurvey>,
    /// Damage below the durable position, and between the segments. Empty for a sound log.
    pub damage: Vec<Damage>,
}

/// What is in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSurvey {
    /// Position of its first byte.
    pub base: u64,
    /// Its file.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Bytes of the device that it occupies.
    pub allocated: u64,
    /// Messages in it.
    pub messages: u64,
    /// Control records in it.
    pub controls: u64,
    /// The position after its last record or filler.
    pub end: u64,
    /// Unix milliseconds of its first record; 0 if there is none.
    pub first_store_time: u64,
    /// Unix milliseconds of its last record; 0 if there is none.
    pub last_store_time: u64,
    /// Of its first record; 0 if there is none.
    pub generation: u64,
}

/// A stretch of the log that holds no valid record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub position: u64,
    /// Where the next valid record, or segment, begins.
    pub end: u64,
    /// The segment that holds it, or should.
    pub segment: PathBuf,
    /// What does not fit there.
    pub reason: String,
}

impl Survey {
    /// The position after the last record.
    pub fn end(&self) -> u64 {
        self.segments
            .iter()
            .filter(|segment| segment.end > segment.base)
            .map(|segment| segment.end)
            .max()
            .unwrap_or(0)
    }

    /// Whether nothing below the durable position is damaged.
    pub fn sound(&self) -> bool {
        self.damage.is_empty() && (self.checkpoint.is_some() || self.segments.is_empty())
    }
}

/// Counts the records of the log in `dir` by their headers.
pub fn inspect(dir: &Path) -> io::Result<Survey> {
    survey(dir, u64::MAX)
}

/// The same, comparing every record with its checksum.
pub fn verify(dir: &Path) -> io::Result<Survey> {
    survey(dir, 0)
}

/// Walks all segments; checksums are compared from `check_from` on.
fn survey(dir: &Path, check_from: u64) -> io::Result<Survey> {
    // An unreadable checkpoint is a finding, not a failure. Read first: the log only grows meanwhile.
    let checkpoint = match Checkpoint::load(dir) {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
        found => found.ok().flatten(),
    };
    let durable = checkpoint.map_or(u64::MAX, |checkpoint| checkpoint.durable);
    let mut survey = Survey {
        checkpoint,
        segments: Vec::new(),
        damage: Vec::new(),
    };
    for base in Folder::bases(dir)? {
        let path = Folder::path_in(dir, base);
        let file = match File::open(&path) {
            // Retention was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        survey.gap_before(base, &path, durable);
        survey.segment(&file, base, path, durable, check_from)?;
    }
    survey.missing_end(dir);
    Ok(survey)
}

impl Survey {
    fn segment(
        &mut self,
        file: &File,
        base: u64,
        path: PathBuf,
        durable: u64,
        check_from: u64,
    ) -> io::Result<()> {
        let metadata = file.metadata()?;
        let size = metadata.len();
        let mut found = SegmentSurvey::new(base, path, size, metadata.blocks() * 512);
        let mut scan = Scan::new(file, base, size).check_from(check_from);
        while let Some(damage) = found.next_damage(&mut scan, durable)? {
            self.damage.push(damage);
        }
        self.segments.push(found);
        Ok(())
    }

    fn gap_before(&mut self, base: u64, path: &Path, durable: u64) {
        let Some(end) = self.segments.last().map(|last| last.base + last.size) else {
            return;
        };
        if end != base && end < durable {
            let reason = format!("the segment before it ends at {end}");
            self.damage.push(Damage {
                position: end,
                end: base,
                segment: path.to_path_buf(),
                reason,
            });
        }
    }

    fn missing_end(&mut self, dir: &Path) {
        let end = self.segments.last().map_or(0, |last| last.base + last.size);
        let durable = self.checkpoint.map_or(end, |checkpoint| checkpoint.durable);
        if end < durable {
            let reason = "the segment is missing".to_owned();
            self.damage.push(Damage {
                position: end,
                end: durable,
                segment: Folder::path_in(dir, end),
                reason,
            });
        }
    }
}

impl SegmentSurvey {
    fn new(base: u64, path: PathBuf, size: u64, allocated: u64) -> Self {
        Self {
            base,
            path,
            size,
            allocated,
            messages: 0,
            controls: 0,
            end: base,
            first_store_time: 0,
            last_store_time: 0,
            generation: 0,
        }
    }

    /// Walks on to the next damage below `durable`, and past it; `None` at the end.
    pub(crate) fn next_damage(
        &mut self,
        scan: &mut Scan<'_, File>,
        durable: u64,
    ) -> io::Result<Option<Damage>> {
        let stop = scan.walk(self.base + self.size, |header| self.count(header))?;
        let position = scan.position();
        self.end = self.end.max(position);
        let reason = match stop {
            Stop::End => return Ok(None),
            Stop::Blank | Stop::Bad(_) if position >= durable => return Ok(None),
            // Without a checkpoint nobody knows how far the log went: zeros are its end.
            Stop::Blank if durable == u64::MAX => return Ok(None),
            Stop::Blank => "nothing but zeros".to_owned(),
            Stop::Bad(reason) => reason,
        };
        let end = scan.find_next((self.generation != 0).then_some(self.generation))?;
        self.end = end;
        Ok(Some(Damage {
            position,
            end,
            segment: self.path.clone(),
            reason,
        }))
    }

    fn count(&mut self, header: &Header) {
        match header.kind {
            Kind::Message | Kind::Hidden => self.messages += 1,
            Kind::Control => self.controls += 1,
            Kind::Filler => return,
        }
        if self.generation == 0 {
            (self.first_store_time, self.generation) = (header.store_time, header.generation);
        }
        self.last_store_time = header.store_time;
    }
}
