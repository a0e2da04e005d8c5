//! Processes of the rig.

use std::io;

use rustix::process::{Signal, set_parent_process_death_signal};

/// This process does not outlive the one that started it.
pub fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Ends this process at once: nothing is flushed, closed or dropped.
pub fn kill_self() -> io::Result<()> {
    Ok(rustix::process::kill_process(
        rustix::process::getpid(),
        Signal::KILL,
    )?)
}
