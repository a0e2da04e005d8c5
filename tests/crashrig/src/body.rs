//! Message bodies that can be told from their first bytes.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// Bytes that name the body.
const NAME: usize = 16;

/// The body of the message `number` of `writer`: mostly small, some large.
pub fn body(seed: u64, writer: u32, number: u32) -> Vec<u8> {
    let own = u64::from(writer) << 32 | u64::from(number);
    let mut random = SmallRng::seed_from_u64(seed ^ own.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let largest = match random.random_range(0..100) {
        0 => 700 << 10,
        1..5 => 64 << 10,
        5..40 => 4 << 10,
        _ => 600,
    };
    let mut body = vec![0; NAME + random.random_range(0..largest)];
    body[..8].copy_from_slice(&own.to_le_bytes());
    body[8..NAME].copy_from_slice(&seed.to_le_bytes());
    random.fill_bytes(&mut body[NAME..]);
    body
}

/// The id of the same message.
pub fn id(writer: u32, number: u32) -> String {
    format!("{writer}-{number}")
}

/// Who made a body, and which of its writer's it is; `None` if it is not whole.
pub fn identify(seed: u64, bytes: &[u8]) -> Option<(u32, u32)> {
    let own = u64::from_le_bytes(*bytes.first_chunk()?);
    let (writer, number) = ((own >> 32) as u32, own as u32);
    (bytes == body(seed, writer, number)).then_some((writer, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_identified_only_whole() {
        for number in 0..100 {
            let mut whole = body(5, 3, number);
            assert_eq!(identify(5, &whole), Some((3, number)));
            assert_eq!(identify(6, &whole), None);
            assert_eq!(identify(5, &whole[..whole.len() - 1]), None);
            let last = whole.len() - 1;
            whole[last] ^= 1;
            assert_eq!(identify(5, &whole), None);
        }
    }
}
