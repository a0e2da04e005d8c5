//! Where threads of this process sleep until they are called.

use crossbeam::utils::CachePadded;
use rustix::thread::futex;

use crate::sleepers::{self, FOREIGN};
use crate::sync::AtomicU32;

/// Threads that sleep until they are woken, all by one system call, however many they are, or one alone. Nobody there:
/// no system call.
///
/// It goes by the protocol of [`Watermark`](crate::Watermark): whoever wakes has changed something before, and whoever
/// wants to sleep looks once more after he has said so.
#[derive(Debug, Default)]
pub struct Lobby {
    word: CachePadded<AtomicU32>,
}

impl Lobby {
    /// Sleeps until woken, if `asleep` still agrees once this thread counts among the sleepers; may also return for no
    /// reason.
    pub fn sleep_if(&self, asleep: impl FnOnce() -> bool) {
        let word = sleepers::announce(&self.word, FOREIGN);
        if asleep() {
            // Whatever it says, the caller looks again.
            let _ = futex::wait(&self.word, futex::Flags::PRIVATE, word, None);
        }
    }

    /// Wakes all who sleep.
    pub fn wake_all(&self) {
        if sleepers::take(&self.word) != 0 {
            self.wake(i32::MAX as u32);
        }
    }

    /// Wakes one of those who sleep.
    pub fn wake_one(&self) {
        if sleepers::recount(&self.word) {
            self.wake(1);
        }
    }

    fn wake(&self, most: u32) {
        // It fails only for an address that is no word of memory.
        let _ = futex::wake(&self.word, futex::Flags::PRIVATE, most);
    }
}
