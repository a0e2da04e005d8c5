//! The preheater: a thread that keeps the pages ahead of the append head resident and writable. It is a thread of its
//! own, since making a segment waits for the disk, and the window must not.

use std::ops::Range;

use event_listener::Listener;
use foliomq_segment::{Folios, Writer};

use crate::shared::Shared;

impl Shared {
    /// The preheater's thread, for a window of `bytes`.
    pub(crate) fn preheat_until_stopped(&self, bytes: u64) {
        let mut done = 0;
        loop {
            let listener = self.preparation.listen();
            if self.preparation.stopped() {
                return;
            }
            done = self.preheat_ahead(bytes, done);
            listener.wait();
        }
    }

    /// Preheats the window ahead of the head, of which everything below `done` is; returns up to where it is now.
    fn preheat_ahead(&self, bytes: u64, done: u64) -> u64 {
        let Some(writer) = self.publication.writer() else {
            return done;
        };
        let position = self.publication.position().max(writer.segment().base());
        let target = position.saturating_add(bytes).min(writer.segment().end());
        if target > done {
            preheat(&*writer, done.max(position)..target, Folios::Small);
        }
        done.max(target)
    }
}

/// Preheats `positions`. Failing costs speed only.
pub(crate) fn preheat(writer: &dyn Writer, positions: Range<u64>, folios: Folios) {
    if let Err(error) = writer.preheat(positions.clone(), folios) {
        let path = writer.segment().path().display();
        tracing::warn!(%path, %error, start = positions.start, "pages could not be preheated; appends go on without");
    }
}
