//! A damaged log is salvaged, and the power goes when that is done.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use foliomq_commitlog::{CommitLog, Draft, Kind, Options, Preheat, salvage};
use foliomq_segment::Folder;
use foliomq_segment::disk::Flush;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Device};
use crate::image::Image;

/// Images of each salvage.
const IMAGES: u64 = 8;
/// Bytes of a segment.
const SEGMENT: u64 = Options::MIN_SEGMENT;

/// Salvages logs that are damaged in all ways, without `lie`, and cuts the power afterwards: what was salvaged is there.
/// Returns how often the flush was left out; an error says after how many images something was lost, and how.
pub(crate) fn cut_salvage(
    lie: Option<Flush>,
    images: u64,
    seed: u64,
) -> Result<u64, (u64, String)> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut seen, mut lies) = (0, 0);
    while seen < images {
        lies += round(lie, &mut random, &mut seen).map_err(|what| (seen, what))?;
    }
    Ok(lies)
}

fn round(lie: Option<Flush>, random: &mut StdRng, seen: &mut u64) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let root = folder.path().join("log");
    fs::create_dir(&root).map_err(text)?;
    fill(&root, random)?;
    damage(&root, random).map_err(text)?;
    let behaviour = Behaviour {
        lie,
        ..Behaviour::default()
    };
    let device = Device::new(&root, behaviour).map_err(text)?;
    salvage(&root).map_err(text)?;
    let cut = device.cut().map_err(text)?;
    device.unplug();
    let expected = contents(folder.path(), &cut.kill(random))?;
    for _ in 0..IMAGES {
        *seen += 1;
        if contents(folder.path(), &cut.power(random))? != expected {
            return Err("lost: what was salvaged".to_owned());
        }
    }
    Ok(device.lies())
}

fn options(dir: &Path) -> Options {
    Options {
        segment_size: SEGMENT,
        preheat: Preheat::Off,
        ..Options::new(dir)
    }
}

/// Three segments and a little of messages.
fn fill(dir: &Path, random: &mut StdRng) -> Result<(), String> {
    let (log, _) = CommitLog::open(options(dir)).map_err(text)?;
    let next = AtomicU64::new(0);
    while log.watermarks().appended < 3 * SEGMENT {
        let message: Vec<u8> = (0..random.random_range(100..4000))
            .map(|_| random.random())
            .collect();
        let draft = Draft {
            kind: Kind::Message,
            topic: "t",
            queue_id: 0,
            next_offset: &next,
            closed: None,
            message: &[&message],
        };
        log.append(&draft).map_err(text)?;
    }
    log.close().map_err(text)
}

fn damage(dir: &Path, random: &mut StdRng) -> std::io::Result<()> {
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

/// The messages of the log in an image.
fn contents(folder: &Path, image: &Image) -> Result<Vec<Vec<u8>>, String> {
    let dir = folder.join("image");
    image.write(&dir).map_err(text)?;
    let opened = CommitLog::open(options(&dir));
    let (log, recovery) = opened.map_err(|error| format!("does not open: {error}"))?;
    let mut messages = Vec::new();
    for record in log.records(recovery.start) {
        messages.push(record.map_err(text)?.message().to_vec());
    }
    drop(log);
    fs::remove_dir_all(&dir).map_err(text)?;
    Ok(messages)
}
