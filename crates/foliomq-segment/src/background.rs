//! Threads that do not stand in the way of others.

use std::io;

/// Has this thread wait for its turn when it wakes up, instead of taking the processor from one that runs (Linux's
/// `SCHED_BATCH`). For work ahead of its time, of which an appender should not notice anything.
pub fn yield_to_others() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a valid parameter block for the time of the call; 0 stands for this thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
