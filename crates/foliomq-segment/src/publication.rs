//! Publishing in order: many threads write at once, readers see a prefix.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::reserver::Reserver;
use crate::ring::Ring;
use crate::watermark::Watermark;
use crate::writer::{Writer, WriterKind};

/// How many slots may be reserved and not yet published at a time.
pub const IN_FLIGHT: usize = 1024;

/// The positions of one log: below which all bytes are written, and below which they are readable.
#[derive(Debug)]
pub struct Publication {
    /// Everything below is written, in the memory of its writer.
    complete: Arc<Watermark>,
    /// Everything below is in its segment's file. With mapped stores the same watermark.
    readable: Arc<Watermark>,
    poisoned: AtomicBool,
    ring: Ring,
    /// Every writer whose memory an unpublished slot may lie in, or that holds bytes which are not in the file yet.
    writers: Mutex<Vec<Arc<dyn Writer>>>,
    /// Held while bytes are written out, so that the readable position never passes a gap.
    writing_out: Mutex<()>,
}

impl Publication {
    /// For mapped stores: a publication at `position`, and the one reserver of what follows.
    pub fn new(position: u64) -> (Arc<Self>, Reserver) {
        let watermark = Arc::new(Watermark::new(position));
        Self::with(watermark.clone(), watermark)
    }

    /// For staged writers: bytes become readable by [`write_out`](Self::write_out).
    pub fn staged(position: u64) -> (Arc<Self>, Reserver) {
        let new = || Arc::new(Watermark::new(position));
        Self::with(new(), new())
    }

    /// For bytes that are written in this way, with a readable position that lives elsewhere.
    pub fn over(readable: Watermark, writer: WriterKind) -> (Arc<Self>, Reserver) {
        let readable = Arc::new(readable);
        let complete = match writer {
            WriterKind::Mapped => readable.clone(),
            WriterKind::Staged => Arc::new(Watermark::new(readable.value())),
        };
        Self::with(complete, readable)
    }

    fn with(complete: Arc<Watermark>, readable: Arc<Watermark>) -> (Arc<Self>, Reserver) {
        let position = readable.value();
        let publication = Arc::new(Self {
            complete,
            readable,
            poisoned: AtomicBool::new(false),
            ring: Ring::new(IN_FLIGHT),
            writers: Mutex::default(),
            writing_out: Mutex::default(),
        });
        let reserver = Reserver::new(publication.clone(), position);
        (publication, reserver)
    }

    /// Everything below is readable.
    pub fn position(&self) -> u64 {
        self.readable.value()
    }

    /// The readable position, to wait on.
    pub fn watermark(&self) -> &Arc<Watermark> {
        &self.readable
    }

    /// The position below which everything is written, if perhaps not yet to the file.
    pub fn complete(&self) -> &Watermark {
        &self.complete
    }

    /// Wakes all who wait for either position, so that they look at what else has changed.
    pub fn wake(&self) {
        self.complete.wake();
        self.readable.wake();
    }

    /// Whether a slot was dropped unpublished.
    pub fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Brings everything complete into the files, and makes it readable. With mapped stores it is there already.
    pub fn write_out(&self) -> io::Result<()> {
        if Arc::ptr_eq(&self.complete, &self.readable) {
            return Ok(());
        }
        let _one_at_a_time = self.writing_out.lock();
        let (from, to) = (self.readable.value(), self.complete.value());
        if from == to {
            return Ok(());
        }
        for writer in self.writers() {
            writer.write_out(from..to)?;
        }
        self.readable.advance(to);
        Ok(())
    }

    /// Lets every writer give back the memory of what lies below `position`, which must be readable.
    pub fn release(&self, position: u64) -> io::Result<()> {
        let position = position.min(self.position());
        self.writers()
            .iter()
            .try_for_each(|writer| writer.release(position))
    }

    /// Writers of full segments that nobody needs any more. To drop one unmaps it, which takes milliseconds.
    pub fn retired(&self) -> Vec<Arc<dyn Writer>> {
        let position = self.position();
        let mut writers = self.writers.lock();
        let last = writers.len().saturating_sub(1);
        let done = writers[..last].partition_point(|writer| writer.segment().end() <= position);
        writers.drain(..done).collect()
    }

