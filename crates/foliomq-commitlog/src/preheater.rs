//! The preheater: a thread that keeps the pages ahead of the append head resident and writable. It is a thread of its
//! own, since making a segment waits for the disk, and the window must not.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use event_listener::Listener;
use foliomq_segment::{Segment, Writer};

use crate::options::Flush;
use crate::shared::Shared;

/// While the head moves the preheater looks at it this often, without being woken.
const NAP: Duration = Duration::from_millis(1);

/// How far the preheater is.
#[derive(Debug)]
struct Progress {
    /// The head, when last looked at, and when that was.
    seen: (u64, Instant),
    /// Everything below is preheated.
    done: u64,
    /// The preparer is woken once the head passes this position.
    prepare_at: u64,
}

impl Shared {
    /// The preheater's thread, for a window of `bytes`.
    pub(crate) fn preheat_until_stopped(&self, bytes: u64) {
        let mut progress = Progress {
            seen: (self.publication.complete().value(), Instant::now()),
            done: 0,
            prepare_at: 0,
        };
        while !self.preparation.stopped() {
            let listener = self.preparation.listen_to_head();
            if self.follow_head(bytes, &mut progress) {
                // Not listening, so that appends need not wake this thread.
                drop(listener);
                thread::sleep(NAP);
            } else if !self.preparation.stopped() {
                listener.wait();
            }
        }
    }

    /// Does what is due at the present position; returns whether the head has moved since the last time.
    fn follow_head(&self, bytes: u64, progress: &mut Progress) -> bool {
        let position = self.publication.complete().value();
        let moved = position - progress.seen.0;
        if moved > 0 {
            // Where every append is flushed, no speed makes up for large folios.
            if self.options.flush != Flush::Sync {
                let time = progress.seen.1.elapsed();
                self.folios.lock().moved(moved, time);
            }
            self.bill.passed(progress.seen.0, position, progress.done);
        }
        progress.seen = (position, Instant::now());
        progress.done = self.preheat_ahead(bytes, progress.done);
        if position >= progress.prepare_at
            && let Some(writer) = self.publication.writer()
        {
            progress.prepare_at = prepare_mark(writer.segment(), position);
            self.preparation.wake();
        }
        moved > 0
    }

    /// Preheats the window ahead of the head, of which everything below `done` is; returns up to where it is now.
    fn preheat_ahead(&self, bytes: u64, done: u64) -> u64 {
        let Some(writer) = self.publication.writer() else {
            return done;
        };
        let segment = writer.segment();
        let position = self.publication.complete().value().max(segment.base());
        let target = position.saturating_add(bytes).min(segment.end());
        if target > done {
            return self.preheat(&*writer, done.max(position)..target);
        }
        done
    }

    /// Preheats `positions`; returns up to where it is done with. Failing costs speed only.
    pub(crate) fn preheat(&self, writer: &dyn Writer, positions: Range<u64>) -> u64 {
        let begin = Instant::now();
        let folios = self.folios.lock().next();
        match writer.preheat(positions.clone(), folios) {
            Ok(prepared) => {
                self.folios.lock().paid(folios, &prepared);
                let Range { start, end } = prepared.positions;
                self.bill.prepared(end - start, begin.elapsed());
                end.max(positions.end)
            }
            Err(error) => {
                let path = writer.segment().path().display();
                let start = positions.start;
                tracing::warn!(%path, %error, start, "pages could not be preheated; appends go on without");
                positions.end
            }
        }
    }
}

/// After `position`, where the preparer next has something to do: half-way through a segment, and at its end.
pub(crate) fn prepare_mark(segment: &Segment, position: u64) -> u64 {
    let half = segment.base() + segment.size() / 2;
    if position < half { half } else { segment.end() }
}
