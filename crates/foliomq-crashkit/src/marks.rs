//! The indexes are made anew, and the power goes while that is done: no mark of the old ones counts for the new ones.

use std::fs;

use foliomq_segment::disk::Flush;
use foliomq_store::Message;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Device};
use crate::history::{Contents, QUEUES, TOPIC, make_topic};
use crate::mode::MODES;

/// Messages in the store.
const MESSAGES: u32 = 12;
/// Images of each moment.
const IMAGES: u64 = 16;

/// A store loses the folder of its consume queues, and is opened. Where a folder has just been made, the power goes.
pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    let dir = root.join("store");
    let mut options = MODES[0].options(&dir, random);
    options.retention.size = None;
    let store = options.clone().open().map_err(text)?;
    make_topic(&store).map_err(text)?;
    for n in 0..MESSAGES {
        let message = Message::new(b"kept");
        let appended = store.append_to(TOPIC, n % QUEUES, &message);
        appended.map_err(text)?;
    }
    let expected = Contents::of(&store).map_err(text)?;
    store.close().map_err(text)?;
    drop(store);
    fs::remove_dir_all(dir.join("consumequeue")).map_err(text)?;

    let device = Device::new(&root, Behaviour::keeping_all(lie)).map_err(text)?;
    let store = options.clone().open().map_err(text)?;
    let cuts = device.take_cuts();
    device.unplug();
    drop(store);
    let image = folder.path().join("image");
    let made = Flush::FolderMade.name();
    for cut in cuts.iter().filter(|cut| cut.before == made) {
        for _ in 0..IMAGES {
            *seen += 1;
            cut.power(random).write(&image).map_err(text)?;
            options.dir = image.join("store");
            let opened = options.clone().open();
            let store = opened.map_err(|error| format!("does not open: {error}"))?;
            let found = Contents::of(&store).map_err(text)?;
            drop(store);
            fs::remove_dir_all(&image).map_err(text)?;
            if found != expected {
                return Err(format!(
                    "lost: of the queues {:?} there are {:?}",
                    expected.offsets, found.offsets
                ));
            }
        }
    }
    Ok(device.lies())
}
