//! Publishing in order: many threads write at once, readers see a prefix.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::watermark::Watermark;
use crate::writer::Writer;

/// How many slots may be reserved and not yet published at a time.
pub const IN_FLIGHT: usize = 1024;

/// Why no slot was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`IN_FLIGHT`] slots are open. Clears when the oldest is published.
    #[error("too many writes are in flight")]
    Busy,
    /// A slot was dropped unpublished: nothing after it will ever be readable.
    #[error("an earlier write was given up, so nothing after it can be published")]
    Poisoned,
    /// The segment does not hold the next `len` positions, or belongs to another log.
    #[error("the next position does not lie in this segment, or too close to its end")]
    OutOfSegment,
}

/// The position below which everything is written and readable.
#[derive(Debug)]
pub struct Publication {
    watermark: Watermark,
    /// Sequence number of the oldest slot that is not published.
    oldest: AtomicU64,
    poisoned: AtomicBool,
    ring: Box<[Place]>,
}

/// State of the slot whose sequence number maps to this place.
#[derive(Debug, Default)]
struct Place {
    /// Sequence number + 1 of the last slot published here.
    published: AtomicU64,
    /// Position after that slot.
    end: AtomicU64,
}

impl Publication {
    /// A publication at `position`, and the one reserver of what follows.
    pub fn new(position: u64) -> (Arc<Self>, Reserver) {
        let publication = Arc::new(Self {
            watermark: Watermark::new(position),
            oldest: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            ring: (0..IN_FLIGHT).map(|_| Place::default()).collect(),
        });
        (
            publication.clone(),
            Reserver {
                publication,
                sequence: 0,
                position,
            },
        )
    }

    /// Everything below is readable.
    pub fn position(&self) -> u64 {
        self.watermark.value()
    }

    /// The position, to wait on.
    pub fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// Whether a slot was dropped unpublished.
    pub fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    fn place(&self, sequence: u64) -> &Place {
        &self.ring[sequence as usize % IN_FLIGHT]
    }

    /// Marks a slot as written, and passes every slot up to the first that is not.
    fn publish(&self, sequence: u64, end: u64) {
        let place = self.place(sequence);
        place.end.store(end, Ordering::Relaxed);
        // SeqCst here and on `oldest`: of two threads that publish neighbours at once, at least one sees both.
        place.published.store(sequence + 1, Ordering::SeqCst);
        let mut passed = None;
        loop {
            let oldest = self.oldest.load(Ordering::SeqCst);
            let place = self.place(oldest);
            if place.published.load(Ordering::SeqCst) != oldest + 1 {
                break;
            }
            let end = place.end.load(Ordering::Relaxed);
            if self
                .oldest
                .compare_exchange(oldest, oldest + 1, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                passed = Some(end);
            }
        }
        if let Some(end) = passed {
            self.watermark.advance(end);
        }
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
        self.watermark.wake();
    }
}

/// Hands out the positions of a log, each once. There is one per [`Publication`].
#[derive(Debug)]
pub struct Reserver {
    publication: Arc<Publication>,
    sequence: u64,
    position: u64,
}

impl Reserver {
    /// The next position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether [`reserve`](Self::reserve) would be refused as busy.
    pub fn busy(&self) -> bool {
        self.sequence - self.publication.oldest.load(Ordering::SeqCst) >= IN_FLIGHT as u64
    }

    /// The next `len` positions, to write through `writer`.
    pub fn reserve(&mut self, writer: &Arc<Writer>, len: usize) -> Result<Slot, Refused> {
        let segment = writer.segment();
        let fits = Arc::ptr_eq(segment.publication(), &self.publication)
            && self.position >= segment.base()
            && len as u64 <= segment.end().saturating_sub(self.position);
        if !fits {
            return Err(Refused::OutOfSegment);
        }
        if self.publication.poisoned() {
            return Err(Refused::Poisoned);
        }
        if self.busy() {
            return Err(Refused::Busy);
        }
        let offset = (self.position - segment.base()) as usize;
        self.position += len as u64;
        self.sequence += 1;
        let (sequence, end) = (self.sequence - 1, self.position);
        Ok(Slot {
            writer: writer.clone(),
            offset,
            len,
            sequence,
            end,
            published: false,
        })
    }
}

/// A range of the log that its holder alone may write, until it is published.
///
/// Dropped without [`publish`](Self::publish) it poisons the log: what follows could never be read.
#[derive(Debug)]
#[must_use = "a slot that is dropped unpublished poisons the log"]
pub struct Slot {
    writer: Arc<Writer>,
    offset: usize,
    len: usize,
    sequence: u64,
    end: u64,
    published: bool,
}

impl Slot {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Position of its first byte.
    pub fn position(&self) -> u64 {
        self.end - self.len as u64
    }

