//! A thread that leaves a namespace.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a namespace of its own, of the kinds asked for; the rest of the process stays.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: unsafe only for a table of descriptors that is no longer shared, which is refused above.
    unsafe { unshare_unsafe(flags)? };
    Ok(())
}
