//! How many bytes are on their way to readers, and how many of them are pages of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of all connections together.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    unread: AtomicU64,
    pinned: AtomicU64,
}

impl Wire {
    /// Bytes of answers that no socket has taken.
    pub(crate) fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Those of them that keep mapped pages.
    pub(crate) fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::Relaxed)
    }
}

/// The part of one rope, given back when it is dropped: whatever becomes of the bytes, they are counted for as long as they
/// are there.
#[derive(Debug)]
pub(crate) struct Share {
    wire: Arc<Wire>,
    unread: u64,
    pinned: u64,
}

impl Share {
    pub(crate) fn new(wire: Arc<Wire>, unread: usize, pinned: usize) -> Self {
        let (unread, pinned) = (unread as u64, pinned as u64);
        wire.unread.fetch_add(unread, Ordering::Relaxed);
        wire.pinned.fetch_add(pinned, Ordering::Relaxed);
        Self {
            wire,
            unread,
            pinned,
        }
    }

    /// So many of them have left.
    pub(crate) fn shrink(&mut self, unread: usize, pinned: usize) {
        drop(self.split(unread, pinned));
    }

    /// They keep no pages any more.
    pub(crate) fn unpin(&mut self) {
        let pinned = std::mem::take(&mut self.pinned);
        self.wire.pinned.fetch_sub(pinned, Ordering::Relaxed);
    }

    /// The share of a part of them.
    pub(crate) fn split(&mut self, unread: usize, pinned: usize) -> Self {
        let unread = self.unread.min(unread as u64);
        let pinned = self.pinned.min(pinned as u64);
        self.unread -= unread;
        self.pinned -= pinned;
        Self {
            wire: self.wire.clone(),
            unread,
            pinned,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.wire.unread.fetch_sub(self.unread, Ordering::Relaxed);
        self.wire.pinned.fetch_sub(self.pinned, Ordering::Relaxed);
    }
}
