//! A torn tail is cut, and the power goes again while that is done: what lay behind it stays away.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use foliomq_segment::Folder;
use foliomq_segment::disk::Flush;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Device};
use crate::log::{SEGMENT, fill, messages, messages_in, open};

/// Images of each moment of the recovery.
const IMAGES: u64 = 4;

/// The log is opened.
pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("log");
    torn(&root, random)?;
    let device = Device::new(&root, Behaviour::keeping_all(lie)).map_err(text)?;
    check(folder.path(), &root, &device, random, seen)?;
    Ok(device.lies())
}

/// The same, but the process that cuts the tail is killed, and it is another during whose start the power goes.
pub(crate) fn after_kill(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    torn(&first, random)?;
    let device = Device::new(&first, Behaviour::keeping_all(None)).map_err(text)?;
    let log = open(&first)?;
    let mut cuts = device.take_cuts().into_iter();
    drop((device, log));
    // What followed the tail has been removed: the next process does not see it.
    let removed = Flush::TailDropped.name();
    let killed = cuts.find(|cut| cut.before == removed);
    let killed = killed.ok_or_else(|| format!("{removed} was not called"))?;
    killed.kill(random).write(&second).map_err(text)?;
    let behaviour = Behaviour::keeping_all(lie);
    let device = Device::after_kill(&second, behaviour, &killed).map_err(text)?;
    check(folder.path(), &second, &device, random, seen)?;
    Ok(device.lies())
}

/// Opens the log in `root`. Whenever the power goes meanwhile, the next start finds the same.
fn check(
    folder: &Path,
    root: &Path,
    device: &Device,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<(), String> {
    let log = open(root)?;
    let cuts = device.take_cuts();
    device.unplug();
    let expected = messages(&log)?;
    let image = folder.join("image");
    for cut in &cuts {
        for _ in 0..IMAGES {
            *seen += 1;
            if messages_in(&image, &cut.power(random))? != expected {
                let before = cut.before;
                return Err(format!(
                    "made up: messages behind a hole, cut before {before}"
                ));
            }
        }
    }
    Ok(())
}

/// Three segments of records, all on the device but for one sector of the first.
fn torn(root: &Path, random: &mut StdRng) -> Result<(), String> {
    let written = root.with_extension("written");
    fs::create_dir(&written).map_err(text)?;
    let device = Device::new(&written, Behaviour::default()).map_err(text)?;
    let log = open(&written)?;
    fill(&log, 2 * SEGMENT + SEGMENT / 2, random)?;
    let cut = device.cut().map_err(text)?;
    drop((device, log));
    cut.kill(random).write(root).map_err(text)?;
    lose_a_sector(root, random).map_err(text)
}

fn lose_a_sector(dir: &Path, random: &mut StdRng) -> std::io::Result<()> {
    let segment = File::options().write(true).open(Folder::path_in(dir, 0))?;
    let sector = random.random_range(0..SEGMENT / 2 / 512);
    segment.write_all_at(&[0; 512], sector * 512)
}
