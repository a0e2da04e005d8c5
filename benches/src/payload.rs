//! Bodies to write, and the touching of bodies that were read.

/// Bytes that do not compress, cut into bodies of one size.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    body: usize,
}

/// Large enough that a body is not always in the first-level cache, small enough for the second.
const POOL: usize = 512 << 10;

impl Payload {
    /// Bodies of `body` bytes.
    pub fn new(body: usize) -> Self {
        let mut random = Random::new(0x5EED);
        let mut bytes = Vec::with_capacity(POOL.max(body) + 8);
        while bytes.len() < POOL.max(body) {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        Self { bytes, body }
    }

    /// The `index`-th body; they repeat after a while.
    pub fn body(&self, index: u64) -> &[u8] {
        let bodies = self.bytes.len() / self.body;
        let start = (index as usize % bodies) * self.body;
        &self.bytes[start..start + self.body]
    }
}

/// Touches each cache line: the sum of one byte in 64.
pub fn touch(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(64).map(|&byte| u64::from(byte)).sum()
}

/// A small generator (xorshift64*), so that every run asks for the same offsets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`, which must not be 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "endless: an Option would say otherwise"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_the_size_asked_for() {
        for size in [1, 128, 16 << 10, 1 << 20] {
            let payload = Payload::new(size);
            assert!((0..100).all(|index| payload.body(index).len() == size));
        }
    }

    #[test]
    fn one_byte_of_each_line_is_touched() {
        let mut bytes = [0u8; 129];
        (bytes[0], bytes[1], bytes[64], bytes[128]) = (1, 100, 2, 4);
        assert_eq!(touch(&bytes), 7);
    }
}
