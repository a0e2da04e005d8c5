//! ext4 on a loop device over a file. The loop device goes with its last mount.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::UnmountFlags;

/// A mounted file system; dropping it unmounts it, lazily if need be.
#[derive(Debug)]
pub struct Mounted(Option<PathBuf>);

impl Mounted {
    /// Mounts the ext4 in `file` at `folder`, which is made if needed. The kernel replays its journal.
    pub fn ext4(file: &Path, folder: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let options = format!("loop,{options}");
        run(
            "mount",
            [
                OsStr::new("-t"),
                OsStr::new("ext4"),
                OsStr::new("-o"),
                options.as_ref(),
                file.as_ref(),
                folder.as_ref(),
            ],
        )?;
        Ok(Self(Some(folder.to_owned())))
    }

    /// Hands the device at most so many KiB in one write.
    ///
    /// A larger one would be split on its way, and the loop driver takes a part for the whole.
    pub fn limit_writes(&self, kib: u32) -> Result<()> {
        let folder = self.0.as_deref().and_then(Path::to_str).unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let device = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let device = words.next()?.strip_prefix("/dev/")?;
            (words.next()? == folder).then_some(device)
        });
        let device = device.context("which loop device it is")?;
        let limit = format!("/sys/block/{device}/queue/max_sectors_kb");
        fs::write(&limit, kib.to_string()).with_context(|| format!("writing {limit}"))
    }

    /// Unmounts, which writes everything back.
    pub fn unmount(mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), |folder| unmount(&folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            // After a failure: whatever holds it is about to end too.
            let _ = unmount_lazily(&folder);
        }
    }
}

/// Unmounts what is at `folder`.
pub fn unmount(folder: &Path) -> Result<()> {
    rustix::mount::unmount(folder, UnmountFlags::empty())
        .with_context(|| format!("unmounting {}", folder.display()))
}

/// Takes what is at `folder` out of sight; it ends with its last user.
pub fn unmount_lazily(folder: &Path) -> Result<()> {
    Ok(rustix::mount::unmount(folder, UnmountFlags::DETACH)?)
}

/// Runs a program of the system.
pub fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {program}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", text.trim());
    Ok(())
}
