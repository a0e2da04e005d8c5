//! The machine, the file system and the version that the figures belong to.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::floors::{Budget, Floors};
use crate::procfs::{self, Device};

/// What stands at the top of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name for itself.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Main memory, MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Type of the file system that the stores are on.
    pub file_system: String,
    /// Its mount options.
    pub mount_options: String,
    /// The block device behind it, if there is one, its write cache (volatile or not) and its read-ahead.
    pub device: String,
    /// Compiler.
    pub rustc: String,
    /// Commit, with a mark if files differ from it.
    pub commit: String,
    /// UTC date of the run.
    pub date: String,
    /// What it does with nothing of ours in the way.
    #[serde(default)]
    pub floors: Floors,
}

impl Machine {
    /// Looks at the machine and at the file system of `folder`, and measures both: so before anything else is measured.
    pub fn of(folder: &Path, budget: Budget) -> Result<Self> {
        let (file_system, mount_options) = mount(folder)?;
        let memory = field(&procfs::read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        Ok(Self {
            processor: field(&procfs::read("/proc/cpuinfo")?, "model name")
                .unwrap_or_else(|| "unknown".into()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kibibytes >> 10,
            kernel: procfs::read("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            file_system,
            mount_options,
            device: device(folder),
            rustc: output("rustc", &["--version"]),
            commit: commit(),
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            floors: Floors::measure(folder, budget)?,
        })
    }

    /// What a page says of it: name and value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let memory = self.memory_mib.div_ceil(1024);
        vec![
            (
                "machine",
                format!("{}, {} cores, {memory} GiB", self.processor, self.cores),
            ),
            ("kernel", self.kernel.clone()),
            (
                "file system",
                format!(
                    "{} ({}) on {}",
                    self.file_system, self.mount_options, self.device
                ),
            ),
            ("version", format!("{}, {}", self.commit, self.rustc)),
            ("date", self.date.clone()),
            self.floors.row(),
        ]
    }

    /// Whether the stores lie in memory, where flushes and device bytes mean nothing.
    pub fn in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

/// The value of `name : value` in a file of such lines.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Type and options of the file system of `folder`.
fn mount(folder: &Path) -> Result<(String, String)> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("looking at {}", folder.display()))?;
    let mounts = procfs::read("/proc/self/mountinfo")?;
    let longest = mounts
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| folder.starts_with(mount.point))
        .max_by_key(|mount| mount.point.len());
    Ok(longest.map_or_else(Default::default, |mount| {
        (mount.kind.to_owned(), mount.options.to_owned())
    }))
}

/// One line of `/proc/self/mountinfo`.
struct Mount<'a> {
    point: &'a str,
    options: &'a str,
    kind: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, source) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(4);
        Some(Self {
            point: place.next()?,
            options: place.next()?,
            kind: source.split(' ').next()?,
        })
    }
}

fn device(folder: &Path) -> String {
    Device::of(folder).map_or_else(
        || "none of its own".to_owned(),
        |device| {
            let (name, cache, ahead) = (
                device.name(),
                device.queue("write_cache"),
                device.queue("read_ahead_kb"),
            );
            format!("{name}, write cache: {cache}, read-ahead: {ahead} KiB")
        },
    )
}

fn commit() -> String {
    let head = output("git", &["rev-parse", "--short=12", "HEAD"]);
    match output(
        "git",
        &["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"],
    )
    .as_str()
    {
        "" => head,
        _ => format!("{head}, with changes"),
    }
}

/// The first line that a program prints; `unknown` if it is not there or fails, empty if it prints nothing.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_longest_prefix() {
        let line =
            "36 35 98:0 /mnt1 /mnt/two rw,noatime master:1 - ext4 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(
            (mount.point, mount.options, mount.kind),
            ("/mnt/two", "rw,noatime", "ext4")
        );
        assert_eq!(super::mount(Path::new("/proc/self")).unwrap().0, "proc");
    }

    #[test]
    fn the_machine_has_cores_and_memory() {
        let machine = Machine::of(&std::env::temp_dir(), Budget::SMOKE).unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 0 && !machine.file_system.is_empty());
    }
}
