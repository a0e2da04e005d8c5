//! The device: a FUSE folder with three files. `disk` is what a loop device stands on: each write and flush of it is
//! recorded. A write to `notes` is recorded in the same order, so that an acknowledgement has its place among the
//! device's events. A write to `refuse` lets the device refuse writes.
//!
//! It serves from a process of its own, on one thread, and touches no page of the file system under test: the kernel
//! may wait for it while it writes that file system's pages back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::events::{Kind, Recorder};
use crate::fuse::{Operation, REQUEST_MAX, Reply, Request};
use crate::refusal::{Blocks, Refusal};

const ROOT: u64 = 1;
const DISK: u64 = 2;
const NOTES: u64 = 3;
const REFUSE: u64 = 4;
/// What holds a file system's metadata at the front of a device: never a new block.
const METADATA: u64 = 16 << 20;
const READY: &str = "ready";

/// What the device's process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Where to mount.
    #[arg(long)]
    folder: PathBuf,
    /// The file that holds the device's bytes.
    #[arg(long)]
    image: PathBuf,
    /// Where to record.
    #[arg(long)]
    record: PathBuf,
}

/// Serves until it is unmounted, or its parent is gone.
pub fn serve(arguments: &Arguments) -> Result<()> {
    crate::process::die_with_parent()?;
    let disk = File::options()
        .read(true)
        .write(true)
        .open(&arguments.image)
        .context("opening the image")?;
    let size = disk.metadata()?.len();
    let mut device = Device {
        size,
        disk,
        blocks: Blocks::new(size, METADATA),
        recorder: Recorder::create(&arguments.record)?,
    };
    let kernel = mount(&arguments.folder)?;
    println!("{READY}");
    let mut buffer = vec![0; REQUEST_MAX];
    loop {
        let len = match (&kernel).read(&mut buffer) {
            // Unmounted.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                return Ok(());
            }
            // A request was given up before it was read.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.context("reading a request")?,
        };
        let request = Request::parse(&buffer[..len]).context("a request cannot be parsed")?;
        if request.operation != Operation::Silent {
            let reply = Reply::encode(request.id, &device.answer(&request));
            // Who asked may be gone.
            let _ = (&kernel).write(&reply);
        }
    }
}

fn mount(folder: &Path) -> Result<File> {
    let kernel = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .context("opening /dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        kernel.as_raw_fd()
    );
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount("crashrig", folder, "fuse", flags, options.as_c_str())
        .context("mounting the device's folder")?;
    Ok(kernel)
}

struct Device {
    disk: File,
    size: u64,
    blocks: Blocks,
    recorder: Recorder,
}

impl Device {
    fn answer(&mut self, request: &Request<'_>) -> io::Result<Reply> {
        match (request.operation, request.node) {
            (Operation::Init, _) => Ok(Reply::init()),
            (Operation::Lookup(b"disk"), ROOT) => Ok(Reply::entry(DISK, Some(self.size))),
            (Operation::Lookup(b"notes"), ROOT) => Ok(Reply::entry(NOTES, Some(0))),
            (Operation::Lookup(b"refuse"), ROOT) => Ok(Reply::entry(REFUSE, Some(0))),
            (Operation::Lookup(_), _) => Err(Errno::NOENT.into()),
            (Operation::Attributes, DISK) => Ok(Reply::attributes(DISK, Some(self.size))),
            (Operation::Attributes, ROOT) => Ok(Reply::attributes(ROOT, None)),
            (Operation::Attributes, node) => Ok(Reply::attributes(node, Some(0))),
            (Operation::Open, _) => Ok(Reply::opened()),
            (Operation::Accepted, _) => Ok(Reply::default()),
            (Operation::Read { offset, len }, DISK) => self.read(offset, len),
            (Operation::Write { offset, bytes }, DISK) => self.write(offset, bytes),
            (Operation::Zero { offset, len }, DISK) => self.zero(offset, len),
            (Operation::Sync, DISK) => {
                self.recorder.add(Kind::Flush, 0, 0, &[])?;
                Ok(Reply::default())
            }
            (Operation::Write { bytes, .. }, NOTES) => {
                let len = bytes.len();
                self.recorder.add(Kind::Note, 0, len as u64, bytes)?;
                Ok(Reply::written(len))
            }
            (Operation::Write { bytes, .. }, REFUSE) => {
                self.blocks.set(bytes)?;
                Ok(Reply::written(bytes.len()))
            }
            _ => Err(Errno::NOSYS.into()),
        }
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Reply> {
        let mut bytes = vec![0; len.min(self.size.saturating_sub(offset) as usize)];
        self.disk.read_exact_at(&mut bytes, offset)?;
        Ok(Reply::bytes(bytes))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Reply> {
        let len = bytes.len();
        self.blocks.write(offset, len as u64)?;
        self.recorder.add(Kind::Write, offset, len as u64, bytes)?;
        self.disk.write_all_at(bytes, offset)?;
        Ok(Reply::written(len))
    }

    fn zero(&mut self, offset: u64, len: u64) -> io::Result<Reply> {
        self.recorder.add(Kind::Zero, offset, len, &[])?;
        crate::image::punch(&self.disk, offset, len)?;
        Ok(Reply::default())
    }
}

/// The device's process, as the rig sees it. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts to serve the bytes of `image` in `folder`, which is made, and to record in `record`.
    pub fn start(folder: &Path, image: &Path, record: &Path) -> Result<Self> {
        std::fs::create_dir(folder)?;
        let mut process = Command::new("/proc/self/exe")
            .arg("device")
            .arg("--folder")
            .arg(folder)
            .arg("--image")
            .arg(image)
            .arg("--record")
            .arg(record)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the device")?;
        let mut line = vec![0; READY.len()];
        let ready = process
            .stdout
            .take()
            .map(|mut output| output.read_exact(&mut line));
        let server = Self {
            process,
            folder: folder.to_owned(),
        };
        ensure!(
            ready.is_some_and(|read| read.is_ok()) && line == READY.as_bytes(),
            "the device did not start"
        );
        Ok(server)
    }

    /// The file under a loop device.
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The file for notes.
    pub fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }

    /// From now on the device refuses this.
    pub fn refuse(&self, refusal: Refusal) -> Result<()> {
        let path = self.folder.join("refuse");
        let file = File::options().write(true).open(path)?;
        Ok(file.write_all_at(&refusal.encode(), 0)?)
    }

    /// Unmounts, and waits until the record is whole.
    pub fn stop(mut self) -> Result<()> {
        // The loop device may let go of the file a moment after its own unmount; the server ends then.
        crate::mount::unmount_lazily(&self.folder)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the device ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failure; where all went well it is gone already.
        let _ = crate::mount::unmount_lazily(&self.folder);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
