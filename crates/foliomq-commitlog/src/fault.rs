//! Failures injected by tests.

use std::fmt::Debug;
use std::io;

/// Decides, before a system call that may fail, whether it does. Asked only where the disk is concerned, never on an
/// append.
pub trait Fault: Debug + Send + Sync {
    /// Before a flush of the log.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// Before a segment is made.
    fn create(&self) -> io::Result<()> {
        Ok(())
    }
}
