//! What the machine itself does with memory and the disk, measured before each page: what bounds any figure below it.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

use crate::figures::significant;
use crate::procfs;

/// Bytes of memory that are touched at a time, between two looks at the clock: more than what an allocator keeps for later.
const PIECE: u64 = 64 << 20;
/// Bytes that each flush writes.
const FLUSHED: usize = 4 << 10;
/// Flushes, at most.
const FLUSHES: u64 = 500;

/// How much is spent on it.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Memory, and bytes of each file, at most. Of the memory that is available no more than an eighth is taken.
    pub bytes: u64,
    /// Of the first touch; the other four measurements take at most a third of it each.
    pub time: Duration,
}

impl Budget {
    /// Under five seconds.
    pub const FULL: Self = Self {
        bytes: 1 << 30,
        time: Duration::from_millis(1500),
    };
    /// Under two seconds.
    pub const QUICK: Self = Self {
        bytes: 256 << 20,
        time: Duration::from_millis(600),
    };
    /// To see that it runs.
    pub const SMOKE: Self = Self {
        bytes: 8 << 20,
        time: Duration::from_millis(15),
    };

    /// By the name of a scale: `full`, `quick` or `smoke`.
    pub fn of(scale: &str) -> Self {
        match scale {
            "full" => Self::FULL,
            "smoke" => Self::SMOKE,
            _ => Self::QUICK,
        }
    }
}

/// What the machine does with nothing of ours in the way.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Floors {
    /// Writing to pages that the process has not had, GiB/s: the kernel zeroes them, and under a hypervisor that takes free
    /// memory back the host finds them first. Appends to new pages go no faster.
    pub first_touch: f64,
    /// Writing to the same pages again, GiB/s.
    pub second_touch: f64,
    /// `write(2)` of 1 KiB into a new file, GB/s.
    pub write_1k: f64,
    /// `write(2)` of 100 KiB into a new file, GB/s.
    pub write_100k: f64,
    /// `fdatasync` after a write of 4 KiB into a reserved file, half of them within so many microseconds.
    pub fdatasync: f64,
}

impl Floors {
    /// Measures memory, and the file system of `folder`.
    ///
    /// # Errors
    /// If files cannot be made there.
    pub fn measure(folder: &Path, budget: Budget) -> Result<Self> {
        let share = Budget {
            time: budget.time / 3,
            ..budget
        };
        let (first_touch, second_touch) = touches(budget)?;
        Ok(Self {
            first_touch,
            second_touch,
            write_1k: writes(folder, 1 << 10, share)? / 1e9,
            write_100k: writes(folder, 100 << 10, share)? / 1e9,
            fdatasync: flushes(folder, share)?,
        })
    }

    /// What a page says of it.
    pub fn row(&self) -> (&'static str, String) {
        let text = format!(
            "memory touched for the first time {} GiB/s, again {} GiB/s; write(2) into a new file, of 1 KiB {} GB/s, of 100 KiB {} GB/s; \
             fdatasync of 4 KiB, p50, {:.0} us",
            significant(self.first_touch),
            significant(self.second_touch),
            significant(self.write_1k),
            significant(self.write_100k),
            self.fdatasync,
        );
        ("the machine's own", text)
    }
}

/// GiB/s, for the first time and again.
fn touches(budget: Budget) -> Result<(f64, f64)> {
    let available = procfs::available_memory()?;
    let most = budget.bytes.min(available / 8);
    let (mut held, mut size) = (Vec::new(), 0);
    let (begin, mut first) = (Instant::now(), Duration::ZERO);
    while size < most && begin.elapsed() < budget.time {
        // Zeroed memory of this size comes as pages that are not there yet.
        let mut piece = vec![0_u8; PIECE.min(most - size) as usize];
        first += touch(&mut piece, 1);
        size += piece.len() as u64;
        held.push(piece);
    }
    let second: Duration = held.iter_mut().map(|piece| touch(piece, 2)).sum();
    let size = size as f64 / f64::from(1 << 30);
    Ok((size / first.as_secs_f64(), size / second.as_secs_f64()))
}

fn touch(piece: &mut [u8], with: u8) -> Duration {
    let begin = Instant::now();
    piece.fill(with);
    black_box(&piece);
    begin.elapsed()
}

/// Bytes per second that `write(2)`, so many bytes at a time, puts into a new file: into the page cache, that is.
///
/// # Errors
/// If the file cannot be made or written.
pub fn writes(folder: &Path, block: usize, budget: Budget) -> Result<f64> {
    const LOOK: u64 = 1 << 20;
    let file = new_file(folder)?;
    let bytes = vec![0xA5; block];
    let (begin, mut written, mut look) = (Instant::now(), 0, LOOK);
    while written < budget.bytes {
        std::io::Write::write_all(&mut &file, &bytes).context("writing a new file")?;
        written += block as u64;
        if written >= look {
            look = written + LOOK;
            if begin.elapsed() > budget.time {
                break;
            }
        }
    }
    Ok(written as f64 / begin.elapsed().as_secs_f64())
}

/// Microseconds within which half of the flushes are done.
fn flushes(folder: &Path, budget: Budget) -> Result<f64> {
    let file = new_file(folder)?;
    fallocate(&file, FallocateFlags::empty(), 0, FLUSHES * FLUSHED as u64)
        .context("reserving a file")?;
    file.sync_all().context("flushing a new file")?;
    let block = [0xA5; FLUSHED];
    let (begin, mut times) = (Instant::now(), Vec::new());
    for at in 0..FLUSHES {
        file.write_all_at(&block, at * FLUSHED as u64)
            .context("writing a file")?;
        let flush = Instant::now();
        file.sync_data().context("flushing a file")?;
        times.push(flush.elapsed());
        if begin.elapsed() > budget.time {
            break;
        }
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}

/// Gone once it is closed.
fn new_file(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).context("making a file to measure")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_has_a_figure_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let floors = Floors::measure(folder.path(), Budget::SMOKE).unwrap();
        let figures = [
            floors.first_touch,
            floors.second_touch,
            floors.write_1k,
            floors.write_100k,
            floors.fdatasync,
        ];
        assert!(figures.iter().all(|figure| *figure > 0.0), "{floors:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(floors.row().1.contains("fdatasync of 4 KiB"));
    }
}
