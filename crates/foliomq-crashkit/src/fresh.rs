//! A file has just been made and got its name, and the power goes: it has its length.

use std::fs;

use foliomq_consumequeue::ConsumeQueues;
use foliomq_segment::disk::Flush;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::compaction::{check, put};
use crate::device::{Behaviour, Device};
use crate::log::{SEGMENT, fill, messages_in, open};

/// Images of each round.
const IMAGES: u64 = 4;
/// More than half of what the first file of the pool holds: the next one is made.
const ENTRIES: u64 = 40_000;

/// A log is made where there was none: it opens, and is empty, whatever the power leaves of that.
pub(crate) fn log(lie: Option<Flush>, random: &mut StdRng, seen: &mut u64) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    fs::create_dir(&root).map_err(text)?;
    let device = Device::new(&root, Behaviour::keeping_all(lie)).map_err(text)?;
    let log = open(&root)?;
    let cuts = device.take_cuts();
    device.unplug();
    drop(log);
    for cut in &cuts {
        for _ in 0..IMAGES {
            *seen += 1;
            if !messages_in(&folder.path().join("image"), &cut.power(random))?.is_empty() {
                return Err("made up: messages in a new log".to_owned());
            }
        }
    }
    Ok(device.lies())
}

/// A log goes on in a new segment, and all others are dropped before anything is in it.
pub(crate) fn segment(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::create_dir(&first).map_err(text)?;
    let device = Device::new(&first, Behaviour::default()).map_err(text)?;
    let log = open(&first)?;
    fill(&log, SEGMENT / 2, random)?;
    let killed = device.cut().map_err(text)?;
    drop((device, log));
    killed.kill(random).write(&second).map_err(text)?;

    let device = Device::new(&second, Behaviour::leaving_out(lie)).map_err(text)?;
    let log = open(&second)?;
    let start = log.delete_before(u64::MAX).map_err(text)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    if start != SEGMENT {
        return Err(format!("the log begins at {start}"));
    }
    for _ in 0..IMAGES {
        *seen += 1;
        if !messages_in(&folder.path().join("image"), &cut.power(random))?.is_empty() {
            return Err("made up: messages in a new segment".to_owned());
        }
    }
    Ok(device.lies())
}

/// The pool of the consume queues has a next file ready, of which nothing is used.
pub(crate) fn pool(lie: Option<Flush>, random: &mut StdRng, seen: &mut u64) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    fs::create_dir(&root).map_err(text)?;
    let device = Device::new(&root, Behaviour::leaving_out(lie)).map_err(text)?;
    let queues = ConsumeQueues::open(&root.join("queues"), 0).map_err(text)?;
    put(&queues, 0..ENTRIES).map_err(text)?;
    queues.flush().map_err(text)?;
    // Waits for the next file.
    drop(queues);
    let cut = device.cut().map_err(text)?;
    device.unplug();
    check(folder.path(), &cut, ENTRIES, random, seen)?;
    Ok(device.lies())
}
