//! A recording: what the device under a store saw while that was under load, and lived several times.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::device::Server;
use crate::events::{Kind, Record};
use crate::history::History;
use crate::image::copy_sparse;
use crate::mount::{Mounted, run};
use crate::take::Take;

/// Size of the device.
const DEVICE: u64 = 256 << 20;
/// How often a store is opened in one recording.
const LIVES: u32 = 3;
/// Bytes of bodies in one life.
const BYTES: std::ops::Range<u64> = 8 << 20..40 << 20;
/// A rename is not to flush by itself; the journal is to be written while the load lasts.
const MOUNT: &str = "noauto_da_alloc,commit=1";

/// All there is of it.
#[derive(Debug)]
pub struct Recording {
    /// The device before the first event.
    pub base: File,
    pub record: Record,
    pub history: History,
    /// The first event of the store.
    pub first: usize,
    /// How its file system was mounted.
    pub options: String,
}

impl Recording {
    /// Makes one, with the files that it takes in `folder`.
    pub fn make(take: &Take, folder: &Path, random: &mut StdRng) -> Result<Self> {
        let data = if random.random_bool(0.5) {
            "writeback"
        } else {
            "ordered"
        };
        let options = format!("{MOUNT},data={data}");
        let base = make_file_system(&folder.join("base"), DEVICE)?;
        let (image, events) = (folder.join("disk"), folder.join("events"));
        copy_sparse(&base, &image)?;
        let server = Server::start(&folder.join("device"), &image, &events)?;
        let live = folder.join("live");
        let mounted = Mounted::ext4(&server.disk(), &live, &options)?;
        let first = see_a_flush(&live, &events)?;
        for life in 1..=LIVES {
            let bytes = random.random_range(BYTES);
            be_alive(take, life, bytes, &live.join("store"), &server.notes())?;
        }
        mounted.unmount()?;
        server.stop()?;
        fs::remove_file(image)?;
        let record = Record::load(&events)?;
        let history = History::load(&record)?;
        ensure!(!history.placed.is_empty(), "the load appended nothing");
        Ok(Self {
            base,
            record,
            history,
            first,
            options,
        })
    }
}

/// One life, in a process of its own.
fn be_alive(take: &Take, life: u32, bytes: u64, store: &Path, notes: &Path) -> Result<()> {
    let status = Command::new("/proc/self/exe")
        .arg("load")
        .args([OsStr::new("--store"), store.as_ref()])
        .args([OsStr::new("--notes"), notes.as_ref()])
        .args(["--mode", take.mode.name()])
        .args(["--fault", take.fault.name()])
        .args(take.without.iter().flat_map(|name| ["--without", name]))
        .args(["--life", &life.to_string()])
        .args(["--seed", &take.seed.to_string()])
        .args(["--bytes", &bytes.to_string()])
        .status()
        .context("starting the load")?;
    // Some kill themselves.
    let ended = status.code().is_none_or(|code| code == 0);
    ensure!(ended, "the load ended with {status}");
    Ok(())
}

/// Makes an ext4 of `size` bytes in a new file, with its metadata at the front.
pub fn make_file_system(path: &Path, size: u64) -> Result<File> {
    const OPTIONS: &str = "-q -F -b 4096 -m 0 -J size=8 -E";
    const EXTENDED: &str = "nodiscard,lazy_itable_init=0,lazy_journal_init=0,packed_meta_blocks=1";
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)?;
    file.set_len(size)?;
    let options = OPTIONS.split(' ').chain([EXTENDED]).map(OsStr::new);
    run("mkfs.ext4", options.chain([path.as_os_str()]))?;
    Ok(file)
}

/// A rig whose device never sees a flush would test nothing: an fsync must arrive, after the bytes it is for. Returns
/// how many events there were by then.
fn see_a_flush(folder: &Path, events: &Path) -> Result<usize> {
    const MARK: &[u8] = b"this must be on the device before the next flush";
    let mut file = File::create(folder.join("probe"))?;
    file.write_all(MARK)?;
    file.sync_all()?;
    let record = Record::load(events)?;
    let mut written = false;
    for event in &record.events {
        match event.kind {
            Kind::Write => written |= record.bytes(event)?.starts_with(MARK),
            Kind::Flush if written => return Ok(record.events.len()),
            _ => {}
        }
    }
    bail!("an fsync of a file did not reach the device as a flush (its bytes did: {written})")
}
