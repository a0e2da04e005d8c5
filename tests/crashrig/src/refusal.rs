//! A device that begins to refuse writes, as one does whose blocks, or the space under it, are used up.
//!
//! The device refuses by itself, instead of lying on a file system that is full: the loop driver of Linux 6.18 takes a
//! write that was cut short for a whole one, so that a flush succeeds whose bytes are not there.

use std::io;

use rustix::io::Errno;

const BLOCK: u64 = 4096;

/// What is refused, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refusal {
    /// Nothing.
    #[default]
    None,
    /// Writes to blocks that were never written: there is no space for them.
    NoSpace,
    /// The same, as an I/O error.
    BadBlocks,
    /// All writes.
    All,
}

impl Refusal {
    const KINDS: [Self; 4] = [Self::None, Self::NoSpace, Self::BadBlocks, Self::All];

    /// One byte, to be written to the device's file for it.
    pub fn encode(self) -> [u8; 1] {
        [self as u8]
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::KINDS.get(usize::from(*bytes.first()?)).copied()
    }
}

/// Which blocks have been written, and what is refused now.
#[derive(Debug)]
pub struct Blocks {
    written: Vec<bool>,
    refusal: Refusal,
}

impl Blocks {
    /// Of a device of `size` bytes, of which the first `used` count as written.
    pub fn new(size: u64, used: u64) -> Self {
        let mut written = vec![false; size.div_ceil(BLOCK) as usize];
        written[..(used / BLOCK) as usize].fill(true);
        Self {
            written,
            refusal: Refusal::None,
        }
    }

    /// Takes an encoded refusal.
    pub fn set(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.refusal = Refusal::decode(bytes).ok_or(Errno::INVAL)?;
        Ok(())
    }

    /// Before a write. All of it is refused, or nothing.
    pub fn write(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let range = offset / BLOCK..(offset + len).div_ceil(BLOCK);
        let blocks = self
            .written
            .get_mut(range.start as usize..range.end as usize)
            .ok_or(Errno::INVAL)?;
        let new = blocks.contains(&false);
        match self.refusal {
            Refusal::NoSpace if new => return Err(Errno::NOSPC.into()),
            Refusal::BadBlocks if new => return Err(Errno::IO.into()),
            Refusal::All => return Err(Errno::IO.into()),
            _ => blocks.fill(true),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_blocks_are_refused() {
        let mut blocks = Blocks::new(1 << 20, 8192);
        blocks.write(16384, 4096).unwrap();
        blocks.set(&Refusal::NoSpace.encode()).unwrap();
        blocks.write(0, 8192).unwrap();
        blocks.write(16384, 512).unwrap();
        assert!(blocks.write(16384, 8192).is_err());
        assert!(blocks.write(20480, 512).is_err(), "half of it was taken");
        blocks.set(&Refusal::All.encode()).unwrap();
        assert!(blocks.write(0, 512).is_err());
        blocks.set(&Refusal::None.encode()).unwrap();
        blocks.write(20480, 512).unwrap();
        assert!(blocks.write(1 << 20, 1).is_err());
    }
}
