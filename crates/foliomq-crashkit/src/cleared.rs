//! Entries whose records the log has lost are cleared at a start, and that process is killed: the next one finds zeros,
//! which the device need not have. It flushes, moves its checkpoint past them, and then the power goes.

use std::fs;
use std::path::Path;

use foliomq_consumequeue::ConsumeQueues;
use foliomq_segment::disk::Flush;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::compaction::{KEPT, POSITIONS, put};
use crate::device::{Behaviour, Cut, Device};

/// Entries whose records stay.
const STAYING: u64 = 20;
/// All that the device has.
const ENTRIES: u64 = 25;
/// Images of each round.
const IMAGES: u64 = 4;

/// See above.
pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let killed = killed_after_clearing(&first)?;
    fs::create_dir(&second).map_err(text)?;
    killed.kill(random).write(&second).map_err(text)?;
    let device = Device::after_kill(&second, Behaviour::leaving_out(lie), &killed).map_err(text)?;
    open(&second, STAYING)?.flush().map_err(text)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    for _ in 0..IMAGES {
        *seen += 1;
        let dir = folder.path().join("image");
        cut.power(random).write(&dir).map_err(text)?;
        // The records of this start come behind those that were lost, and the checkpoint with them.
        let end = open(&dir, u64::MAX / POSITIONS)?.offsets(KEPT).end;
        fs::remove_dir_all(&dir).map_err(text)?;
        if end != STAYING {
            return Err(format!("made up: {end} entries, {STAYING} stayed"));
        }
    }
    Ok(device.lies())
}

/// A process that dies once it has cleared what lies behind the entries that stay.
fn killed_after_clearing(root: &Path) -> Result<Cut, String> {
    fs::create_dir(root).map_err(text)?;
    let queues = open(root, 0)?;
    put(&queues, 0..ENTRIES).map_err(text)?;
    queues.flush().map_err(text)?;
    drop(queues);
    let device = Device::new(root, Behaviour::default()).map_err(text)?;
    let queues = open(root, STAYING)?;
    let end = queues.offsets(KEPT).end;
    match end == STAYING {
        true => device.cut().map_err(text),
        false => Err(format!("{end} entries, {STAYING} stay")),
    }
}

/// The queues, of which so many entries were flushed with a checkpoint.
fn open(root: &Path, entries: u64) -> Result<ConsumeQueues, String> {
    ConsumeQueues::open(&root.join("queues"), entries * POSITIONS).map_err(text)
}
