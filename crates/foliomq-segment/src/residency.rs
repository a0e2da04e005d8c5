//! How much of a segment is in memory, and in what state.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;

use memmap2::{MmapOptions, MmapRaw};

use crate::PAGE;
use crate::page_cache::{self, Counts};
use crate::segment::Segment;

/// State of one segment's pages at about one moment. All figures are bytes of whole pages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Residency {
    /// Mapped for readers, by this process: the whole segment, or 0 when it is looked at from outside.
    pub mapped: u64,
    /// In the page cache.
    pub resident: u64,
    /// Changed, and not yet on the device. `None` where the kernel does not say (before Linux 6.5).
    pub dirty: Option<u64>,
    /// On their way to the device; `None` likewise.
    pub writeback: Option<u64>,
    /// Locked in memory by the log; `None` when looked at from outside.
    pub locked: Option<u64>,
    /// Views that readers hold now, each of one read or of a batch: while there is one, the mapping stays, and the file's
    /// blocks too, deleted or not. Their pages may leave memory all the same. `None` when looked at from outside.
    pub pins: Option<u64>,
    /// The same along the segment: parts of equal size (but for the last), in order.
    pub heat: Vec<Heat>,
}

/// One part of a segment. Shares are of the part's pages, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heat {
    /// In the page cache.
    pub resident: f32,
    /// Dirty or being written; `None` where the kernel does not say.
    pub dirty: Option<f32>,
}

impl Segment {
    /// Looks at every page, in `parts` parts. Takes some 10 microseconds for each GiB, and faults nothing in.
    pub fn residency(&self, parts: usize) -> io::Result<Residency> {
        let mut residency = survey(self.file(), self.size(), parts, || Ok(self.pages()))?;
        let locked = self.locked.load(Ordering::Relaxed);
        residency.mapped = self.size();
        residency.locked = Some(if locked { self.size() } else { 0 });
        residency.pins = Some(self.views.load(Ordering::Relaxed));
        Ok(residency)
    }
}

impl Residency {
    /// Looks at a segment's file from outside: takes no lock and disturbs nobody, whether or not a log is open on it.
    ///
    /// The kernel tells it only to those who may write to the file or own it; to others every page may seem resident.
    pub fn of_file(path: &Path, parts: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut mapping = None;
        survey(&file, size, parts, || {
            let options = MmapOptions::new();
            Ok(&*mapping.insert(options.map_raw_read_only(&file)?))
        })
    }

    /// Bytes of the views' segment: what readers keep mapped; `None` when looked at from outside.
    pub fn pinned(&self) -> Option<u64> {
        self.pins.map(|pins| if pins > 0 { self.mapped } else { 0 })
    }
}

/// By `cachestat`, and where there is none by `mincore` on the mapping that `pages` gives.
fn survey<'a>(
    file: &File,
    size: u64,
    parts: usize,
    pages: impl FnOnce() -> io::Result<&'a MmapRaw>,
) -> io::Result<Residency> {
    let parts: Vec<Range<u64>> = split(size, parts).collect();
    let counted = parts
        .iter()
        .map(|part| page_cache::counts(file, part.clone()));
    let counted: Option<Vec<Counts>> = counted.collect::<io::Result<_>>()?;
    let Some(counted) = counted else {
        return survey_mapping(pages()?, &parts);
    };
    let sum = |of: fn(&Counts) -> u64| counted.iter().map(of).sum::<u64>() * PAGE;
    let heat = counted.iter().zip(&parts).map(|(counts, part)| Heat {
        resident: share(counts.resident, part),
        dirty: Some(share(counts.dirty + counts.writeback, part)),
    });
    Ok(Residency {
        resident: sum(|counts| counts.resident),
        dirty: Some(sum(|counts| counts.dirty)),
        writeback: Some(sum(|counts| counts.writeback)),
        heat: heat.collect(),
        ..Residency::default()
    })
}

fn survey_mapping(pages: &MmapRaw, parts: &[Range<u64>]) -> io::Result<Residency> {
    let mut residency = Residency::default();
    for part in parts {
        let mut found = vec![0; page_count(part) as usize];
        page_cache::look(pages, part.start, &mut found)?;
        let resident = found.iter().filter(|&page| page & 1 == 1).count() as u64;
        residency.resident += resident * PAGE;
        residency.heat.push(Heat {
            resident: share(resident, part),
            dirty: None,
        });
    }
    Ok(residency)
}

