//! A process is killed between writing the checkpoint of the indexes and flushing it. The next one finds it, and lets
//! retention drop what it speaks for; then the power goes, and the device may have the checkpoint before it.

use std::fs;
use std::path::Path;

use foliomq_segment::disk::Flush;
use foliomq_store::{Message, Options, Store, StoreError};
use rand::rngs::StdRng;

use crate::chain::{INDEX, in_memory, inode, text};
use crate::device::{Behaviour, Cut, Device};
use crate::emptied::await_retention;
use crate::history::{TOPIC, make_topic};
use crate::mode::{BODY, MODES, SEGMENT};

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
    let mut options = MODES[0].options(&first.join("store"), random);
    options.retention.size = None;
    let killed = killed_at_the_checkpoint(&first, &options)?;
    killed.kill(random).write(&second).map_err(text)?;
    let device = Device::after_kill(&second, Behaviour::leaving_out(lie), &killed).map_err(text)?;
    let mut dropping = options.clone();
    dropping.dir = second.join("store");
    dropping.retention.size = Some(1);
    let store = dropping.open().map_err(text)?;
    await_retention(&store)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    drop(store);
    for _ in 0..IMAGES {
        *seen += 1;
        let image = folder.path().join("image");
        cut.power(random).write(&image).map_err(text)?;
        check(&options, &image)?;
        fs::remove_dir_all(&image).map_err(text)?;
    }
    Ok(device.lies())
}

/// A process that dies while it closes its store: the log is closed, and the checkpoint moves past more than two segments.
fn killed_at_the_checkpoint(root: &Path, options: &Options) -> Result<Cut, String> {
    fs::create_dir(root).map_err(text)?;
    let device = Device::new(root, Behaviour::keeping_all(None)).map_err(text)?;
    let store = options.clone().open().map_err(text)?;
    make_topic(&store).map_err(text)?;
    fill(&store, SEGMENT / 2).map_err(text)?;
    store.flush().map_err(text)?;
    fill(&store, 2 * SEGMENT + SEGMENT / 2).map_err(text)?;
    store.close().map_err(text)?;
    let moving = Flush::IndexCheckpoint.name();
    let mut cuts = device.take_cuts();
    cuts.retain(|cut| cut.before == moving);
    cuts.pop().ok_or_else(|| format!("{moving} was not called"))
}

/// Messages of one queue up to this position of the log.
fn fill(store: &Store, position: u64) -> Result<(), StoreError> {
    while store.watermarks().appended < position {
        store.append_to(TOPIC, 0, &Message::new(&[7; BODY]))?;
    }
    store.catch_up();
    Ok(())
}

/// Opens the store in an image: its indexes need not be made anew.
fn check(options: &Options, image: &Path) -> Result<(), String> {
    let mut options = options.clone();
    options.dir = image.join("store");
    let index = options.dir.join(INDEX);
    let before = inode(&index);
    let store = options
        .open()
        .map_err(|error| format!("does not open: {error}"))?;
    drop(store);
    match before == inode(&index) {
        true => Ok(()),
        false => Err("lost: the indexes, which were made anew".to_owned()),
    }
}
