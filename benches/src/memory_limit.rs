//! A memory limit for this process, for a while: a control group, version 1 or 2, where it may make one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

/// Version 1 has a folder for each controller.
const VERSION_1: &str = "/sys/fs/cgroup/memory";
const VERSION_2: &str = "/sys/fs/cgroup";

/// How often a group is removed that the kernel still calls busy, and the pause between.
const REMOVALS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// This process, page cache that it fills included, has no more than the limit while this lives.
#[derive(Debug)]
pub struct MemoryLimit {
    group: PathBuf,
    before: PathBuf,
}

impl MemoryLimit {
    /// Enters a new group with a limit of so many bytes.
    pub fn enter(bytes: u64) -> Result<Self> {
        let (root, setting, before) = match Path::new(VERSION_1).is_dir() {
            true => (VERSION_1, "memory.limit_in_bytes", own_group("memory")?),
            false => (VERSION_2, "memory.max", own_group("")?),
        };
        let group = Path::new(root).join(format!("foliomq-bench-{}", std::process::id()));
        match fs::create_dir(&group) {
            // This process's own of before: the kernel may keep a group busy for a while after its last process left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.context("making a memory cgroup takes root and a cgroup file system")?,
        }
        let limit = Self {
            before: Path::new(root).join(before.trim_start_matches('/')),
            group,
        };
        fs::write(limit.group.join(setting), bytes.to_string()).context("limiting the memory")?;
        limit.join(&limit.group)?;
        Ok(limit)
    }

    fn join(&self, group: &Path) -> Result<()> {
        let own = std::process::id().to_string();
        fs::write(group.join("cgroup.procs"), own)
            .with_context(|| format!("joining {}", group.display()))
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Best effort: a group without processes takes no room worth a failure.
        let _ = self.join(&self.before);
        for _ in 0..REMOVALS {
            match fs::remove_dir(&self.group) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(PAUSE),
                _ => return,
            }
        }
    }
}

/// The group of this process, of one controller or, in version 2, of all.
fn own_group(controller: &str) -> Result<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let of = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let mut controllers = controllers.split(',');
        controllers
            .any(|name| name == controller)
            .then(|| path.to_owned())
    };
    groups
        .lines()
        .find_map(of)
        .with_context(|| format!("no memory controller in {groups}"))
}
