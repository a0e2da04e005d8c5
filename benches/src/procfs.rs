//! What the kernel counted: processor time, page faults, device bytes. Read from `/proc` and `/sys`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{major, minor};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of the sectors in which the kernel counts device traffic.
const SECTOR: u64 = 512;

/// Reads a small file of the kernel's.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Bytes of memory that programs can still have, by the kernel's own estimate.
pub fn available_memory() -> Result<u64> {
    let text = read("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = kibibytes
        .and_then(|kibibytes| kibibytes.parse().ok())
        .context("the kernel does not say how much memory is available")?;
    Ok(kibibytes << 10)
}

/// The three load averages and what stands behind them.
pub fn load_average() -> Result<String> {
    let line = read("/proc/loadavg")?;
    Ok(line
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" "))
}

/// Memory of this process that is its own and no file's, bytes.
pub fn private_memory() -> Result<u64> {
    let rollup = read("/proc/self/smaps_rollup")?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib: u64 = kib
        .and_then(|kib| kib.trim().parse().ok())
        .context("smaps_rollup has an unknown form")?;
    Ok(kib << 10)
}

/// Bytes that the files in `path`, or the file, occupy on the disk.
pub fn allocated(path: &Path) -> Result<u64> {
    let about = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    let mut bytes = about.blocks() * 512;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += allocated(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// Processor time since boot, summed over all cores.
#[derive(Debug, Clone, Copy)]
pub struct MachineTime {
    /// Not idle and not waiting for a disk.
    pub busy: Duration,
    /// Everything.
    pub total: Duration,
}

/// Processor time of the whole machine.
pub fn machine_time() -> Result<MachineTime> {
    let stat = read("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    anyhow::ensure!(ticks.len() == 8, "/proc/stat has an unknown form: {line}");
    let (idle, waiting) = (ticks[3], ticks[4]);
    let total: u64 = ticks.iter().sum();
    Ok(MachineTime {
        busy: from_ticks(total - idle - waiting),
        total: from_ticks(total),
    })
}

/// What one thread, or all of this process, used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Page faults that needed no device.
    pub minor_faults: u64,
    /// Page faults that found no page in memory.
    pub major_faults: u64,
    /// Processor time, in the resolution of a clock tick.
    pub time: Duration,
}

impl Usage {
    /// Page faults of both kinds.
    pub fn faults(&self) -> u64 {
        self.minor_faults + self.major_faults
    }
}

/// Of this process, its ended threads included.
pub fn process_usage() -> Result<Usage> {
    usage("/proc/self/stat")
}

/// Processor time of the children of this process that have ended, and of theirs.
pub fn children_time() -> Result<Duration> {
    let stat = read("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(from_ticks(ticks.iter().sum()))
}

/// Processor time of the calling thread, in full resolution.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Of the calling thread.
pub fn thread_usage() -> Result<Usage> {
    usage("/proc/thread-self/stat")
}

fn usage(path: impl AsRef<Path>) -> Result<Usage> {
    let stat = read(path)?;
    // The name, in parentheses, may hold anything; the fields are counted from behind it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let field = |index: usize| -> Result<u64> {
        fields
            .get(index)
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("unknown form of stat: {stat}"))
    };
    Ok(Usage {
        minor_faults: field(7)?,
        major_faults: field(9)?,
        time: from_ticks(field(11)? + field(12)?),
    })
}

/// A thread of this process.
#[derive(Debug, Clone)]
pub struct Thread {
    /// The name that it was given.
    pub name: String,
    /// Page faults, of both kinds: the first touch of a page of a file that is not cached is a major one.
    pub faults: u64,
    /// Processor time in full resolution.
    pub time: Duration,
}

/// The threads of this process that live now, without the calling one.
pub fn other_threads() -> Result<Vec<Thread>> {
    let me = fs::read_link("/proc/thread-self").context("reading /proc/thread-self")?;
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task").context("reading /proc/self/task")? {
        let folder = entry.context("reading /proc/self/task")?.path();
        if folder.file_name() == me.file_name() {
            continue;
        }
        // One that ends meanwhile is no error: its files are gone.
        threads.extend(thread(&folder).ok());
    }
    Ok(threads)
}

fn thread(folder: &Path) -> Result<Thread> {
    let schedule = read(folder.join("schedstat"))?;
    let running = schedule
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .parse()?;
    Ok(Thread {
        name: read(folder.join("comm"))?.trim().to_owned(),
        faults: usage(folder.join("stat"))?.faults(),
        time: Duration::from_nanos(running),
    })
}

/// The block device under a folder, as the kernel numbers it.
#[derive(Debug, Clone)]
pub struct Device {
    folder: PathBuf,
}

impl Device {
    /// `None` where no single block device stands behind the file system (tmpfs, overlay, btrfs).
    pub fn of(folder: &Path) -> Option<Self> {
        let device = fs::metadata(folder).ok()?.dev();
        let folder = PathBuf::from(format!(
            "/sys/dev/block/{}:{}",
            major(device),
            minor(device)
        ));
        folder.join("stat").exists().then_some(Self { folder })
    }

    /// Its kernel name: `vda`, `nvme0n1p2`.
    pub fn name(&self) -> String {
        let target = fs::read_link(&self.folder).unwrap_or_default();
        target.file_name().map_or_else(
            || "unknown".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    /// A setting of its queue: `write_cache` is `write back` (volatile, so that a flush costs something) or
    /// `write through`, `read_ahead_kb` what a cold read fetches at once.
    pub fn queue(&self, setting: &str) -> String {
        // A partition has no queue of its own: its disk, the folder above, has.
        ["queue", "../queue"]
            .iter()
            .find_map(|queue| fs::read_to_string(self.folder.join(queue).join(setting)).ok())
            .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
    }

    /// Bytes written to it since boot, by everyone.
    pub fn bytes_written(&self) -> Result<u64> {
        let stat = read(self.folder.join("stat"))?;
        let sectors: u64 = stat
            .split_whitespace()
            .nth(6)
            .context("unknown form of the device's stat")?
            .parse()?;
        Ok(sectors * SECTOR)
    }
}

/// Bytes of the pages that this process dirtied since it began, each time anew after they were clean.
pub fn bytes_dirtied() -> Result<u64> {
    let io = read("/proc/self/io")?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok())
        .with_context(|| format!("unknown form of io: {io}"))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second().max(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_thread_is_not_among_the_others() {
        let looker = std::thread::Builder::new()
            .name("look (at) me".into())
            .spawn(|| {
                assert!(thread_usage().is_ok());
                other_threads()
                    .unwrap()
                    .into_iter()
                    .map(|thread| thread.name)
                    .collect::<Vec<_>>()
            });
        let others = looker.unwrap().join().unwrap();
        assert!(
            !others.is_empty() && !others.contains(&"look (at) me".to_owned()),
            "{others:?}"
        );
    }

    #[test]
    fn the_machine_has_run_for_a_while() {
        let time = machine_time().unwrap();
        assert!(time.total >= time.busy && time.total > Duration::ZERO);
        assert!(process_usage().unwrap().minor_faults > 0);
    }
}
