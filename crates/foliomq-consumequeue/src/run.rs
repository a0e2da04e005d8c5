//! A sorted run of (hash, position) pairs in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::page::try_partition;

/// Bytes of a pair: hash 8, position 8.
const PAIR: usize = 16;
/// Bytes before the blocks: magic 4, CRC-32C of all that follows it in the header 4, number of pairs 8, lowest and highest
/// position 8 each.
pub(crate) const HEADER: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"FMQL");
/// Pairs of a block: with what stands behind them one page.
const BLOCK_PAIRS: usize = 255;
/// Bytes behind the pairs of a block: number of the block in its run 8, CRC-32C of number and pairs 8.
const TRAILER: usize = 16;
/// Bytes of a full block.
const BLOCK: usize = BLOCK_PAIRS * PAIR + TRAILER;

/// (hash, position).
pub(crate) type Pair = (u64, u64);

/// Where a run lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Byte offset of the first block.
    blocks_at: u64,
    count: u64,
    pub(crate) highest: u64,
}

/// The bytes of a run; sorts the pairs, of which there is one at least.
pub(crate) fn encode(pairs: &mut [Pair]) -> Vec<u8> {
    pairs.sort_unstable();
    let positions = || pairs.iter().map(|pair| pair.1);
    let (lowest, highest) = (positions().min(), positions().max());
    let blocks = pairs.len().div_ceil(BLOCK_PAIRS);
    let mut bytes = Vec::with_capacity(HEADER + pairs.len() * PAIR + blocks * TRAILER);
    bytes.extend_from_slice(&header([
        pairs.len() as u64,
        lowest.unwrap_or(0),
        highest.unwrap_or(0),
    ]));
    for (number, block) in (0..).zip(pairs.chunks(BLOCK_PAIRS)) {
        let start = bytes.len();
        for (hash, position) in block {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&position.to_le_bytes());
        }
        let trailer = trailer(&bytes[start..], number);
        bytes.extend_from_slice(&trailer);
    }
    bytes
}

/// What stands behind the last run once the device has all of them, and says so: a header of no pairs that names its own
/// place. A bad run before it is no torn one. The next run overwrites it.
pub(crate) fn seal(at: u64) -> [u8; HEADER] {
    header([0, at, at])
}

fn header(words: [u64; 3]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    for (at, word) in bytes[8..].as_chunks_mut().0.iter_mut().zip(words) {
        *at = word.to_le_bytes();
    }
    let crc = crc_fast::crc32_iscsi(&bytes[8..]);
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn trailer(pairs: &[u8], number: u64) -> [u8; TRAILER] {
    let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    crc.update(&number.to_le_bytes());
    crc.update(pairs);
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&crc.finalize().to_le_bytes());
    bytes
}

impl Run {
    /// The run at `at` in a file of `len` bytes, if a whole one is there; its pairs are looked at if `check`.
    pub(crate) fn open(file: &File, at: u64, len: u64, check: bool) -> io::Result<Option<Self>> {
        if len.saturating_sub(at) < HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, at)?;
        let Some(run) = Self::from_header(&header, at).filter(|run| run.end() <= len) else {
            return Ok(None);
        };
        for number in (0..run.blocks()).filter(|_| check) {
            match run.block(file, number) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
                block => _ = block?,
            }
        }
        Ok(Some(run))
    }

    /// The run that begins with this header, at `at` in the file.
    pub(crate) fn from_header(bytes: &[u8], at: u64) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let sound = header([word(8), word(16), word(24)]) == *bytes;
        let run = Self {
            blocks_at: at + HEADER as u64,
            count: word(8),
            highest: word(24),
        };
        (sound && run.count > 0 && run.count < u64::MAX / BLOCK as u64).then_some(run)
    }

    /// Byte offset after the last block.
    pub(crate) fn end(&self) -> u64 {
        self.blocks_at + self.count * PAIR as u64 + self.blocks() * TRAILER as u64
    }

    /// All pairs.
    pub(crate) fn pairs(&self, file: &File) -> io::Result<Vec<Pair>> {
        let mut pairs = Vec::with_capacity(self.count as usize);
        for number in 0..self.blocks() {
            pairs.extend(self.block(file, number)?);
        }
        Ok(pairs)
    }

    /// Adds the positions that carry `hash`, in ascending order: the last `most` at least, and not many more.
    pub(crate) fn find(
        &self,
        file: &File,
        hash: u64,
        most: usize,
        out: &mut Vec<u64>,
    ) -> io::Result<()> {
        let last_of = |block: &[Pair]| block.last().map_or(0, |pair| pair.0);
        let first = try_partition(0..self.blocks(), |number| {
            Ok::<_, io::Error>(last_of(&self.block(file, number)?) >= hash)
        })?;
        let before = out.len();
        // Equal hashes may go on past the block.
        for number in first..self.blocks() {
            let block = self.block(file, number)?;
            let equal = block.iter().filter(|pair| pair.0 == hash);
            out.extend(equal.map(|pair| pair.1));
            if out.len() - before > most.saturating_add(BLOCK_PAIRS) {
                out.drain(before..out.len() - most);
            }
            if last_of(&block) > hash {
                break;
            }
        }
        Ok(())
    }

    fn blocks(&self) -> u64 {
        self.count.div_ceil(BLOCK_PAIRS as u64)
    }

    /// The pairs of one block; `InvalidData` if they are not what was written.
    fn block(&self, file: &File, number: u64) -> io::Result<Vec<Pair>> {
        let pairs = (self.count - number * BLOCK_PAIRS as u64).min(BLOCK_PAIRS as u64);
        let mut bytes = vec![0; pairs as usize * PAIR + TRAILER];
        file.read_exact_at(&mut bytes, self.blocks_at + number * BLOCK as u64)?;
        let (pairs, found) = bytes.split_at(pairs as usize * PAIR);
        if found != trailer(pairs, number) {
            let what = format!(
                "block {number} of the run at {} is damaged: close the store and remove consumequeue, keys and \
                 index-checkpoint in its folder, and the next start makes the indexes anew from the log",
                self.blocks_at - HEADER as u64
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let pairs = pairs.chunks_exact(PAIR);
        Ok(pairs
            .map(|pair| (word(&pair[..8]), word(&pair[8..])))
            .collect())
    }
}
