//! The indexes of a log that retention has emptied are made anew, and the power goes meanwhile: the store goes on, each
//! queue where it was.

use std::fs;
use std::path::Path;

use foliomq_segment::disk::Flush;
use foliomq_store::{Message, Options, Store};
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Device};
use crate::emptied::await_retention;
use crate::history::{Contents, QUEUES, TOPIC, check_appends, make_topic};
use crate::mode::MODES;

/// Messages in the store, all of which retention drops.
const MESSAGES: u32 = 12;
/// Images of each moment.
const IMAGES: u64 = 4;

/// A store whose log is empty loses an index, and is opened.
pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("life");
    let mut options = MODES[0].options(&root.join("store"), random);
    let expected = empty(folder.path(), &root, &options, random)?;
    fs::remove_dir_all(options.dir.join("keys")).map_err(text)?;

    options.retention.size = None;
    let device = Device::new(&root, Behaviour::keeping_all(lie)).map_err(text)?;
    drop(open(&options)?);
    let cuts = device.take_cuts();
    device.unplug();
    let image = folder.path().join("image");
    options.dir = image.join("store");
    for cut in &cuts {
        for _ in 0..IMAGES {
            *seen += 1;
            cut.power(random).write(&image).map_err(text)?;
            check(&options, &expected).map_err(|what| {
                let before = cut.before;
                format!("{what}, cut before {before}")
            })?;
            fs::remove_dir_all(&image).map_err(text)?;
        }
    }
    Ok(device.lies())
}

/// Makes a store in `root` whose log held messages once, and closes it.
fn empty(
    folder: &Path,
    root: &Path,
    options: &Options,
    random: &mut StdRng,
) -> Result<Contents, String> {
    let first = folder.join("first");
    fs::create_dir(&first).map_err(text)?;
    let device = Device::new(&first, Behaviour::default()).map_err(text)?;
    let mut options = options.clone();
    let dir = std::mem::replace(&mut options.dir, first.join("store"));
    options.retention.size = None;
    let store = open(&options)?;
    make_topic(&store).map_err(text)?;
    for n in 0..MESSAGES {
        let appended = store.append_to(TOPIC, n % QUEUES, &Message::new(b"old"));
        appended.map_err(text)?;
    }
    let killed = device.cut().map_err(text)?;
    drop((device, store));
    killed.kill(random).write(root).map_err(text)?;

    // After a crash the log goes on in a new segment: retention may drop all it has.
    options.dir = dir;
    options.retention.size = Some(1);
    let store = open(&options)?;
    await_retention(&store)?;
    store.close().map_err(text)?;
    Contents::of(&store).map_err(text)
}

fn check(options: &Options, expected: &Contents) -> Result<(), String> {
    let store = open(options)?;
    let found = Contents::of(&store).map_err(text)?;
    if found != *expected {
        return Err(format!(
            "lost: of the queues {:?} there are {:?}",
            expected.offsets, found.offsets
        ));
    }
    check_appends(&store, &found)
}

fn open(options: &Options) -> Result<Store, String> {
    let opened = options.clone().open();
    opened.map_err(|error| format!("does not open: {error}"))
}
