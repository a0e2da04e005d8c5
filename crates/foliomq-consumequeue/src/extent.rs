//! A run of entries that belong to one queue, and where it lies.

use foliomq_segment::words::Words;

use crate::entry::{Bad, Entry, MARK, QueueNumber, WORDS};

/// Where an extent lies in the pool: file number 32 bits, first entry 24 bits, size class 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

/// The largest size class.
pub(crate) const LAST_CLASS: u8 = 6;
/// Entries of a pool file that a place can point at.
const MAX_SLOT: u32 = (1 << 24) - 1;

impl Place {
    /// `slot` is the first entry, counted in entries from the file's start. `None` if no such place can be.
    pub(crate) fn new(file: u32, slot: u32, class: u8) -> Option<Self> {
        let possible = slot <= MAX_SLOT && class <= LAST_CLASS;
        possible.then_some(Self(
            u64::from(file) << 32 | u64::from(slot) << 8 | u64::from(class),
        ))
    }

    /// Number of the pool file.
    pub(crate) fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// First entry, counted in entries from the file's start.
    pub(crate) fn slot(self) -> u32 {
        (self.0 >> 8) as u32 & MAX_SLOT
    }

    /// Size class: see [`capacity`].
    pub(crate) fn class(self) -> u8 {
        self.0 as u8
    }

    /// The entry after the last.
    pub(crate) fn end(self) -> u32 {
        self.slot() + capacity(self.class())
    }

    /// Whether it lies in a file of so many words.
    pub(crate) fn fits(self, words: usize) -> bool {
        self.end() as usize * WORDS <= words
    }
}

/// Entries of an extent of `class`: 8 in class 0, four times as many in each further one, 32,768 in the last.
pub(crate) fn capacity(class: u8) -> u32 {
    8 << (2 * class.min(LAST_CLASS))
}

/// What the extent log says of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) queue: QueueNumber,
    pub(crate) extent: Extent,
}

/// An extent of some queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Queue offset of the first entry.
    pub(crate) first: u64,
    pub(crate) place: Place,
}

impl Extent {
    /// The offset after the last that fits.
    pub(crate) fn limit(&self) -> u64 {
        self.first
            .saturating_add(u64::from(capacity(self.place.class())))
    }

    /// What stands at `offset` of its `queue` in `words`, its file.
    #[inline]
    pub(crate) fn entry(
        &self,
        queue: QueueNumber,
        words: &Words,
        offset: u64,
    ) -> Result<Option<Entry>, Bad> {
        let Some(at) = self.word(offset) else {
            return Ok(None);
        };
        let stored = std::array::from_fn(|word| words.load(at + word));
        Entry::from_words(stored, queue, offset)
    }

    /// Zeroes what stands from `offset` on. What is zero already stays untouched, so that its page stays clean.
    pub(crate) fn clear_from(&self, words: &Words, offset: u64) {
        let start = self.word(offset).unwrap_or(usize::MAX);
        for entry in (start..self.place.end() as usize * WORDS).step_by(WORDS) {
            for word in [MARK, 0, 2, 3] {
                if words.load(entry + word) != 0 {
                    words.store(entry + word, 0);
                }
            }
        }
    }

    fn word(&self, offset: u64) -> Option<usize> {
        let at = offset.checked_sub(self.first)?;
        let inside = at < u64::from(capacity(self.place.class()));
        inside.then_some((self.place.slot() as usize + at as usize) * WORDS)
    }
}

/// The extents of one queue, ascending. A queue with a single one, as most have, takes no memory beside this.
#[derive(Debug, Default)]
pub(crate) enum Extents {
    #[default]
    None,
    One(Extent),
    Many(Vec<Extent>),
}

impl Extents {
    pub(crate) fn as_slice(&self) -> &[Extent] {
        match self {
            Self::None => &[],
            Self::One(extent) => std::slice::from_ref(extent),
            Self::Many(extents) => extents,
        }
    }

    pub(crate) fn push(&mut self, extent: Extent) {
        match self {
            Self::None => *self = Self::One(extent),
            Self::One(first) => *self = Self::Many(vec![*first, extent]),
            Self::Many(extents) => extents.push(extent),
        }
    }

    /// Takes out the first `count`.
    pub(crate) fn take_front(&mut self, count: usize) -> Vec<Extent> {
        let (taken, kept) = self.as_slice().split_at(count);
        let (taken, kept) = (taken.to_vec(), kept.to_vec());
        if !taken.is_empty() {
            *self = kept.into();
        }
        taken
    }
}

impl From<Vec<Extent>> for Extents {
    fn from(mut extents: Vec<Extent>) -> Self {
        match extents[..] {
            [] => Self::None,
            [extent] => Self::One(extent),
            _ => {
                extents.shrink_to_fit();
                Self::Many(extents)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_their_parts() {
        let place = Place::new(u32::MAX, MAX_SLOT, LAST_CLASS).unwrap();
        assert_eq!(
            (place.file(), place.slot(), place.class()),
            (u32::MAX, MAX_SLOT, LAST_CLASS)
        );
        assert_eq!(place.end(), MAX_SLOT + 32_768);
        assert_eq!(Place::new(0, MAX_SLOT + 1, 0), None);
        assert_eq!(Place::new(0, 0, LAST_CLASS + 1), None);
    }

    #[test]
    fn a_queue_of_one_extent_is_small() {
        assert_eq!(size_of::<Extents>(), 24);
    }
}
