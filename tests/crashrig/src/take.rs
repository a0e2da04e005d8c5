//! One recording of a store under load, and the images that are cut from it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::check::{Outcome, check};
use crate::device::Server;
use crate::events::{Kind, Record};
use crate::history::History;
use crate::image::copy_sparse;
use crate::mount::{Mounted, run};
use crate::replay::{Point, Replay, points};
use crate::settings::{Fault, Mode};

/// Size of the device.
const DEVICE: u64 = 256 << 20;
/// How often a store is opened again in one recording.
const LIVES: u32 = 3;
/// Bytes of bodies in one life.
const BYTES: std::ops::Range<u64> = 8 << 20..40 << 20;
/// A rename is not to flush by itself; the journal is to be written while the load lasts.
const MOUNT: &str = "noauto_da_alloc,commit=1";

/// What one recording is about.
#[derive(Debug, Clone)]
pub struct Take {
    pub mode: Mode,
    pub fault: Fault,
    pub seed: u64,
    pub images: usize,
}

/// What was found in one image.
#[derive(Debug)]
pub struct Cut {
    pub point: Point,
    pub outcome: Outcome,
}

impl Take {
    /// Records in `folder`, cuts, and checks.
    pub fn run(&self, folder: &Path) -> Result<Vec<Cut>> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let options = match random.random_bool(0.5) {
            true => format!("{MOUNT},data=writeback"),
            false => format!("{MOUNT},data=ordered"),
        };
        fs::create_dir(folder).context("making the folder of a recording")?;
        let base = make_file_system(&folder.join("base"), DEVICE)?;
        let record = self.record(folder, &base, &options, &mut random)?;
        let cuts = self.cut(folder, base, &record, &options, &mut random)?;
        fs::remove_dir_all(folder)?;
        Ok(cuts)
    }

    /// Lets the store live a few times, and returns what its device saw.
    fn record(
        &self,
        folder: &Path,
        base: &File,
        options: &str,
        random: &mut StdRng,
    ) -> Result<Record> {
        let (image, events) = (folder.join("disk"), folder.join("events"));
        copy_sparse(base, &image)?;
        let device = folder.join("device");
        fs::create_dir(&device)?;
        let server = Server::start(&device, &image, &events)?;
        let mounted = Mounted::ext4(&server.disk(), &folder.join("live"), options)?;
        see_a_flush(&folder.join("live"), &events)?;
        for life in 1..=LIVES {
            self.live(life, &folder.join("live/store"), &server.notes(), random)?;
        }
        mounted.unmount()?;
        server.stop()?;
        fs::remove_file(image)?;
        Record::load(&events)
    }

    fn live(&self, life: u32, store: &Path, notes: &Path, random: &mut StdRng) -> Result<()> {
        let status = Command::new("/proc/self/exe")
            .arg("load")
            .args([OsStr::new("--store"), store.as_ref()])
            .args([OsStr::new("--notes"), notes.as_ref()])
            .args(["--mode", self.mode.name()])
            .args(["--fault", self.fault.name()])
            .args(["--life", &life.to_string()])
            .args(["--seed", &self.seed.to_string()])
            .args(["--bytes", &random.random_range(BYTES).to_string()])
            .status()
            .context("starting the load")?;
        // Some end by a kill.
        let ended = status.code().is_none_or(|code| code == 0);
        ensure!(ended, "the load ended with {status}");
        Ok(())
    }

    fn cut(
        &self,
        folder: &Path,
        base: File,
        record: &Record,
        options: &str,
        random: &mut StdRng,
    ) -> Result<Vec<Cut>> {
        let history = History::load(record)?;
        ensure!(!history.placed.is_empty(), "the load appended nothing");
        // The store begins after the file system was seen to flush.
        let first = record
            .events
            .iter()
            .position(|event| event.kind == Kind::Note);
        let lies = self.fault == Fault::LyingDevice;
        let points = points(record, first.unwrap_or(0), self.images, lies, random);
        let mut replay = Replay::new(record, base);
        let mut cuts = Vec::with_capacity(points.len());
        for point in points {
            let image = folder.join("image");
            replay.cut(point, random, &image)?;
            let promises = history.promises(point.at);
            let outcome = mounted(&image, &folder.join("after"), options, |store| {
                check(store, self.seed, &history, &promises)
            });
            fs::remove_file(&image)?;
            cuts.push(Cut {
                point,
                outcome: outcome?,
            });
        }
        Ok(cuts)
    }
}

/// Looks at the store in an image. A file system that cannot be mounted has lost everything.
fn mounted(
    image: &Path,
    folder: &Path,
    options: &str,
    look: impl FnOnce(&Path) -> Outcome,
) -> Result<Outcome> {
    match Mounted::ext4(image, folder, options) {
        Ok(mounted) => {
            let outcome = look(&folder.join("store"));
            mounted.unmount()?;
            Ok(outcome)
        }
        Err(error) => Ok(Outcome {
            problems: vec![format!("the file system cannot be mounted: {error:#}")],
            ..Outcome::default()
        }),
    }
}

/// Makes an ext4 of `size` bytes in a new file.
pub fn make_file_system(path: &Path, size: u64) -> Result<File> {
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)?;
    file.set_len(size)?;
    let options = ["-q", "-F", "-b", "4096", "-m", "0", "-J", "size=8"].map(OsStr::new);
    let lazy = [
        "-E",
        "nodiscard,lazy_itable_init=0,lazy_journal_init=0,packed_meta_blocks=1",
    ]
    .map(OsStr::new);
    run(
        "mkfs.ext4",
        options.into_iter().chain(lazy).chain([path.as_os_str()]),
    )?;
    Ok(file)
}

/// A rig whose device never sees a flush would test nothing: an fsync must arrive, after the bytes it is for.
fn see_a_flush(folder: &Path, events: &Path) -> Result<()> {
    const MARK: &[u8] = b"this must be on the device before the next flush";
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    file.write_all(MARK)?;
    file.sync_all()?;
    let record = Record::load(events)?;
    let mut written = false;
    for event in &record.events {
        match event.kind {
            Kind::Write => written |= record.bytes(event)?.starts_with(MARK),
            Kind::Flush if written => return Ok(fs::remove_file(path)?),
            _ => {}
        }
    }
    bail!("an fsync of a file did not reach the device as a flush (its bytes did: {written})")
}
