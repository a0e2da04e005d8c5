//! What a device holds after the power was cut: everything before the last flush, in order, and of what was written
//! since, any part in any order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::events::{Event, Kind, Record};
use crate::image::{copy_sparse, punch};

/// What a device writes whole or not at all.
const SECTOR: usize = 512;
/// Where ext4 has its superblock, 1 KiB, and the second sector of it. It has a checksum over both and is not always
/// written through the journal, so ext4 itself does not survive it torn: it is written whole or not at all.
const SUPERBLOCK_END: u64 = 1024 + SECTOR as u64;
/// A device that lies has lied about at most so many flushes.
const LIES: usize = 20;

/// Where the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Events before it have happened.
    pub at: usize,
    /// Of these, the ones that are surely on the device.
    pub flushed: usize,
}

/// `count` points in time from event `first` on, ascending: some anywhere, some right after the load noted something,
/// some right before a flush, when most is at stake.
pub fn points(
    record: &Record,
    first: usize,
    count: usize,
    lies: bool,
    random: &mut StdRng,
) -> Vec<Point> {
    let of = |wanted, after| events_of(record, first, wanted, after);
    let choices = [
        of(Kind::changes, 1),
        of(|kind| kind == Kind::Note, 1),
        of(|kind| kind == Kind::Flush, 0),
    ];
    let mut flushes = of(|kind| kind == Kind::Flush, 1);
    flushes.insert(0, first);
    let mut points = Vec::with_capacity(count);
    for n in 0..count {
        let choice = &choices[n % choices.len()];
        if choice.is_empty() {
            continue;
        }
        let at = choice[random.random_range(0..choice.len())];
        let known = flushes.partition_point(|&flush| flush <= at);
        let lied = if lies {
            random.random_range(1..=LIES)
        } else {
            0
        };
        let flushed = flushes[known.saturating_sub(1 + lied)];
        points.push(Point { at, flushed });
    }
    points.sort_unstable_by_key(|point| (point.flushed, point.at));
    points
}

/// The events from `first` on whose kind is wanted: where each begins (`after` 0), or ends (1).
fn events_of(record: &Record, first: usize, wanted: fn(Kind) -> bool, after: usize) -> Vec<usize> {
    let events = record.events.iter().enumerate().skip(first);
    events
        .filter(|(_, event)| wanted(event.kind))
        .map(|(n, _)| n + after)
        .collect()
}

/// A recording that is played again.
#[derive(Debug)]
pub struct Replay<'a> {
    record: &'a Record,
    /// The device after the first `applied` events.
    base: File,
    applied: usize,
}

impl<'a> Replay<'a> {
    /// `base` is the device before the first event.
    pub fn new(record: &'a Record, base: File) -> Self {
        Self {
            record,
            base,
            applied: 0,
        }
    }

    /// Makes the device as it is after a cut at `point`, in a new file. Points must not descend.
    pub fn cut(&mut self, point: Point, random: &mut StdRng, path: &Path) -> io::Result<File> {
        for event in &self.record.events[self.applied..point.flushed] {
            apply(self.record, &self.base, event, || true)?;
        }
        self.applied = self.applied.max(point.flushed);
        let image = copy_sparse(&self.base, path)?;
        let mut since: Vec<&Event> = self.record.events[point.flushed..point.at]
            .iter()
            .filter(|event| event.kind.changes())
            .collect();
        since.shuffle(random);
        // Anything between nothing and all of it had reached the device by itself.
        let share = 1.0 - random.random_range(0.0..1.0f64).powi(3);
        let torn = random.random_range(0.0..0.5);
        for event in since {
            let torn = random.random_bool(torn);
            if torn || random.random_bool(share) {
                apply(self.record, &image, event, || {
                    !torn || random.random_bool(share)
                })?;
            }
        }
        Ok(image)
    }
}