    /// The writer of what is appended now, once there is one.
    pub fn writer(&self) -> Option<Arc<dyn Writer>> {
        self.writers.lock().last().cloned()
    }

    fn writers(&self) -> Vec<Arc<dyn Writer>> {
        self.writers.lock().clone()
    }

    pub(crate) fn keep(&self, writer: Arc<dyn Writer>) {
        self.writers.lock().push(writer);
    }

    /// How many of `reserved` slots are not published.
    pub(crate) fn in_flight(&self, reserved: u64) -> u64 {
        reserved - self.ring.oldest()
    }

    /// Marks a slot as written, and passes every slot up to the first that is not.
    pub(crate) fn publish(&self, sequence: u64, end: u64) {
        if let Some(end) = self.ring.publish(sequence, end) {
            self.complete.advance(end);
        }
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{Folder, Refused, Segment, SegmentFile, Slot};

    struct Log {
        dir: tempfile::TempDir,
        segment: Arc<Segment>,
        publication: Arc<Publication>,
        reserver: Reserver,
    }

    fn log(size: u64, kind: WriterKind) -> Log {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let (publication, mut reserver) = match kind {
            WriterKind::Mapped => Publication::new(0),
            WriterKind::Staged => Publication::staged(0),
        };
        let file = SegmentFile::create(&folder, 0, size).unwrap();
        let segment = file.map(&publication).unwrap();
        reserver.go_on(kind.open(&segment).unwrap()).unwrap();
        Log {
            dir,
            segment,
            publication,
            reserver,
        }
    }

    fn mapped(size: u64) -> Log {
        log(size, WriterKind::Mapped)
    }

    #[test]
    fn readers_see_a_prefix() {
        let Log {
            dir: _dir,
            segment,
            publication,
            mut reserver,
        } = mapped(64 << 10);
        let mut first = reserver.reserve(&publication, 4).unwrap();
        let mut second = reserver.reserve(&publication, 4).unwrap();
        second.space().write(0, b"bbbb");
        second.publish();
        assert!(
            segment.bytes(4, 4).is_none(),
            "the slot before it is still open"
        );
        first.space().write(0, b"aaaa");
        first.publish();
        assert_eq!(&segment.bytes(0, 8).unwrap()[..], b"aaaabbbb");
        assert!(segment.bytes(0, 9).is_none());
        assert_eq!(segment.published_bytes().len(), 8);
    }

    #[test]
    fn a_dropped_slot_poisons() {
        let Log {
            dir: _dir,
            segment,
            publication,
            mut reserver,
        } = mapped(64 << 10);
        drop(reserver.reserve(&publication, 4).unwrap());
        assert_eq!(
            reserver.reserve(&publication, 4).unwrap_err(),
            Refused::Poisoned
        );
        assert_eq!(segment.published_bytes().len(), 0);
    }

    #[test]
    fn the_number_in_flight_is_bounded() {
        let Log {
            dir: _dir,
            segment,
            publication,
            mut reserver,
        } = mapped(64 << 10);
        let mut slots: Vec<Slot<'_>> = (0..IN_FLIGHT)
            .map(|_| reserver.reserve(&publication, 8).unwrap())
            .collect();
        assert_eq!(
            reserver.reserve(&publication, 8).unwrap_err(),
            Refused::Busy
        );
        slots.drain(..).rev().for_each(Slot::publish);
        assert_eq!(segment.published_bytes().len(), IN_FLIGHT * 8);
        reserver.reserve(&publication, 8).unwrap().publish();
    }

    #[test]
    fn a_slot_lies_in_its_segment() {
        let Log {
            dir: _dir,
            publication,
            mut reserver,
            ..
        } = mapped(4096);
        assert_eq!(
            reserver.reserve(&publication, 4097).unwrap_err(),
            Refused::OutOfSegment
        );
        reserver.reserve(&publication, 4096).unwrap().publish();
        assert_eq!(
            reserver.reserve(&publication, 1).unwrap_err(),
            Refused::OutOfSegment
        );
        let (_other, mut foreign) = Publication::new(0);
        assert_eq!(
            foreign.reserve(&publication, 1).unwrap_err(),
            Refused::OutOfSegment
        );
    }

    #[test]
    #[should_panic(expected = "past its slot")]
    fn a_write_past_the_slot_panics() {
        let Log {
            dir: _dir,
            publication,
            mut reserver,
            ..
        } = mapped(4096);
        let mut slot = reserver.reserve(&publication, 4).unwrap();
        slot.space().write(2, b"abc");
    }

    #[test]
    fn references_outlive_file_and_mapping() {
        let Log {
            dir,
            segment,
            publication,
            mut reserver,
        } = mapped(4096);
        let mut slot = reserver.reserve(&publication, 4).unwrap();
        slot.space().write(0, b"page");
        slot.publish();
        let bytes = segment.bytes(0, 4).unwrap();
        assert!(segment.contains(&bytes));
        drop((publication, reserver, segment, dir));
        assert_eq!(&bytes[..], b"page");
    }

    #[test]
    fn many_threads_publish_and_one_reads_whole_slots() {
        const SLOTS: usize = 4000;
        let Log {
            dir: _dir,
            segment,
            publication,
            reserver,
        } = mapped(64 << 10);
        let reserver = Mutex::new(reserver);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..SLOTS / 4 {
                        let mut slot = loop {
                            match reserver.lock().reserve(&publication, 16) {
                                Err(Refused::Busy) => thread::yield_now(),
                                slot => break slot.unwrap(),
                            }
                        };
                        let word = slot.position().to_le_bytes();
                        slot.space().write(0, &word);
                        slot.space().write(8, &word);
                        slot.publish();
                    }
                });
            }
            let mut seen = 0;
            while seen < SLOTS * 16 {
                let bytes = segment.published_bytes();
                for at in (seen..bytes.len()).step_by(8) {
                    let word = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                    assert_eq!(word, at as u64 / 16 * 16);
                }
                seen = bytes.len();
            }
        });
    }

    #[test]
    fn what_is_put_is_readable_at_once() {
        let mut log = mapped(4096);
        let slot = log.reserver.reserve(&log.publication, 4).unwrap();
        let refused = log.reserver.put(2, |space| space.write(0, b"no"));
        assert_eq!(refused.unwrap_err(), Refused::Busy);
        slot.publish();
        log.reserver.put(2, |space| space.write(0, b"ok")).unwrap();
        assert_eq!(&log.segment.bytes(4, 2).unwrap()[..], b"ok");
    }

    #[test]
    fn staged_bytes_become_readable_when_they_are_written_out() {
        let mut log = log(64 << 10, WriterKind::Staged);
        for word in [b"aa", b"bb"] {
            log.reserver
                .put(9000, |space| {
                    space.write(0, word);
                    space.write(8998, word);
                })
                .unwrap();
        }
        assert_eq!(log.publication.complete().value(), 18_000);
        assert!(log.segment.bytes(0, 1).is_none());
        log.publication.write_out().unwrap();
        log.publication.release(12_000).unwrap();
        assert_eq!(&log.segment.bytes(8998, 4).unwrap()[..], b"aabb");
        let slot = log.reserver.reserve(&log.publication, 4).unwrap();
        log.publication.write_out().unwrap();
        assert_eq!(log.segment.published_bytes().len(), 18_000);
        slot.publish();
    }

    #[test]
    fn a_writer_is_kept_until_its_last_slot_is_published() {
        let mut log = mapped(4096);
        let folder = log.segment.path().parent().unwrap().to_path_buf();
        let slot = log.reserver.reserve(&log.publication, 4096).unwrap();
        let next = Folder::lock(&folder.join("other")).unwrap();
        let file = SegmentFile::create(&next, 4096, 4096).unwrap();
        let next = file.map(&log.publication).unwrap();
        let writer = WriterKind::Mapped.open(&next).unwrap();
        log.reserver.go_on(writer).unwrap();
        assert!(log.publication.retired().is_empty());
        slot.publish();
        assert_eq!(log.publication.retired().len(), 1);
        assert!(log.publication.retired().is_empty());
    }
}
