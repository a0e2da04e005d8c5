//! The directory of extents is written anew when most of it is dead, and the power goes after more was added to it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use foliomq_consumequeue::{ConsumeQueues, Entry, IndexError};
use foliomq_segment::disk::Flush;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Cut, Device};

/// Queues that come and go: more than enough for the directory to be written anew.
const QUEUES: u32 = 400;
/// How often they do.
const TIMES: u32 = 4;
/// A queue that stays.
pub(crate) const KEPT: u32 = 1_000_000;
/// Positions of the log from one entry's record to the next.
pub(crate) const POSITIONS: u64 = 64;
/// Entries that it gets after each start.
const ENTRIES: u64 = 40;
/// Images of each round.
const IMAGES: u64 = 4;

/// The power goes while queues come and go, and after it.
pub(crate) fn after_compaction(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    fs::create_dir(&root).map_err(text)?;
    let behaviour = Behaviour {
        share: 0.3,
        ..Behaviour::leaving_out(lie)
    };
    let device = Device::new(&root, behaviour).map_err(text)?;
    let queues = ConsumeQueues::open(&root.join("queues"), 0).map_err(text)?;
    put(&queues, 0..ENTRIES).map_err(text)?;
    queues.flush().map_err(text)?;
    device.promise(1);
    fill(&queues).map_err(text)?;
    put(&queues, ENTRIES..2 * ENTRIES).map_err(text)?;
    queues.flush().map_err(text)?;
    device.promise(2);
    let mut cuts = device.take_cuts();
    cuts.push(device.cut().map_err(text)?);
    device.unplug();
    for cut in &cuts {
        check(folder.path(), cut, cut.moment * ENTRIES, random, seen)?;
    }
    Ok(device.lies())
}

/// The process is killed between a write to the directory and its flush; the next one flushes, and then the power goes.
pub(crate) fn after_kill(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    killed_before(Flush::Extents, lie, random, seen)
}

/// The same between the making of a pool's file and the flush of its name.
pub(crate) fn after_kill_unnamed(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    killed_before(Flush::WordsNamed, lie, random, seen)
}

fn killed_before(
    flush: Flush,
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let killed = killed(&first, flush)?;
    fs::create_dir(&second).map_err(text)?;
    killed.kill(random).write(&second).map_err(text)?;
    let device = Device::after_kill(&second, Behaviour::leaving_out(lie), &killed).map_err(text)?;
    let queues = ConsumeQueues::open(&second.join("queues"), u64::MAX).map_err(text)?;
    if queues.offsets(KEPT).is_empty() {
        put(&queues, 0..ENTRIES).map_err(text)?;
    }
    let end = queues.offsets(KEPT).end;
    queues.flush().map_err(text)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    check(folder.path(), &cut, end, random, seen)?;
    Ok(device.lies())
}

/// A process that dies before a flush.
fn killed(root: &Path, before: Flush) -> Result<Cut, String> {
    fs::create_dir(root).map_err(text)?;
    let device = Device::new(root, Behaviour::default()).map_err(text)?;
    let queues = ConsumeQueues::open(&root.join("queues"), 0).map_err(text)?;
    put(&queues, 0..ENTRIES).map_err(text)?;
    queues.flush().map_err(text)?;
    let mut cuts = device.take_cuts().into_iter();
    let cut = cuts.find(|cut| cut.before == before.name());
    cut.ok_or_else(|| format!("{before:?} was not called"))
}

/// Whether each image of the moment holds the entries up to `end`, at least.
pub(crate) fn check(
    folder: &Path,
    cut: &Cut,
    end: u64,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<(), String> {
    for _ in 0..IMAGES {
        *seen += 1;
        let dir = folder.join("image");
        cut.power(random).write(&dir).map_err(text)?;
        let opened = ConsumeQueues::open(&dir.join("queues"), u64::MAX);
        let offsets = opened.map_err(text)?.offsets(KEPT);
        fs::remove_dir_all(&dir).map_err(text)?;
        if offsets.end < end {
            return Err(format!("lost: of {end} entries there are {offsets:?}"));
        }
    }
    Ok(())
}

/// Queues that come and go.
fn fill(queues: &ConsumeQueues) -> Result<(), IndexError> {
    for _ in 0..TIMES {
        for queue in 0..QUEUES {
            queues.put(queue, 0, entry(0))?;
        }
        queues.flush()?;
        (0..QUEUES).for_each(|queue| queues.remove(queue));
        queues.flush()?;
    }
    Ok(())
}

/// Puts entries of the queue that stays.
pub(crate) fn put(queues: &ConsumeQueues, mut offsets: Range<u64>) -> Result<(), IndexError> {
    offsets.try_for_each(|offset| queues.put(KEPT, offset, entry(offset)))
}

fn entry(offset: u64) -> Entry {
    Entry {
        position: offset * POSITIONS,
        size: 64,
        tag_hash: 0,
        store_time: offset,
    }
}
