//! What the metadata says of the log and of the indexes is on the device before it is relied on, and is true after a power cut.

use std::path::Path;
use std::time::Duration;

use foliomq_segment::disk::Flush;
use foliomq_store::{Awaits, Message, Options, Store, StoreError, TopicOptions};
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Cut, Device};
use crate::history::{TOPIC, make_topic};
use crate::mode::{MODES, SEGMENT};

/// A topic that is deleted, and made again.
const AGAIN: &str = "again";
/// Images of each moment.
const IMAGES: u64 = 4;
/// Unix milliseconds at which a hidden message is due: never, here.
const DUE: u64 = u64::MAX / 2;

/// The first hidden message is acknowledged, and the indexes are flushed: it is still listed when the power has gone.
pub(crate) fn ledger(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    let mut options = MODES[0].options(&root.join("store"), random);
    options.retention.size = None;
    std::fs::create_dir(&root).map_err(text)?;
    let device = Device::new(&root, Behaviour::keeping_all(lie)).map_err(text)?;
    let store = options.clone().open().map_err(text)?;
    hide_one(&store).map_err(text)?;
    device.promise(1);
    store.close().map_err(text)?;
    let mut cuts = device.take_cuts();
    cuts.push(device.cut().map_err(text)?);
    device.unplug();
    for cut in cuts.iter().filter(|cut| cut.moment == 1) {
        check(folder.path(), &options, cut, random, seen, |store| {
            let mut lines = Vec::new();
            store.ledger(0, 9, &mut lines).map_err(text)?;
            match lines.len() {
                1 => Ok(()),
                lines => Err(format!("lost: a hidden message; {lines} lines list it")),
            }
        })?;
    }
    Ok(device.lies())
}

fn hide_one(store: &Store) -> Result<(), StoreError> {
    make_topic(store)?;
    let message = Message::new(b"later");
    let hidden = [(Awaits::Time(DUE), &message)];
    let appended = store.submit_hidden(TOPIC, None, &hidden)?;
    store.wait_committed(appended[0].end())
}

/// A topic is deleted and made again behind records that the power cut takes: what it gets afterwards is its own.
pub(crate) fn deletion(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    std::fs::create_dir(&root).map_err(text)?;
    // Nothing is flushed unless somebody asks for it.
    let interval = Duration::from_secs(3600);
    let mut options = MODES[2].options(&root.join("store"), random);
    options = options.flush(foliomq_store::Flush::Async { interval });
    options.retention.size = None;
    let device = Device::new(&root, Behaviour::leaving_out(lie)).map_err(text)?;
    let store = options.clone().open().map_err(text)?;
    delete_behind_a_roll(&store).map_err(text)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    check(folder.path(), &options, &cut, random, seen, |store| {
        let appended = store.append(AGAIN, &Message::new(b"new")).map_err(text)?;
        let offset = appended.queue_offset;
        match store.read(AGAIN, 0, offset).map_err(text)? {
            Some(message) if message.body() == b"new" => Ok(()),
            _ => Err("lost: a message to a topic that was made again".to_owned()),
        }
    })?;
    Ok(device.lies())
}

fn delete_behind_a_roll(store: &Store) -> Result<(), StoreError> {
    make_topic(store)?;
    let one_queue = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    store.create_topic(AGAIN, one_queue)?;
    while store.watermarks().appended < SEGMENT + 8 * 1024 {
        store.append(TOPIC, &Message::new(&[7; 3000]))?;
    }
    store.delete_topic(AGAIN)?;
    store.create_topic(AGAIN, one_queue).map(|_| ())
}

/// Looks at the store in each image of the moment.
fn check(
    folder: &Path,
    options: &Options,
    cut: &Cut,
    random: &mut StdRng,
    seen: &mut u64,
    look: impl Fn(&Store) -> Result<(), String>,
) -> Result<(), String> {
    for _ in 0..IMAGES {
        *seen += 1;
        let image = folder.join("image");
        cut.power(random).write(&image).map_err(text)?;
        let mut options = options.clone();
        options.dir = image.join("store");
        let store = options
            .open()
            .map_err(|error| format!("does not open: {error}"))?;
        look(&store)?;
        drop(store);
        std::fs::remove_dir_all(&image).map_err(text)?;
    }
    Ok(())
}
