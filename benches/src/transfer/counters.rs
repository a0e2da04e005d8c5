//! What the kernel counted beside the program's own counting: system calls, packets, its own threads.

use std::fs;
use std::ops::Sub;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use foliomq_benches::procfs;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::network::{Kind, Network, on_new_thread};
use crate::raw::{self, Counter, Tracepoint};

/// Where tracepoints are described.
const TRACING: &str = "/sys/kernel/tracing";
/// Packets of fewer bytes carry no data, only acknowledgements.
const DATA: &str = "len > 100";

/// Counters of the kernel, open for as long as they are asked: they slow what they count.
#[derive(Debug)]
pub struct Counters {
    system_call: Tracepoint,
    /// To open the first and to close the last counter of a tracepoint takes the kernel long: this one stays.
    _kept: Counter,
    packets: Vec<(&'static str, PacketCounters)>,
}

impl Counters {
    /// Opens them; needs root.
    pub fn open(networks: &[Network]) -> Result<Self> {
        let [system_call, packet] = tracepoints()?;
        let mut devices: Vec<_> = networks
            .iter()
            .map(|network| network.kind.device())
            .collect();
        devices.dedup();
        let packets = |device| Ok((device, PacketCounters::open(packet, device)?));
        Ok(Self {
            system_call,
            _kept: Counter::of_thread(system_call).context("opening a counter of system calls")?,
            packets: devices.into_iter().map(packets).collect::<Result<_>>()?,
        })
    }

    /// Counts the system calls of the calling thread, the look at the counter included.
    pub fn system_calls(&self) -> Result<Counter> {
        Counter::of_thread(self.system_call).context("opening a counter of system calls")
    }

    /// Packets with data that were handed to a network's device until now.
    pub fn packets(&self, network: Kind) -> Result<Packets> {
        let counters = self
            .packets
            .iter()
            .find(|(device, _)| *device == network.device());
        counters.context("a device without counters")?.1.count()
    }
}

/// The tracepoints of system calls and of packets. Where tracefs is not mounted it is mounted for one short-lived
/// thread alone.
fn tracepoints() -> Result<[Tracepoint; 2]> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the kernel's counters need root"
    );
    on_new_thread(|| {
        if fs::metadata(format!("{TRACING}/events")).is_err() {
            raw::unshare(UnshareFlags::NEWNS).context("making a mount namespace")?;
            mount_change(
                "/",
                MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
            )?;
            mount("tracefs", TRACING, "tracefs", MountFlags::empty(), None)
                .context("mounting tracefs")?;
        }
        Ok([
            number("raw_syscalls/sys_enter")?,
            number("net/net_dev_start_xmit")?,
        ])
    })
}

fn number(name: &str) -> Result<Tracepoint> {
    let text = procfs::read(format!("{TRACING}/events/{name}/id"))?;
    Ok(Tracepoint(
        text.trim().parse().context("the number of a tracepoint")?,
    ))
}

/// Running counts of packets on one device.
#[derive(Debug)]
struct PacketCounters {
    all: Vec<Counter>,
    linear: Vec<Counter>,
}

/// Packets with data, as they were handed to the device.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Packets {
    /// All of them.
    pub all: u64,
    /// Of these, packets in one piece of memory: their bytes were copied there. The others refer to pages.
    pub linear: u64,
}

impl Sub for Packets {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            all: self.all - before.all,
            linear: self.linear - before.linear,
        }
    }
}

impl PacketCounters {
    fn open(packet: Tracepoint, device: &str) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let device = format!("name == \"{device}\" && {DATA}");
        let count = |filter: &str| -> Result<Vec<Counter>> {
            let counter = |core| Counter::of_core(packet, core, filter);
            (0..cores)
                .map(counter)
                .collect::<Result<_, _>>()
                .context("opening a counter of packets")
        };
        Ok(Self {
            all: count(&device)?,
            linear: count(&format!("{device} && data_len == 0"))?,
        })
    }

    fn count(&self) -> Result<Packets> {
        let sum = |counters: &[Counter]| -> Result<u64> {
            counters
                .iter()
                .map(|counter| counter.count().context("reading a counter of packets"))
                .sum()
        };
        Ok(Packets {
            all: sum(&self.all)?,
            linear: sum(&self.linear)?,
        })
    }
}

/// The kernel's threads that take over the network's work on some cores when it becomes too much for an interrupt.
#[derive(Debug, Clone, Default)]
pub struct KernelThreads {
    schedules: Vec<PathBuf>,
}

impl KernelThreads {
    /// Of these cores; none where `/proc` does not show them.
    pub fn of(cores: &[usize]) -> Self {
        let wanted: Vec<String> = cores
            .iter()
            .map(|core| format!("ksoftirqd/{core}"))
            .collect();
        let Ok(processes) = fs::read_dir("/proc") else {
            return Self::default();
        };
        let is_wanted = |folder: &PathBuf| {
            fs::read_to_string(folder.join("comm"))
                .is_ok_and(|name| wanted.iter().any(|w| w == name.trim()))
        };
        let folders = processes
            .flatten()
            .map(|entry| entry.path())
            .filter(is_wanted);
        Self {
            schedules: folders.map(|folder| folder.join("schedstat")).collect(),
        }
    }

    /// Seconds that they ran since boot.
    pub fn time(&self) -> f64 {
        let nanoseconds = |file: &PathBuf| -> Option<f64> {
            fs::read_to_string(file)
                .ok()?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        self.schedules.iter().filter_map(nanoseconds).sum::<f64>() / 1e9
    }
}
