//! A log that was closed is opened by a process that says so in the checkpoint, and is killed before it has flushed that.
//! The next one seals what it finds, since nobody closed it, and the power goes. If the device then says that the log was
//! closed, the next one appends over the seal; and if the power goes once more, the seal may be back, with what follows it.

use std::path::Path;

use foliomq_segment::disk::Flush;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Cut, Device};
use crate::log::{SEGMENT, fill, messages, messages_in, open};

/// Images of each round.
const IMAGES: u64 = 4;

/// See above.
pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
    let log = open(&first)?;
    fill(&log, SEGMENT / 2, random)?;
    log.close().map_err(text)?;
    drop(log);

    let device = Device::new(&first, Behaviour::keeping_all(None)).map_err(text)?;
    let killed = at_the_checkpoint(&first, &device)?;
    killed.kill(random).write(&second).map_err(text)?;
    let device = Device::after_kill(&second, Behaviour::keeping_all(lie), &killed).map_err(text)?;
    let sealed = at_the_checkpoint(&second, &device)?;
    sealed.power(random).write(&third).map_err(text)?;
    let lies = device.lies();

    let device = Device::new(&third, Behaviour::default()).map_err(text)?;
    let log = open(&third)?;
    fill(&log, 3 * SEGMENT, random)?;
    let expected = messages(&log)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    for _ in 0..IMAGES {
        *seen += 1;
        let found = messages_in(&folder.path().join("image"), &cut.power(random))?;
        if !expected.starts_with(&found) {
            return Err("made up: messages behind a hole".to_owned());
        }
    }
    Ok(lies)
}

/// The moment at which a process that opens the log has written its first checkpoint.
fn at_the_checkpoint(root: &Path, device: &Device) -> Result<Cut, String> {
    let log = open(root)?;
    let cuts = device.take_cuts();
    device.unplug();
    drop(log);
    let written = Flush::LogCheckpoint.name();
    let cut = cuts.into_iter().find(|cut| cut.before == written);
    cut.ok_or_else(|| format!("{written} was not called"))
}
