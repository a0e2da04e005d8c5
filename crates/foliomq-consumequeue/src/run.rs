//! A sorted run of (hash, position) pairs in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a pair: hash 8, position 8.
pub(crate) const PAIR: usize = 16;
/// Bytes before the pairs: magic 4, CRC-32C of all that follows it 4, number of pairs 8, lowest and highest position 8 each.
pub(crate) const HEADER: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"FMQK");
/// Pairs that the last step of a search reads at once: one page.
const BLOCK: u64 = 256;

/// (hash, position).
pub(crate) type Pair = (u64, u64);

/// Where a run lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Byte offset of the first pair.
    pub(crate) pairs_at: u64,
    pub(crate) count: u64,
    pub(crate) highest: u64,
}

/// The bytes of a run; sorts the pairs.
pub(crate) fn encode(pairs: &mut [Pair]) -> Vec<u8> {
    pairs.sort_unstable();
    let positions = || pairs.iter().map(|pair| pair.1);
    let mut bytes = Vec::with_capacity(HEADER + pairs.len() * PAIR);
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(pairs.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&positions().min().unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&positions().max().unwrap_or(0).to_le_bytes());
    for (hash, position) in pairs {
        bytes.extend_from_slice(&hash.to_le_bytes());
        bytes.extend_from_slice(&position.to_le_bytes());
    }
    let crc = crc_fast::crc32_iscsi(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

impl Run {
    /// The run at `at` in a file of `len` bytes, if a whole one is there; its checksum is looked at if `check`.
    pub(crate) fn open(file: &File, at: u64, len: u64, check: bool) -> io::Result<Option<Self>> {
        if len.saturating_sub(at) < HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, at)?;
        let Some(run) = Self::from_header(&header, at).filter(|run| run.end() <= len) else {
            return Ok(None);
        };
        if !check {
            return Ok(Some(run));
        }
        let mut bytes = vec![0; (run.end() - at) as usize];
        file.read_exact_at(&mut bytes, at)?;
        Ok(Self::decode(&bytes, at))
    }

    /// The run whose bytes these are, which lie at `at` in the file, if its checksum fits.
    pub(crate) fn decode(bytes: &[u8], at: u64) -> Option<Self> {
        let run = Self::from_header(bytes.first_chunk()?, at)?;
        (bytes[4..8] == crc_fast::crc32_iscsi(&bytes[8..]).to_le_bytes()).then_some(run)
    }

    fn from_header(header: &[u8; HEADER], at: u64) -> Option<Self> {
        let word =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let count = word(8);
        count
            .checked_mul(PAIR as u64)?
            .checked_add(at)?
            .checked_add(HEADER as u64)?;
        let sound = header[..4] == MAGIC.to_le_bytes();
        sound.then_some(Self {
            pairs_at: at + HEADER as u64,
            count,
            highest: word(24),
        })
    }

    /// Byte offset after the last pair.
    pub(crate) fn end(&self) -> u64 {
        self.pairs_at + self.count * PAIR as u64
    }

    /// All pairs.
    pub(crate) fn pairs(&self, file: &File) -> io::Result<Vec<Pair>> {
        self.read(file, 0, self.count)
    }

    /// Adds the positions that carry `hash`, in ascending order: the last `most` at least, and not many more.
    pub(crate) fn find(
        &self,
        file: &File,
        hash: u64,
        most: usize,
        out: &mut Vec<u64>,
    ) -> io::Result<()> {
        let (mut low, mut high) = (0, self.count);
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            let below = self
                .read(file, middle, 1)?
                .first()
                .is_some_and(|pair| pair.0 < hash);
            if below { low = middle } else { high = middle }
        }
        let before = out.len();
        // Equal hashes may go on past the block.
        for start in (low..self.count).step_by(BLOCK as usize) {
            let block = self.read(file, start, BLOCK.min(self.count - start))?;
            out.extend(
                block
                    .iter()
                    .filter(|pair| pair.0 == hash)
                    .map(|pair| pair.1),
            );
            if out.len() - before > most.saturating_add(BLOCK as usize) {
                out.drain(before..out.len() - most);
            }
            if block.last().is_some_and(|pair| pair.0 > hash) {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, file: &File, first: u64, count: u64) -> io::Result<Vec<Pair>> {
        let mut bytes = vec![0; count as usize * PAIR];
        file.read_exact_at(&mut bytes, self.pairs_at + first * PAIR as u64)?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Ok(bytes
            .chunks_exact(PAIR)
            .map(|pair| (word(&pair[..8]), word(&pair[8..])))
            .collect())
    }
}
