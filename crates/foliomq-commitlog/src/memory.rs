//! How much memory the process may use: all there is, or what its control groups leave it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where control groups are seen; of the first version, those for memory.
const UNIFIED: (&str, &str) = ("/sys/fs/cgroup", "memory.max");
const FIRST: (&str, &str) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");

/// However little memory there is, so much of it is kept of what was cold.
const LEAST: u64 = 64 << 20;
/// How long a look counts: limits of a group that runs are changed by hand.
const LOOK_LASTS: Duration = Duration::from_secs(1);

/// What of the memory is for history, as of the last look.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Option<(Instant, u64)>>);

impl Memory {
    /// A quarter of what the process may use, at least 64 MiB.
    pub(crate) fn share(&self) -> u64 {
        let mut last = self.0.lock();
        match *last {
            Some((at, share)) if at.elapsed() < LOOK_LASTS => share,
            _ => {
                let share = (limit() / 4).max(LEAST);
                *last = Some((Instant::now(), share));
                share
            }
        }
    }
}

/// Bytes. A limit that cannot be read is none.
fn limit() -> u64 {
    let installed = rustix::system::sysinfo();
    let installed = installed
        .totalram
        .saturating_mul(u64::from(installed.mem_unit));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(group).flat_map(limits);
    limits.fold(installed, u64::min)
}

/// The folder and the file name of the group that a line of `/proc/self/cgroup` names, if it is one that limits memory.
fn group(line: &str) -> Option<(PathBuf, &'static str, &'static str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => UNIFIED,
        _ if controllers.split(',').any(|name| name == "memory") => FIRST,
        _ => return None,
    };
    Some((
        Path::new(root).join(path.trim_start_matches('/')),
        root,
        file,
    ))
}

/// The limits of a group and of those that it lies in.
fn limits((folder, root, file): (PathBuf, &'static str, &'static str)) -> Vec<u64> {
    let within = folder.ancestors().take_while(|path| path.starts_with(root));
    let limit = |path: &Path| {
        fs::read_to_string(path.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    within.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_folder() {
        let found = |line| group(line).map(|(folder, _, file)| (folder, file));
        let unified = PathBuf::from("/sys/fs/cgroup/a/b");
        assert_eq!(found("0::/a/b"), Some((unified, "memory.max")));
        let first = PathBuf::from("/sys/fs/cgroup/memory/a");
        let file = "memory.limit_in_bytes";
        assert_eq!(found("4:cpu,memory:/a"), Some((first, file)));
        assert_eq!(found("5:cpuset:/a"), None);
        assert_eq!(found("what"), None);
    }

    #[test]
    fn the_limit_is_no_more_than_there_is() {
        let info = rustix::system::sysinfo();
        let installed = info.totalram * u64::from(info.mem_unit);
        assert!((1 << 20..=installed).contains(&limit()));
    }
}
