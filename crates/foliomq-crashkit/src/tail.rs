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

/// Three segments of records of which nothing was flushed. One sector of the first is lost, and the log is opened.
pub(crate) fn round(
    lie: Option<Flush>,
    random: &mut StdRng,
    seen: &mut u64,
) -> Result<u64, String> {
    let folder = in_memory().map_err(text)?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::create_dir(&first).map_err(text)?;
    let device = Device::new(&first, Behaviour::default()).map_err(text)?;
    let log = open(&first)?;
    fill(&log, 2 * SEGMENT + SEGMENT / 2, random)?;
    let written = device.cut().map_err(text)?;
    drop((device, log));
    written.kill(random).write(&second).map_err(text)?;
    lose_a_sector(&second, random).map_err(text)?;

    let behaviour = Behaviour {
        share: 1.0,
        ..Behaviour::leaving_out(lie)
    };
    let device = Device::new(&second, behaviour).map_err(text)?;
    let log = open(&second)?;
    let cuts = device.take_cuts();
    device.unplug();
    let expected = messages(&log)?;
    let image = folder.path().join("image");
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
    Ok(device.lies())
}

fn lose_a_sector(dir: &Path, random: &mut StdRng) -> std::io::Result<()> {
    let segment = File::options().write(true).open(Folder::path_in(dir, 0))?;
    let sector = random.random_range(0..SEGMENT / 2 / 512);
    segment.write_all_at(&[0; 512], sector * 512)
}
