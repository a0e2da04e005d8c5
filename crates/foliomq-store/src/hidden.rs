//! Messages that are in no queue yet, and the control records that end their wait. `docs/format.md` has the bytes.

use foliomq_commitlog::{Kind, Record};

use crate::error::StoreError;
use crate::stored::StoredMessage;

/// What a hidden message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// A time, Unix milliseconds.
    Time(u64),
    /// That somebody commits it, or rolls it back; from this time on, Unix milliseconds, he is to be asked.
    Decision(u64),
}

/// A message that is in no queue, as it lies in the log.
#[derive(Debug, Clone)]
pub struct HiddenMessage {
    /// Names it for as long as it waits, wherever retention has carried it: the position where it was appended first.
    pub id: u64,
    /// What it waits for.
    pub awaits: Awaits,
    /// The queue that it goes to; `None`: the next in turn.
    pub queue: Option<u32>,
    /// The message. Its position is where it lies now; queue and queue offset say nothing yet.
    pub message: StoredMessage,
}

/// Bytes before the message in a hidden record.
pub(crate) const PREFIX: usize = 24;
/// Queue of a hidden record whose message goes to the next queue in turn.
pub(crate) const ANY_QUEUE: u32 = u32::MAX;
/// In the id's place: the record's own position.
const ITSELF: u64 = u64::MAX;

const TIME: u8 = 1;
const DECISION: u8 = 2;

/// What stands before the message in a hidden record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) awaits: Awaits,
    /// `None`: the record is the first of the message.
    pub(crate) carried: Option<u64>,
}

impl Prefix {
    pub(crate) fn encode(self) -> [u8; PREFIX] {
        let (kind, due) = match self.awaits {
            Awaits::Time(due) => (TIME, due),
            Awaits::Decision(ask_at) => (DECISION, ask_at),
        };
        let mut bytes = [0; PREFIX];
        bytes[0] = kind;
        bytes[8..16].copy_from_slice(&due.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.carried.unwrap_or(ITSELF).to_le_bytes());
        bytes
    }

    /// Reads it from a hidden record's message.
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let bytes: &[u8; PREFIX] = message.first_chunk()?;
        let awaits = match bytes[0] {
            TIME => Awaits::Time(long(bytes, 8)?),
            DECISION => Awaits::Decision(long(bytes, 8)?),
            _ => return None,
        };
        let carried = Some(long(bytes, 16)?).filter(|&id| id != ITSELF);
        Some(Self { awaits, carried })
    }

    /// The same, and the message behind it.
    pub(crate) fn split(message: &[u8]) -> Option<(Self, &[u8])> {
        Some((Self::decode(message)?, message.get(PREFIX..)?))
    }
}

const REVEAL: u8 = 1;
const CANCEL: u8 = 2;
/// Bytes of a control record's message without key hashes.
const CONTROL: usize = 32;

/// What becomes of a hidden message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in the queue of the control record from now on.
    Revealed,
    /// It never will be in any.
    Cancelled,
}

/// A control record's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) id: u64,
    /// Where the hidden record lies, and its bytes.
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) tag_hash: u64,
    /// Of 8 bytes each.
    hashes: &'a [u8],
}

