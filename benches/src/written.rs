//! Bytes written, counted twice: by the device, for everyone, and as pages dirtied, for this process alone.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::syncfs;

use crate::procfs::{self, Device};

/// Bytes written per byte appended.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// That reached the device, whoever wrote them: data, indexes, the file system's journal, other programs.
    pub device: f64,
    /// Of pages that this process dirtied, each time anew after it was clean. No journal, no other programs.
    pub dirtied: f64,
}

/// A count that is under way.
#[derive(Debug)]
pub struct Meter<'a> {
    device: &'a Device,
    written: u64,
    dirtied: u64,
}

impl<'a> Meter<'a> {
    /// Counts from here on.
    pub fn begin(device: &'a Device) -> Result<Self> {
        Ok(Self {
            device,
            written: device.bytes_written()?,
            dirtied: procfs::bytes_dirtied()?,
        })
    }

    /// What was written since, per byte of `appended`.
    pub fn per(&self, appended: u64) -> Result<Written> {
        let per = |now: u64, then: u64| (now - then) as f64 / appended.max(1) as f64;
        Ok(Written {
            device: per(self.device.bytes_written()?, self.written),
            dirtied: per(procfs::bytes_dirtied()?, self.dirtied),
        })
    }
}

/// Has the kernel write everything dirty of the file system, and waits for it.
pub fn write_out(folder: &Path) -> Result<()> {
    let folder = File::open(folder).context("opening the folder")?;
    syncfs(&folder).context("writing out the file system")
}
