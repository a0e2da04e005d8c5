//! Counters of the kernel's tracepoints, by `perf_event_open`.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};

use super::checked;

/// The number under which the running kernel knows a tracepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracepoint(pub u64);

/// `PERF_TYPE_TRACEPOINT`.
const TRACEPOINT: u64 = 2;
/// Bytes of the first version of `struct perf_event_attr`, which later kernels take as well.
const ATTRIBUTES: u64 = 64;
/// `PERF_EVENT_IOC_SET_FILTER`.
const SET_FILTER: u64 = 0x4008_2406;

/// A running counter; it ends when it is dropped.
#[derive(Debug)]
pub struct Counter(File);

impl Counter {
    /// Counts how often the calling thread passes a tracepoint.
    pub fn of_thread(tracepoint: Tracepoint) -> io::Result<Self> {
        open(tracepoint, 0, -1)
    }

    /// Counts how often anyone on a core passes a tracepoint with what `filter` asks for.
    pub fn of_core(tracepoint: Tracepoint, core: usize, filter: &str) -> io::Result<Self> {
        let counter = open(
            tracepoint,
            -1,
            i32::try_from(core).map_err(io::Error::other)?,
        )?;
        let filter = CString::new(filter)?;
        // SAFETY: the request takes a string that ends with a zero and is read before the call returns.
        checked(unsafe { libc::ioctl(counter.0.as_raw_fd(), SET_FILTER as _, filter.as_ptr()) })?;
        Ok(counter)
    }

    /// How often until now. The call itself is a system call, counted before it looks.
    pub fn count(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        (&self.0).read_exact(&mut count)?;
        Ok(u64::from_ne_bytes(count))
    }
}

fn open(tracepoint: Tracepoint, thread: libc::pid_t, core: libc::c_int) -> io::Result<Counter> {
    // Type and size, configuration, then period, sample type, read format and flags: all zero, so it counts at once,
    // and at last what this type of event does not use.
    let attributes: [u64; 8] = [
        TRACEPOINT | ATTRIBUTES << 32,
        tracepoint.0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let (group, flags): (libc::c_int, libc::c_ulong) = (-1, 8 /* close on exec */);
    // SAFETY: the attributes have the size that they name, and outlive the call.
    let file = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            thread,
            core,
            group,
            flags,
        )
    };
    let file = checked(file as libc::c_int)?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(Counter(unsafe { File::from_raw_fd(file) }))
}
