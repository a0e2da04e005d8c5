//! The hashes that the indexes hold.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// `xxh3_64` over topic, a zero byte (no topic holds one), and the key.
pub fn key_hash(topic: &str, key: &str) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(topic.as_bytes());
    hasher.update(&[0]);
    hasher.update(key.as_bytes());
    hasher.digest()
}

/// `xxh3_64` of the tag, never 0 (a hash of 0 counts as 1); 0 is for no tag.
pub fn tag_hash(tag: Option<&str>) -> u64 {
    tag.map_or(0, |tag| xxh3_64(tag.as_bytes()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable() {
        // Stored in files: a change of these values would need a new format.
        assert_eq!(tag_hash(None), 0);
        assert_eq!(tag_hash(Some("")), 0x2d06_8005_38d3_94c2);
        assert_ne!(key_hash("ab", "c"), key_hash("a", "bc"));
    }
}
