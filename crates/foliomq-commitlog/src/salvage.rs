//! Keeping what is readable of a damaged log.
//!
//! Every damaged stretch below the durable position is covered by a filler, so that the records after it stay where they
//! are and readable; missing segments are replaced by segments of filler. Then the checkpoint is written anew. What
//! stands in the damaged stretches is lost; their bytes are left as they are behind the fillers' headers.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use foliomq_segment::disk::{self, Flush};
use foliomq_segment::{Folder, FolderError, PAGE, SegmentFile};

use crate::checkpoint::{self, Checkpoint, CheckpointFile};
use crate::header::{HEADER, Header, filler_size};
use crate::options::Options;
use crate::scan::Scan;
use crate::survey::{Damage, SegmentSurvey, Survey, verify};

/// A missing stretch is filled by segments of at most this size.
const PATCH: u64 = 1 << 30;

/// Repairs the log in `dir`, which nobody may have open. Returns what was lost; the log opens afterwards.
pub fn salvage(dir: &Path) -> io::Result<Vec<Damage>> {
    let folder = Folder::lock(dir).map_err(|error| match error {
        FolderError::Locked(_) => io::Error::new(io::ErrorKind::ResourceBusy, error.to_string()),
        FolderError::Io { source, .. } => source,
    })?;
    mend_lengths(dir)?;
    let mut survey = verify(dir)?;
    if make_room(&survey)? {
        survey = verify(dir)?;
    }
    for damage in &survey.damage {
        cover(&folder, &survey, damage)?;
    }
    write_checkpoint(dir, &survey)?;
    folder.sync(Flush::SalvagedCheckpoint)?;
    Ok(survey.damage)
}

/// Segments that were cut short are brought to a length that can be mapped; what is missing reads as zeros. All are flushed:
/// a salvage that was killed may have mended them, and this one finds nothing to do.
fn mend_lengths(dir: &Path) -> io::Result<()> {
    for base in Folder::bases(dir)? {
        let file = File::options()
            .write(true)
            .open(Folder::path_in(dir, base))?;
        let len = file.metadata()?.len();
        let mended = len.max(1).next_multiple_of(PAGE);
        if mended != len {
            disk::set_len(&file, mended)?;
        }
        disk::flush(Flush::SalvagedLength, &file)?;
    }
    Ok(())
}

/// Lengthens segments that were cut short just behind a record, where no filler has room: a later one begins a page behind, at
/// least. Returns whether there were any.
fn make_room(survey: &Survey) -> io::Result<bool> {
    let mut made = false;
    for damage in &survey.damage {
        let too_small = damage.end - damage.position < HEADER as u64;
        let cut_short = survey.segments.iter().find(|segment| {
            too_small && segment.path == damage.segment && segment.base + segment.size == damage.end
        });
        if let Some(segment) = cut_short {
            let file = File::options().write(true).open(&segment.path)?;
            disk::set_len(&file, segment.size + PAGE)?;
            disk::flush(Flush::SalvagedLength, &file)?;
            made = true;
        }
    }
    Ok(made)
}

fn cover(folder: &Arc<Folder>, survey: &Survey, damage: &Damage) -> io::Result<()> {
    let holds = |base: u64, size: u64| (base..base + size).contains(&damage.position);
    match survey
        .segments
        .iter()
        .find(|segment| holds(segment.base, segment.size))
    {
        Some(segment) => {
            let file = SegmentFile::open(folder, segment.base)?;
            cover_headers(&file, damage, segment)
        }
        None => patch(folder, damage),
    }
}

/// Fills the stretch, and begins another filler at each header in it that fits its place: an index may lead to it, and
/// readers that come by an index do not look at checksums.
fn cover_headers(file: &SegmentFile, damage: &Damage, segment: &SegmentSurvey) -> io::Result<()> {
    let mut scan = Scan::new(file, file.base(), file.size()).from(damage.position);
    let mut start = damage.position;
    while start < damage.end {
        let next = scan.find_header()?;
        let end = match next + HEADER as u64 <= damage.end {
            true => next,
            false => damage.end,
        };
        fill(
            file,
            start,
            end,
            segment.generation,
            segment.last_store_time,
        )?;
        start = end;
    }
    file.sync(Flush::SalvagedFiller)
}

/// Makes segments of filler where there are none.
fn patch(folder: &Arc<Folder>, damage: &Damage) -> io::Result<()> {
    let end = damage.end.next_multiple_of(PAGE);
    let mut position = damage.position;
    while position < end {
        let size = (end - position).min(PATCH);
        let file = SegmentFile::create(folder, position, size)?;
        fill(&file, position, position + size, 0, 0)?;
        file.sync(Flush::SalvagedFiller)?;
        position += size;
    }
    Ok(())
}

fn fill(
    file: &SegmentFile,
    start: u64,
    end: u64,
    generation: u64,
    store_time: u64,
) -> io::Result<()> {
    let header = Header::filler(start, filler_size(end - start), generation, store_time);
    file.write_at(start - file.base(), &header.encode())
}

/// Says that all that is there now is durable, and that the log was not closed.
fn write_checkpoint(dir: &Path, survey: &Survey) -> io::Result<()> {
    let covered = survey.damage.iter().map(|damage| damage.end);
    let checkpoint = match survey.checkpoint {
        Some(old) => Checkpoint {
            durable: covered.fold(old.durable, u64::max),
            clean: false,
            ..old
        },
        None => {
            let last = survey
                .segments
                .iter()
                .rev()
                .find(|segment| segment.generation != 0);
            Checkpoint {
                durable: covered.fold(survey.end(), u64::max),
                generation: last.map_or(0, |segment| segment.generation),
                clean: false,
                segment_size: last.map_or(Options::MIN_SEGMENT, |segment| segment.size),
                store_time: last.map_or(0, |segment| segment.last_store_time),
            }
        }
    };
    match Checkpoint::load(dir) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            disk::unlink(&dir.join(checkpoint::NAME))?
        }
        other => drop(other?),
    }
    CheckpointFile::open(dir)?.write(&checkpoint)
}
