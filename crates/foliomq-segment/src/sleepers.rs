//! Whether anybody waits for a position to move: one word beside it. See [`Watermark`](crate::Watermark).

use crate::sync::{AtomicU32, Ordering, fence};

/// Set in the word of sleepers while a thread of this process may listen.
pub(crate) const LOCAL: u32 = 1;
/// Set while a thread may sleep on the word itself, in this process or another.
pub(crate) const FOREIGN: u32 = 2;

/// One in the count of the times that sleepers were woken, above the bits.
const COUNT: u32 = 4;

/// Sets the waiter's bit; returns the word on which it may sleep. Then it looks at the position once more.
pub(crate) fn announce(word: &AtomicU32, bit: u32) -> u32 {
    let found = word.fetch_or(bit, Ordering::SeqCst) | bit;
    fence(Ordering::SeqCst);
    found
}

/// After the position has moved: the bits of those who are to be woken, most often none.
#[inline]
pub(crate) fn take(word: &AtomicU32) -> u32 {
    // With the fence of those who wait: either this sees that somebody does, or he sees what was changed before.
    fence(Ordering::SeqCst);
    match word.load(Ordering::Relaxed) & (LOCAL | FOREIGN) {
        0 => 0,
        _ => take_all(word),
    }
}

/// After something has changed: whether anybody may sleep. Moves the count on and leaves the bits, for those who sleep on
/// when one is woken; one who is only about to sleep finds another word, and looks again.
pub(crate) fn recount(word: &AtomicU32) -> bool {
    fence(Ordering::SeqCst);
    let any = word.load(Ordering::Relaxed) & (LOCAL | FOREIGN) != 0;
    if any {
        word.fetch_add(COUNT, Ordering::SeqCst);
    }
    any
}

/// Replaces the word by the next count without bits.
#[cold]
fn take_all(word: &AtomicU32) -> u32 {
    let mut found = word.load(Ordering::SeqCst);
    loop {
        // Counted from the word that is replaced: of two who wake at once none takes the count back, or a waiter might
        // find the word of before.
        let next = (found | LOCAL | FOREIGN).wrapping_add(1);
        match word.compare_exchange(found, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) => return found & (LOCAL | FOREIGN),
            Err(now) => found = now,
        }
    }
}
