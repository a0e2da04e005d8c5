//! Where the processor's time goes: samples of the running kernel, by `perf record`, as a look from outside at copies.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::results::Place;
use crate::run::{Bench, CONSUMER, Job, SENDER};

/// Functions of the kernel whose time is copying the bytes of messages; copies that are inlined count as theirs.
const COPYING: [&str; 10] = [
    "_copy_from_iter",
    "_copy_to_iter",
    "rep_movs_alternative",
    "copy_user_generic",
    "__memcpy",
    "__pi_memcpy",
    "memcpy",
    "memcpy_orig",
    "skb_copy_bits",
    "skb_copy_and_csum_bits",
];
/// Samples per second, on each core.
const FREQUENCY: &str = "4999";
/// Functions that are named.
const NAMED: usize = 6;

/// One way on one network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// The sender's thread.
    pub sender: Shares,
    /// The consumer's.
    pub consumer: Shares,
}

/// How the samples of one thread are divided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shares {
    /// All of them.
    pub samples: u64,
    /// Which share was copying.
    pub copying: f64,
    /// The functions with the most samples, and their shares.
    pub top: Vec<(String, f64)>,
}

/// Why no profile can be taken here, if so.
pub fn possible(bench: &Bench<'_>) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "sampling the kernel needs root"
    );
    ensure!(
        bench.cores.is_some(),
        "sampling needs sender and consumer on cores of their own"
    );
    let found = Command::new("perf").arg("--version").output();
    ensure!(
        found.is_ok_and(|run| run.status.success()),
        "perf is not installed"
    );
    Ok(())
}

/// Samples the cores of both ends for `length` while the job runs; the samples are kept in `folder` meanwhile.
pub fn take(bench: &Bench<'_>, job: Job<'_>, length: Duration, folder: &Path) -> Result<Profile> {
    let cores = bench.cores.context("no cores of their own")?;
    let file = folder.join("perf.data");
    let mut perf = Command::new("perf")
        .args(["record", "-q", "-a", "-e", "cpu-clock", "-F", FREQUENCY])
        .args(["-C", &format!("{},{}", cores.sender, cores.consumer), "-o"])
        .arg(&file)
        .args([
            "--",
            "sh",
            "-c",
            &format!("echo; exec sleep {}", length.as_secs_f64()),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("running perf record")?;
    // The line comes when the samples begin.
    let begun = perf.stdout.take().map(|mut out| out.read(&mut [0]));
    bench.time(job, length)?;
    ensure!(
        begun.is_some_and(|read| read.is_ok()) && perf.wait()?.success(),
        "perf record failed"
    );
    let script = Command::new("perf")
        .args(["script", "-F", "comm,ip,sym", "-i"])
        .arg(&file)
        .output()
        .context("running perf script")?;
    let text = String::from_utf8_lossy(&script.stdout);
    Ok(Profile {
        place: job.place,
        sender: shares(&text, SENDER),
        consumer: shares(&text, CONSUMER),
    })
}

/// Of the lines `thread address function` those of one thread.
fn shares(script: &str, thread: &CStr) -> Shares {
    let mut counts = HashMap::new();
    let thread = thread.to_str().ok();
    for line in script.lines() {
        let mut fields = line.split_whitespace();
        if fields.next() == thread {
            *counts
                .entry(fields.nth(1).unwrap_or("unknown"))
                .or_insert(0u64) += 1;
        }
    }
    let samples: u64 = counts.values().sum();
    let share = |count: u64| count as f64 / samples.max(1) as f64;
    let copying = counts
        .iter()
        .filter(|(function, _)| COPYING.contains(function))
        .map(|(_, count)| count)
        .sum();
    let mut top: Vec<_> = counts.into_iter().collect();
    top.sort_by_key(|(function, count)| (std::cmp::Reverse(*count), *function));
    let top = top
        .into_iter()
        .take(NAMED)
        .map(|(function, count)| (function.to_owned(), share(count)))
        .collect();
    Shares {
        samples,
        copying: share(copying),
        top,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_by_thread_and_function() {
        let script = "sender ffff _copy_from_iter\nconsumer ffff tcp_recvmsg\nsender ffff tcp_sendmsg\nsender ffff\n";
        let shares = shares(script, c"sender");
        assert_eq!(shares.samples, 3);
        assert!((shares.copying - 1.0 / 3.0).abs() < 1e-9 && shares.top.len() == 3);
    }
}
