//! What the load notes beside the device's events: where messages went, and what was promised.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bytes of a note.
const SIZE: usize = 48;

/// A message that was appended, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Its position in the log.
    pub position: u64,
    /// The position after it.
    pub end: u64,
    /// Which topic.
    pub topic: u32,
    /// Its queue.
    pub queue: u32,
    /// Its offset in the queue.
    pub offset: u64,
    /// Who appended it.
    pub writer: u32,
    /// How many it had appended before.
    pub number: u32,
}

/// Something the load noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A message is in the log. No promise.
    Placed(Placed),
    /// Everything below the position survives a power cut.
    Promised { position: u64 },
    /// So does the topic.
    Topic { topic: u32 },
    /// And the progress of the load's group in a queue.
    Progress { topic: u32, queue: u32, offset: u64 },
}

impl Note {
    fn encode(self) -> [u8; SIZE] {
        let words: [u64; 6] = match self {
            Self::Placed(placed) => [
                0,
                placed.position,
                placed.end,
                pair(placed.topic, placed.queue),
                placed.offset,
                pair(placed.writer, placed.number),
            ],
            Self::Promised { position } => [1, position, 0, 0, 0, 0],
            Self::Topic { topic } => [2, u64::from(topic), 0, 0, 0, 0],
            Self::Progress {
                topic,
                queue,
                offset,
            } => [3, pair(topic, queue), offset, 0, 0, 0],
        };
        let mut bytes = [0; SIZE];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |n: usize| u64::from_le_bytes(words[n]);
        let (high, low) = (|n| (word(n) >> 32) as u32, |n| word(n) as u32);
        Some(match word(0) {
            0 => Self::Placed(Placed {
                position: word(1),
                end: word(2),
                topic: high(3),
                queue: low(3),
                offset: word(4),
                writer: high(5),
                number: low(5),
            }),
            1 => Self::Promised { position: word(1) },
            2 => Self::Topic { topic: low(1) },
            3 => Self::Progress {
                topic: high(1),
                queue: low(1),
                offset: word(2),
            },
            _ => return None,
        })
    }

    /// The notes in `bytes`.
    pub fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let (notes, rest) = bytes.as_chunks::<SIZE>();
        let notes = notes.iter().map(Self::decode).collect();
        if rest.is_empty() { notes } else { None }
    }
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Where notes go: the device's file for them.
#[derive(Debug)]
pub struct Notebook(File);

impl Notebook {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().write(true).open(path)?))
    }

    /// Noted, and so ordered among the device's events, when it returns.
    pub fn add(&self, notes: &[Note]) -> io::Result<()> {
        let bytes: Vec<u8> = notes.iter().flat_map(|note| note.encode()).collect();
        // The device ignores where.
        self.0.write_all_at(&bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let notes = [
            Note::Placed(Placed {
                position: 1 << 40,
                end: 2 << 40,
                topic: 3,
                queue: 4,
                offset: 5 << 40,
                writer: 6,
                number: 7,
            }),
            Note::Promised { position: 9 << 33 },
            Note::Topic { topic: 8 },
            Note::Progress {
                topic: 1,
                queue: 2,
                offset: 3 << 34,
            },
        ];
        let bytes: Vec<u8> = notes.iter().flat_map(|note| note.encode()).collect();
        assert_eq!(Note::decode_all(&bytes).unwrap(), notes);
        assert_eq!(Note::decode_all(&bytes[1..]), None);
    }
}
