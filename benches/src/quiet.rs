//! Waiting for a quiet machine, and saying afterwards how quiet it was.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::procfs::{self, MachineTime};

/// Cores that others may keep busy while the machine still counts as quiet.
const QUIET: f64 = 0.25;
/// How long the machine is watched before that is said.
const LOOK: Duration = Duration::from_millis(500);

/// What ran beside an experiment.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    /// Seconds that passed before the machine was quiet, or patience ran out.
    pub waited: f64,
    /// Seconds that the experiment took.
    pub took: f64,
    /// Load average before.
    pub load_before: String,
    /// Load average after; what the experiment itself ran is in it.
    pub load_after: String,
    /// Cores that other processes and the kernel kept busy, in the mean.
    pub others: f64,
    /// Cores of the machine.
    pub cores: usize,
}

impl Conditions {
    /// Whether a core was left over for everything that the experiment ran.
    pub fn disturbed(&self) -> bool {
        self.others > 2.0 * QUIET
    }
}

/// An experiment that is under way.
#[derive(Debug)]
pub struct Watch {
    waited: Duration,
    begin: Instant,
    machine: MachineTime,
    own: Duration,
    load: String,
}

impl Watch {
    /// Waits until others keep less than a quarter of a core busy, at most for `patience`, and begins.
    pub fn begin(patience: Duration) -> Result<Self> {
        let arrived = Instant::now();
        while arrived.elapsed() < patience && busy_cores()? > QUIET {}
        Ok(Self {
            waited: arrived.elapsed(),
            begin: Instant::now(),
            machine: procfs::machine_time()?,
            own: own_time()?,
            load: procfs::load_average()?,
        })
    }

    /// Ends, and says what ran beside.
    pub fn end(self) -> Result<Conditions> {
        let took = self.begin.elapsed();
        let busy = procfs::machine_time()?
            .busy
            .saturating_sub(self.machine.busy);
        let own = own_time()?.saturating_sub(self.own);
        Ok(Conditions {
            waited: self.waited.as_secs_f64(),
            took: took.as_secs_f64(),
            load_before: self.load,
            load_after: procfs::load_average()?,
            others: busy.saturating_sub(own).as_secs_f64() / took.as_secs_f64(),
            cores: thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// Of this process and of the children that have ended.
fn own_time() -> Result<Duration> {
    Ok(procfs::process_usage()?.time + procfs::children_time()?)
}

/// Cores kept busy by the whole machine over a short look, in which this process sleeps.
fn busy_cores() -> Result<f64> {
    let before = procfs::machine_time()?;
    thread::sleep(LOOK);
    let after = procfs::machine_time()?;
    Ok((after.busy.saturating_sub(before.busy)).as_secs_f64() / LOOK.as_secs_f64())
}
