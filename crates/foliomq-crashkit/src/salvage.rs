//! A damaged log is salvaged, and the power goes when that is done.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use foliomq_commitlog::{Checkpoint, salvage};
use foliomq_segment::disk::Flush;
use foliomq_segment::{Folder, PAGE};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Device};
use crate::log::{SEGMENT, fill, messages_in, open};

/// Images of each salvage.
const IMAGES: u64 = 8;

/// What is done to a log in a folder.
type Damage = fn(&Path, &mut StdRng) -> io::Result<()>;

/// Damage in the first two segments, in all ways.
pub(crate) fn of_any_damage(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    round(damage, lie, random, seen)
}

/// The last segment is cut to a length that cannot be mapped, behind all that counts: nothing but its length is mended.
pub(crate) fn of_a_cut_end(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    round(cut_end, lie, random, seen)
}

/// The process is killed before an operation of the salvage; another one salvages what it has left.
pub(crate) fn after_kill(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let first = damaged(folder.path(), damage, random)?;
    let device = Device::new(&first, Behaviour::keeping_all(None)).map_err(text)?;
    salvage(&first).map_err(text)?;
    let mut cuts = device.take_cuts();
    drop(device);
    let killed = cuts.swap_remove(random.random_range(0..cuts.len()));
    let second = folder.path().join("second");
    killed.kill(random).write(&second).map_err(text)?;
    let device = Device::after_kill(&second, Behaviour::leaving_out(lie), &killed).map_err(text)?;
    check(folder.path(), &second, device, random, seen)
}

/// Salvages a log that is damaged.
fn round(
    damage: Damage,
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = damaged(folder.path(), damage, random)?;
    let device = Device::new(&root, Behaviour::leaving_out(lie)).map_err(text)?;
    check(folder.path(), &root, device, random, seen)
}

/// A log with damage.
fn damaged(folder: &Path, damage: Damage, random: &mut StdRng) -> Result<PathBuf, String> {
    let root = folder.join("log");
    fs::create_dir(&root).map_err(text)?;
    let log = open(&root)?;
    fill(&log, 3 * SEGMENT + 1, random)?;
    log.close().map_err(text)?;
    drop(log);
    damage(&root, random).map_err(text)?;
    Ok(root)
}

/// Salvages, and cuts the power afterwards: what was salvaged is there.
fn check(
    folder: &Path,
    root: &Path,
    device: Device,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    salvage(root).map_err(text)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    let image = folder.join("image");
    let expected = messages_in(&image, &cut.kill(random))?;
    for _ in 0..IMAGES {
        *seen += 1;
        if messages_in(&image, &cut.power(random))? != expected {
            return Err("lost: what was salvaged".to_owned());
        }
    }
    Ok(device.lies())
}

fn damage(dir: &Path, random: &mut StdRng) -> io::Result<()> {
    let segment = Folder::path_in(dir, random.random_range(0..2) * SEGMENT);
    let file = File::options().read(true).write(true).open(&segment)?;
    match random.random_range(0..4) {
        0 => fs::remove_file(&segment),
        1 => file.set_len(random.random_range(1..SEGMENT)),
        2 => fs::remove_file(dir.join("checkpoint")),
        _ => {
            let at = random.random_range(0..SEGMENT / 2);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[!byte[0]], at)
        }
    }
}

fn cut_end(dir: &Path, random: &mut StdRng) -> io::Result<()> {
    let base = 3 * SEGMENT;
    let durable = Checkpoint::load(dir)?.map_or(base, |checkpoint| checkpoint.durable);
    let used = (durable - base).next_multiple_of(PAGE);
    let pages = random.random_range(used / PAGE..SEGMENT / PAGE);
    let file = File::options()
        .write(true)
        .open(Folder::path_in(dir, base))?;
    file.set_len(pages * PAGE + random.random_range(1..PAGE))
}
