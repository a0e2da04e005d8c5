//! Single bits are flipped in the records of an open log, further back than what was compared at open: no read serves them.

use std::fs;
use std::path::{Path, PathBuf};

use foliomq_commitlog::{CommitLog, Options, ReadMode, SegmentInfo};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Flip, Flips, Outcome, copy};
use crate::chain::text;
use crate::mode::SEGMENT;

/// An open copy of a log, and what was in it.
pub(super) struct Reads {
    log: CommitLog,
    dir: PathBuf,
    segments: Vec<SegmentInfo>,
    /// Positions and sizes.
    records: Vec<(u64, u32)>,
}

impl Reads {
    /// Copies the log in `dir` to `scratch` and opens it there.
    pub(super) fn of(dir: &Path, scratch: PathBuf, read_mode: ReadMode) -> Result<Self, String> {
        copy(dir, &scratch).map_err(text)?;
        let options = Options {
            segment_size: SEGMENT,
            check_on_open: 0,
            read_mode,
            ..Options::new(&scratch)
        };
        let log = CommitLog::open(options).map_err(text)?.0;
        let segments = log.segments();
        let start = segments.first().map_or(0, |segment| segment.base);
        let records = log.records(start).map(|record| {
            let record = record.map_err(text)?;
            Ok((record.position(), record.size()))
        });
        Ok(Self {
            records: records.collect::<Result<_, String>>()?,
            dir: scratch,
            log,
            segments,
        })
    }

    /// Flips bits anywhere in records, reads the record in both ways, and flips them back.
    pub(super) fn flip(&self, flips: u64, random: &mut StdRng) -> Result<Flips, String> {
        let mut counted = Flips::default();
        for _ in 0..flips {
            let (position, size) = self.records[random.random_range(0..self.records.len())];
            let bit = random.random_range(0..u64::from(size) * 8);
            counted.count(self.read(position, size, bit)?)?;
        }
        Ok(counted)
    }

    fn read(&self, position: u64, size: u32, bit: u64) -> Result<Outcome, String> {
        let holds = |segment: &&SegmentInfo| {
            (segment.base..segment.base + segment.size).contains(&position)
        };
        let segment = self.segments.iter().find(holds).ok_or("no segment")?;
        let bit_of_file = (position - segment.base) * 8 + bit;
        let file = Flip::new(&segment.path, bit_of_file).map_err(text)?;
        let read = self.log.read(position).is_ok();
        let viewed = self.log.view().record(position, size).is_ok();
        file.undo().map_err(text)?;
        self.log.read(position).map_err(text)?;
        Ok(match read || viewed {
            true => Outcome::Served(format!("bit {bit} of the record at {position}")),
            false => Outcome::Refused,
        })
    }

    pub(super) fn close(self) -> Result<(), String> {
        self.log.close().map_err(text)?;
        fs::remove_dir_all(&self.dir).map_err(text)
    }
}
