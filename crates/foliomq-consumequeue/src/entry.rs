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
/// The word that holds size and checksum; 0 marks an entry that is not there. Stored last, so that one in the making
/// does not look like a damaged one; and cleared first.
pub(crate) const MARK: usize = 1;

/// What stands at an entry's place is not what was put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad;

impl Entry {
    /// As it lies in a file, at `offset` of `queue`.
    #[inline]
    pub(crate) fn to_words(self, queue: QueueNumber, offset: u64) -> [u64; WORDS] {
        let checksum = u64::from(self.checksum(queue, offset));
        [
            self.position,
            u64::from(self.size) | checksum << 32,
            self.tag_hash,
            self.store_time,
        ]
    }

    /// `None` for an entry that is not there.
    #[inline]
    pub(crate) fn from_words(
        [position, mark, tag_hash, store_time]: [u64; WORDS],
        queue: QueueNumber,
        offset: u64,
    ) -> Result<Option<Self>, Bad> {
        if mark == 0 {
            return Ok(None);
        }
        let entry = Self {
            position,
            size: mark as u32,
            tag_hash,
            store_time,
        };
        let sound = entry.checksum(queue, offset) == (mark >> 32) as u32;
        sound.then_some(Some(entry)).ok_or(Bad)
    }

    /// Covers where the entry belongs, too: one that lies in another's place is noticed.
    #[inline]
    fn checksum(self, queue: QueueNumber, offset: u64) -> u32 {
        let mut bytes = [0; 40];
        let words = [
            self.position,
            u64::from(self.size) | u64::from(queue) << 32,
            self.tag_hash,
            self.store_time,
            offset,
        ];
        for (at, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *at = word.to_le_bytes();
        }
        crc_fast::crc32_iscsi(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let entry = Entry {
            position: 1 << 40,
            size: 512,
            tag_hash: 0,
            store_time: 1_700_000_000_000,
        };
        let words = entry.to_words(7, 1000);
        assert_eq!(Entry::from_words(words, 7, 1000), Ok(Some(entry)));
        assert_eq!(Entry::from_words(words, 7, 1001), Err(Bad));
        assert_eq!(Entry::from_words(words, 8, 1000), Err(Bad));
        for bit in 0..64 * WORDS {
            let mut flipped = words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(Entry::from_words(flipped, 7, 1000), Err(Bad), "bit {bit}");
        }
    }
}
