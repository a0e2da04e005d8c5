//! One entry of a consume queue.

/// The store's dense number of one (topic, queue); never reused.
pub type QueueNumber = u32;

/// Where a message of a queue lies in the log: 32 bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Byte offset of the record in the commit log.
    pub position: u64,
    /// Bytes of the record in the log; never 0.
    pub size: u32,
    /// [`tag_hash`](crate::tag_hash) of the tag; 0 without one.
    pub tag_hash: u64,
    /// Unix milliseconds; never decreases along a queue.
    pub store_time: u64,
}

/// Words that an entry takes.
pub(crate) const WORDS: usize = 4;

impl Entry {
    /// As it lies in a file. The size stands alone in its word: a word of 0 marks an entry that is not there.
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        [
            self.position,
            u64::from(self.size),
            self.tag_hash,
            self.store_time,
        ]
    }

    /// `None` for an entry that is not there.
    pub(crate) fn from_words([position, size, tag_hash, store_time]: [u64; WORDS]) -> Option<Self> {
        let size = u32::try_from(size).ok().filter(|&size| size > 0)?;
        Some(Self {
            position,
            size,
            tag_hash,
            store_time,
        })
    }
}
