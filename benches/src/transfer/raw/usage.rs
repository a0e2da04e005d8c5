//! What a thread used of the processor.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Sub;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, Serializer};

use super::checked;

/// Time is read from the thread's own clock, which is exact; `getrusage` lags behind by up to a clock tick, and only
/// divides it into user and system.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds in both modes.
    #[serde(serialize_with = "micro")]
    pub time: f64,
    /// Seconds in user mode.
    #[serde(serialize_with = "micro")]
    pub user: f64,
    /// Seconds in the kernel.
    #[serde(serialize_with = "micro")]
    pub system: f64,
    /// Page faults that needed no device.
    pub minor_faults: u64,
    /// Times that the thread went to sleep.
    pub voluntary_switches: u64,
    /// Times that it was made to wait for another.
    pub involuntary_switches: u64,
}

impl Usage {
    /// Of the calling thread.
    pub fn of_thread() -> io::Result<Self> {
        read(libc::RUSAGE_THREAD, ClockId::ThreadCPUTime)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            time: self.time - before.time,
            user: self.user - before.user,
            system: self.system - before.system,
            minor_faults: self.minor_faults - before.minor_faults,
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
            involuntary_switches: self.involuntary_switches - before.involuntary_switches,
        }
    }
}

fn read(who: libc::c_int, clock: ClockId) -> io::Result<Usage> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, which the kernel fills.
    checked(unsafe { libc::getrusage(who, usage.as_mut_ptr()) })?;
    // SAFETY: filled, and zeroed before: all of it is plain numbers.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| {
        Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000).as_secs_f64()
    };
    let time = clock_gettime(clock);
    Ok(Usage {
        time: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
        user: seconds(usage.ru_utime),
        system: seconds(usage.ru_stime),
        minor_faults: usage.ru_minflt as u64,
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
    })
}

/// Writes seconds with six digits behind the point: the file stays small, and nothing measured here is finer.
pub fn micro<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((seconds * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_time() {
        let before = Usage::of_thread().unwrap();
        while (Usage::of_thread().unwrap() - before).time < 1e-4 {}
        let used = Usage::of_thread().unwrap() - before;
        assert!(used.time < 1e3 && used.minor_faults < 1 << 20);
    }
}