impl<'a> Control<'a> {
    /// The bytes, with the hashes of the message's keys and id.
    pub(crate) fn encode(
        verdict: Verdict,
        (id, position, size): (u64, u64, u32),
        tag_hash: u64,
        keys: impl Iterator<Item = u64>,
    ) -> Vec<u8> {
        let code = match verdict {
            Verdict::Revealed => REVEAL,
            Verdict::Cancelled => CANCEL,
        };
        let mut bytes = vec![code, 0, 0, 0];
        bytes.extend(size.to_le_bytes());
        for number in [id, position, tag_hash].into_iter().chain(keys) {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let (fixed, hashes) = message.split_at_checked(CONTROL)?;
        let verdict = match fixed[0] {
            REVEAL => Verdict::Revealed,
            CANCEL => Verdict::Cancelled,
            _ => return None,
        };
        Some(Self {
            verdict,
            size: u32::from_le_bytes(fixed[4..8].try_into().ok()?),
            id: long(fixed, 8)?,
            position: long(fixed, 16)?,
            tag_hash: long(fixed, 24)?,
            hashes: hashes.len().is_multiple_of(8).then_some(hashes)?,
        })
    }

    /// The same, if it puts a message into a queue.
    pub(crate) fn reveal(message: &'a [u8]) -> Option<Self> {
        Self::decode(message).filter(|control| control.verdict == Verdict::Revealed)
    }

    /// Hashes of the message's keys and id.
    pub(crate) fn keys(self) -> impl Iterator<Item = u64> {
        let hashes = self.hashes.as_chunks().0.iter();
        hashes.map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// Where a message stands that a control record has put into its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) queue_id: u32,
    pub(crate) queue_offset: u64,
    pub(crate) store_time: u64,
    pub(crate) size: u32,
}

impl Place {
    pub(crate) fn of(header: &foliomq_commitlog::Header) -> Self {
        Self {
            position: header.position,
            queue_id: header.queue_id,
            queue_offset: header.queue_offset,
            store_time: header.store_time,
            size: header.size,
        }
    }
}

impl HiddenMessage {
    /// The message of a hidden record.
    pub(crate) fn new(record: Record) -> Result<Self, StoreError> {
        let prefix = match record.kind() {
            Kind::Hidden => Prefix::decode(record.message()),
            _ => None,
        };
        let (position, queue) = (record.position(), record.queue_id());
        let prefix = prefix.ok_or_else(|| {
            StoreError::Read(format!(
                "the record at position {position} is not a hidden message"
            ))
        })?;
        Ok(Self {
            id: prefix.carried.unwrap_or(position),
            awaits: prefix.awaits,
            queue: Some(queue).filter(|&queue| queue != ANY_QUEUE),
            message: StoredMessage::hidden(record, None)?,
        })
    }
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_page() {
        let prefix = Prefix {
            awaits: Awaits::Time(0x0102_0304),
            carried: None,
        };
        let mut expected = [0; PREFIX];
        expected[0] = 1;
        expected[8..12].copy_from_slice(&[4, 3, 2, 1]);
        expected[16..].fill(0xff);
        assert_eq!(prefix.encode(), expected);
        let control = Control::encode(Verdict::Revealed, (8, 16, 24), 5, [6, 7].into_iter());
        let mut expected = [0; 48];
        expected[0] = 1;
        expected[4] = 24;
        (1..6).for_each(|n| expected[8 * n] = [8, 16, 5, 6, 7][n - 1]);
        assert_eq!(control, expected);
    }

    proptest! {
        #[test]
        fn a_prefix_comes_back(time: u64, decision: bool, carried in proptest::option::of(0..u64::MAX)) {
            let awaits = if decision { Awaits::Decision(time) } else { Awaits::Time(time) };
            let prefix = Prefix { awaits, carried };
            prop_assert_eq!(Prefix::decode(&prefix.encode()), Some(prefix));
        }

        #[test]
        fn a_control_record_comes_back(named: (u64, u64, u32), tag: u64, keys: Vec<u64>, cancelled: bool) {
            let verdict = if cancelled { Verdict::Cancelled } else { Verdict::Revealed };
            let bytes = Control::encode(verdict, named, tag, keys.iter().copied());
            let control = Control::decode(&bytes).unwrap();
            prop_assert_eq!((control.id, control.position, control.size), named);
            prop_assert_eq!((control.verdict, control.tag_hash), (verdict, tag));
            prop_assert_eq!(control.keys().collect::<Vec<_>>(), keys);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(0u8..4, 0..80)) {
            let keys = Control::decode(&bytes).map_or(0, |control| control.keys().count());
            prop_assert!(keys * 8 <= bytes.len());
            prop_assert!(Prefix::decode(&bytes).is_none() || bytes.len() >= PREFIX);
        }
    }
}
