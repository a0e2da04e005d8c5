//! Retention empties a queue, and the power goes when its segments are gone: it does not begin again at 0, though the
//! index that knew its end is lost as well.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use foliomq_segment::disk::Flush;
use foliomq_store::{Message, Options, Store, StoreError};
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Device};
use crate::history::{TOPIC, make_topic};
use crate::mode::{BODY, MODES, SEGMENT};

/// Images of each moment.
const IMAGES: u64 = 4;
/// Retention takes 10 ms; so long is given up for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The queue that is emptied, and the messages that it had.
const QUEUE: u32 = 0;
const MESSAGES: u64 = 3;

pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    fs::create_dir(&root).map_err(text)?;
    let device = Device::new(&root, Behaviour::leaving_out(lie)).map_err(text)?;
    let mut options = MODES[0].options(&root.join("store"), random);
    options.retention.size = Some(1);
    let store = options.clone().open().map_err(text)?;
    fill(&store).map_err(text)?;
    await_retention(&store)?;
    let mut cuts = device.take_cuts();
    cuts.retain(|cut| cut.before == Flush::SegmentsDropped.name());
    cuts.push(device.cut().map_err(text)?);
    device.unplug();
    drop(store);
    options.retention.size = None;
    let image = folder.path().join("image");
    for cut in &cuts {
        for _ in 0..IMAGES {
            *seen += 1;
            cut.power(random).write(&image).map_err(text)?;
            check(&options, &image)?;
            fs::remove_dir_all(&image).map_err(text)?;
        }
    }
    Ok(device.lies())
}

/// The queue's messages, and then enough of another's for a new segment.
fn fill(store: &Store) -> Result<(), StoreError> {
    make_topic(store)?;
    for _ in 0..MESSAGES {
        store.append_to(TOPIC, QUEUE, &Message::new(b"old"))?;
    }
    while store.watermarks().appended < SEGMENT + SEGMENT / 4 {
        store.append_to(TOPIC, QUEUE + 1, &Message::new(&[7; BODY]))?;
    }
    store.flush()
}

/// Waits until retention has dropped something.
pub(crate) fn await_retention(store: &Store) -> Result<(), String> {
    let begin = Instant::now();
    while store.watermarks().start == 0 {
        if begin.elapsed() > PATIENCE {
            return Err("retention drops nothing".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Opens the store in an image without its indexes.
fn check(options: &Options, image: &Path) -> Result<(), String> {
    let dir = image.join("store");
    fs::remove_dir_all(dir.join("consumequeue")).map_err(text)?;
    fs::remove_dir_all(dir.join("keys")).map_err(text)?;
    let opened = Options {
        dir,
        ..options.clone()
    }
    .open();
    let store = opened.map_err(|error| format!("does not open: {error}"))?;
    let end = store.offsets(TOPIC, QUEUE).map_err(text)?.end;
    match end {
        MESSAGES => Ok(()),
        _ => Err(format!(
            "lost: a queue that had {MESSAGES} messages goes on at {end}"
        )),
    }
}
