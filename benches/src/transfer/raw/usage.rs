//! What a thread, or all of this process, used of the processor.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Sub;
use std::time::Duration;

use serde::Serialize;

use super::checked;

/// Read by `getrusage`; the kernel divides its exact run time into user and system by the clock tick, so the sum is
/// finer than its parts.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// Seconds in user mode.
    pub user: f64,
    /// Seconds in the kernel.
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
        read(libc::RUSAGE_THREAD)
    }

    /// Of this process, ended threads and the kernel's workers for it included.
    pub fn of_process() -> io::Result<Self> {
        read(libc::RUSAGE_SELF)
    }

    /// Seconds in both modes.
    pub fn time(&self) -> f64 {
        self.user + self.system
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
            minor_faults: self.minor_faults - before.minor_faults,
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
            involuntary_switches: self.involuntary_switches - before.involuntary_switches,
        }
    }
}

fn read(who: libc::c_int) -> io::Result<Usage> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, which the kernel fills.
    checked(unsafe { libc::getrusage(who, usage.as_mut_ptr()) })?;
    // SAFETY: filled, and zeroed before: all of it is plain numbers.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| {
        Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000).as_secs_f64()
    };
    Ok(Usage {
        user: seconds(usage.ru_utime),
        system: seconds(usage.ru_stime),
        minor_faults: usage.ru_minflt as u64,
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_thread_is_work_of_the_process() {
        let before = Usage::of_thread().unwrap();
        while (Usage::of_thread().unwrap() - before).time() < 1e-3 {}
        assert!(Usage::of_process().unwrap().time() >= 1e-3);
    }
}