/// Does to `device` what the event did, sector by sector, where `reached` says so.
fn apply(
    record: &Record,
    device: &File,
    event: &Event,
    mut reached: impl FnMut() -> bool,
) -> io::Result<()> {
    match event.kind {
        Kind::Zero => punch(device, event.offset, event.len),
        Kind::Write => {
            let bytes = record.bytes(event)?;
            let (mut start, mut end) = (0, 0);
            let mut reaches = true;
            // Neighbours in one go.
            for sector in bytes.chunks(SECTOR) {
                if event.offset + end as u64 != SUPERBLOCK_END {
                    reaches = reached();
                }
                if !reaches {
                    device.write_all_at(&bytes[start..end], event.offset + start as u64)?;
                    start = end + sector.len();
                }
                end += sector.len();
            }
            device.write_all_at(&bytes[start..end], event.offset + start as u64)
        }
        Kind::Flush | Kind::Note => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rand::SeedableRng;

    use super::*;
    use crate::events::Recorder;

    const SIZE: usize = 64 << 10;

    fn record(dir: &Path) -> Record {
        let path = dir.join("record");
        let mut recorder = Recorder::create(&path).unwrap();
        let mut write = |offset: u64, byte: u8| {
            let bytes = [byte; 4096];
            recorder.add(Kind::Write, offset, 4096, &bytes).unwrap();
        };
        write(0, 1);
        write(8192, 2);
        recorder.add(Kind::Flush, 0, 0, b"").unwrap();
        let mut write = |offset: u64, byte: u8| {
            let bytes = [byte; 4096];
            recorder.add(Kind::Write, offset, 4096, &bytes).unwrap();
        };
        write(0, 3);
        write(0, 4);
        recorder.add(Kind::Zero, 8192, 4096, b"").unwrap();
        Record::load(&path).unwrap()
    }

    fn blank(path: PathBuf) -> File {
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        file.set_len(SIZE as u64).unwrap();
        file
    }

    #[test]
    fn what_was_flushed_is_there_and_each_sector_is_of_some_time() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        let mut random = StdRng::seed_from_u64(1);
        let mut replay = Replay::new(&record, blank(dir.path().join("base")));
        let point = Point { at: 6, flushed: 3 };
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..200 {
            let path = dir.path().join(n.to_string());
            replay.cut(point, &mut random, &path).unwrap();
            let bytes = std::fs::read(path).unwrap();
            for sector in bytes[..4096].chunks(SECTOR) {
                assert!(
                    sector.iter().all(|&byte| byte == sector[0]),
                    "half a sector"
                );
                seen.insert((0, sector[0]));
            }
            seen.insert((8192, bytes[8192]));
        }
        let any = [(0, 1), (0, 3), (0, 4), (8192, 0), (8192, 2)];
        assert_eq!(seen, any.into_iter().collect());
    }

    #[test]
    fn the_superblock_is_not_torn() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        let mut random = StdRng::seed_from_u64(3);
        let mut replay = Replay::new(&record, blank(dir.path().join("base")));
        let point = Point { at: 6, flushed: 3 };
        let mut elsewhere = 0;
        for n in 0..100 {
            let path = dir.path().join(n.to_string());
            replay.cut(point, &mut random, &path).unwrap();
            let bytes = std::fs::read(path).unwrap();
            assert_eq!(bytes[1024], bytes[1024 + SECTOR]);
            elsewhere += u32::from(bytes[2048] != bytes[2048 + SECTOR]);
        }
        assert!(elsewhere > 0);
    }

    #[test]
    fn a_point_knows_its_last_flush() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(dir.path());
        let mut random = StdRng::seed_from_u64(2);
        for point in points(&record, 0, 60, false, &mut random) {
            assert_eq!(point.flushed, if point.at >= 3 { 3 } else { 0 });
        }
        assert!(
            points(&record, 0, 60, true, &mut random)
                .iter()
                .all(|point| point.flushed == 0)
        );
    }
}