    /// Copies `bytes` to `at`, counted from the slot's start. Panics if they do not fit.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(
            at <= self.len && bytes.len() <= self.len - at,
            "a write of {} bytes past its slot",
            bytes.len()
        );
        // SAFETY: the range lies in the slot, which was reserved inside the mapping, for this slot alone, and is not
        // published before `publish` has used the slot up.
        unsafe { self.writer.copy(self.offset + at, bytes) }
    }

    /// Makes the slot readable once all before it are.
    pub fn publish(mut self) {
        self.published = true;
        self.writer
            .segment()
            .publication()
            .publish(self.sequence, self.end);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.published {
            self.writer.segment().publication().poison();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{Folder, Segment, SegmentFile};

    fn segment(size: u64) -> (tempfile::TempDir, Arc<Segment>, Arc<Writer>, Reserver) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let (publication, reserver) = Publication::new(0);
        let segment = SegmentFile::create(&folder, 0, size)
            .unwrap()
            .map(&publication)
            .unwrap();
        let writer = Writer::new(&segment).unwrap();
        (dir, segment, writer, reserver)
    }

    #[test]
    fn readers_see_a_prefix() {
        let (_dir, segment, writer, mut reserver) = segment(64 << 10);
        let mut first = reserver.reserve(&writer, 4).unwrap();
        let mut second = reserver.reserve(&writer, 4).unwrap();
        second.write(0, b"bbbb");
        second.publish();
        assert!(
            segment.bytes(4, 4).is_none(),
            "the slot before it is still open"
        );
        first.write(0, b"aaaa");
        first.publish();
        assert_eq!(&segment.bytes(0, 8).unwrap()[..], b"aaaabbbb");
        assert!(segment.bytes(0, 9).is_none());
        assert_eq!(segment.published_bytes().len(), 8);
    }

    #[test]
    fn a_dropped_slot_poisons() {
        let (_dir, segment, writer, mut reserver) = segment(64 << 10);
        drop(reserver.reserve(&writer, 4).unwrap());
        assert_eq!(reserver.reserve(&writer, 4).unwrap_err(), Refused::Poisoned);
        assert_eq!(segment.published_bytes().len(), 0);
    }

    #[test]
    fn the_number_in_flight_is_bounded() {
        let (_dir, segment, writer, mut reserver) = segment(64 << 10);
        let mut slots: Vec<Slot> = (0..IN_FLIGHT)
            .map(|_| reserver.reserve(&writer, 8).unwrap())
            .collect();
        assert_eq!(reserver.reserve(&writer, 8).unwrap_err(), Refused::Busy);
        slots.drain(..).rev().for_each(Slot::publish);
        assert_eq!(segment.published_bytes().len(), IN_FLIGHT * 8);
        reserver.reserve(&writer, 8).unwrap().publish();
    }

    #[test]
    fn a_slot_lies_in_its_segment() {
        let (_dir, _segment, writer, mut reserver) = segment(4096);
        assert_eq!(
            reserver.reserve(&writer, 4097).unwrap_err(),
            Refused::OutOfSegment
        );
        reserver.reserve(&writer, 4096).unwrap().publish();
        assert_eq!(
            reserver.reserve(&writer, 1).unwrap_err(),
            Refused::OutOfSegment
        );
        let (_other, mut foreign) = Publication::new(0);
        assert_eq!(
            foreign.reserve(&writer, 1).unwrap_err(),
            Refused::OutOfSegment
        );
    }

    #[test]
    #[should_panic(expected = "past its slot")]
    fn a_write_past_the_slot_panics() {
        let (_dir, _segment, writer, mut reserver) = segment(4096);
        let mut slot = reserver.reserve(&writer, 4).unwrap();
        slot.write(2, b"abc");
    }

    #[test]
    fn references_outlive_file_and_mapping() {
        let (dir, segment, writer, mut reserver) = segment(4096);
        let mut slot = reserver.reserve(&writer, 4).unwrap();
        slot.write(0, b"page");
        slot.publish();
        let bytes = segment.bytes(0, 4).unwrap();
        assert!(segment.contains(&bytes));
        drop((writer, reserver, segment, dir));
        assert_eq!(&bytes[..], b"page");
    }

    #[test]
    fn many_threads_publish_and_one_reads_whole_slots() {
        const SLOTS: usize = 4000;
        let (_dir, segment, writer, reserver) = segment(64 << 10);
        let reserver = parking_lot::Mutex::new(reserver);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..SLOTS / 4 {
                        let mut slot = loop {
                            match reserver.lock().reserve(&writer, 16) {
                                Err(Refused::Busy) => thread::yield_now(),
                                slot => break slot.unwrap(),
                            }
                        };
                        let word = slot.position().to_le_bytes();
                        slot.write(0, &word);
                        slot.write(8, &word);
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
}
