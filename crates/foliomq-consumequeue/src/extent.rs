//! A run of entries that belong to one queue.

use std::sync::Arc;

use foliomq_segment::words::Words;

use crate::entry::{Entry, QueueNumber, WORDS};

/// Where an extent lies in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Number of the pool file.
    pub(crate) file: u32,
    /// First entry, counted in entries from the file's start.
    pub(crate) slot: u32,
    /// Size class: see [`Place::capacity`].
    pub(crate) class: u8,
}

/// The largest size class.
pub(crate) const LAST_CLASS: u8 = 6;

impl Place {
    /// Entries: 8 in class 0, four times as many in each further one, 32,768 in the last.
    pub(crate) fn capacity(self) -> u32 {
        capacity(self.class)
    }
}

/// Entries of an extent of `class`.
pub(crate) fn capacity(class: u8) -> u32 {
    8 << (2 * class.min(LAST_CLASS))
}

/// What the extent log says of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) queue: QueueNumber,
    /// Queue offset of the first entry.
    pub(crate) first: u64,
    pub(crate) place: Place,
}

/// An extent with the mapped words that hold it.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) place: Place,
    words: Arc<Words>,
}

impl Extent {
    /// `None` if the place does not lie in the file.
    pub(crate) fn new(first: u64, place: Place, words: Arc<Words>) -> Option<Self> {
        let end = (u64::from(place.slot) + u64::from(place.capacity())) * WORDS as u64;
        (end <= words.len() as u64).then_some(Self {
            first,
            place,
            words,
        })
    }

    pub(crate) fn capacity(&self) -> u64 {
        u64::from(self.place.capacity())
    }

    /// The offset after the last that fits.
    pub(crate) fn limit(&self) -> u64 {
        self.first + self.capacity()
    }

    pub(crate) fn entry(&self, offset: u64) -> Option<Entry> {
        let at = self.word(offset)?;
        Entry::from_words(std::array::from_fn(|word| self.words.load(at + word)))
    }

    pub(crate) fn put(&self, offset: u64, entry: Entry) {
        if let Some(at) = self.word(offset) {
            for (word, value) in entry.to_words().into_iter().enumerate() {
                self.words.store(at + word, value);
            }
        }
    }

    /// Zeroes the entries from `offset` on.
    pub(crate) fn clear_from(&self, offset: u64) {
        let start = self.word(offset).unwrap_or(usize::MAX);
        let end = (self.place.slot as usize + self.place.capacity() as usize) * WORDS;
        (start..end).for_each(|word| self.words.store(word, 0));
    }

    fn word(&self, offset: u64) -> Option<usize> {
        let at = offset
            .checked_sub(self.first)
            .filter(|&at| at < self.capacity())?;
        Some((self.place.slot as usize + at as usize) * WORDS)
    }
}