/// At most `parts` ranges of whole pages.
fn split(size: u64, parts: usize) -> impl Iterator<Item = Range<u64>> {
    let pages = size.div_ceil(PAGE).div_ceil(parts.max(1) as u64);
    let step = (pages * PAGE).max(PAGE);
    (0..size)
        .step_by(step as usize)
        .map(move |start| start..size.min(start + step))
}

fn page_count(part: &Range<u64>) -> u64 {
    (part.end - part.start).div_ceil(PAGE)
}

fn share(pages: u64, part: &Range<u64>) -> f32 {
    // A page may come or go between two looks.
    (pages as f32 / page_count(part) as f32).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Folder, Publication, SegmentFile};
    use rustix::fs::{Advice, fadvise};
    use std::sync::Arc;

    const SIZE: u64 = 4 << 20;
    const PARTS: usize = 8;

    /// A segment of which nothing is in memory, if the file system can do that.
    fn cold(dir: &Path) -> Option<Arc<Segment>> {
        let folder = Folder::lock(dir).unwrap();
        let file = SegmentFile::create(&folder, 0, SIZE).unwrap();
        file.write_at(0, &vec![7; SIZE as usize]).unwrap();
        file.sync(crate::disk::Flush::TailSealed).unwrap();
        let (publication, _) = Publication::new(SIZE);
        let segment = file.map(&publication).unwrap();
        fadvise(segment.file(), 0, None, Advice::DontNeed).unwrap();
        let resident = segment.residency(1).unwrap().resident;
        if resident > 0 {
            eprintln!("skipped: this file system keeps {resident} bytes in memory");
        }
        (resident == 0).then_some(segment)
    }

    #[test]
    fn what_is_touched_is_resident() {
        let dir = tempfile::tempdir().unwrap();
        let Some(segment) = cold(dir.path()) else {
            return;
        };
        // One part, and nothing around it: by reads without read-ahead.
        fadvise(segment.file(), 0, None, Advice::Random).unwrap();
        let part = SIZE / PARTS as u64;
        let mut page = [0; PAGE as usize];
        for offset in (part..2 * part).step_by(PAGE as usize) {
            segment.read_at(offset, &mut page).unwrap();
        }
        let found = segment.residency(PARTS).unwrap();
        assert_eq!((found.mapped, found.resident), (SIZE, part));
        let heat: Vec<f32> = found.heat.iter().map(|heat| heat.resident).collect();
        assert_eq!(heat, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let parts: Vec<Range<u64>> = split(SIZE, PARTS).collect();
        let by_mapping = survey_mapping(segment.pages(), &parts).unwrap();
        assert_eq!(by_mapping.resident, part);
        let outside = Residency::of_file(segment.path(), PARTS).unwrap();
        assert_eq!((outside.resident, outside.mapped), (part, 0));
        assert_eq!(outside.pins, None);
    }

    #[test]
    fn dirty_is_what_was_written_and_not_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let Some(segment) = cold(dir.path()) else {
            return;
        };
        segment.write_at(SIZE / 2, &[1; 3 * PAGE as usize]).unwrap();
        let Some(dirty) = segment.residency(PARTS).unwrap().dirty else {
            eprintln!("skipped: this kernel has no cachestat");
            return;
        };
        assert!(dirty >= 3 * PAGE, "{dirty}");
        segment.flush(0..SIZE).unwrap();
        assert_eq!(segment.residency(PARTS).unwrap().dirty, Some(0));
    }

    #[test]
    fn a_view_is_a_pin() {
        let dir = tempfile::tempdir().unwrap();
        let Some(segment) = cold(dir.path()) else {
            return;
        };
        let pins = || segment.residency(1).unwrap().pins;
        assert_eq!(pins(), Some(0));
        let bytes = segment.bytes(0, 5).unwrap();
        let part = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(pins(), Some(1));
        assert_eq!(segment.residency(1).unwrap().pinned(), Some(SIZE));
        drop(part);
        assert_eq!(pins(), Some(0));
    }

    #[test]
    fn parts_cover_the_segment() {
        for (size, parts) in [(PAGE, 64), (SIZE, 64), (SIZE + PAGE, 7), (0, 3), (SIZE, 0)] {
            let ranges: Vec<Range<u64>> = split(size, parts).collect();
            assert!(ranges.len() <= parts.max(1));
            assert_eq!(ranges.iter().map(|r| r.end - r.start).sum::<u64>(), size);
        }
    }
}
