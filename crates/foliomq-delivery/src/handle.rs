//! Receipt handles: the token of one delivery, self-contained and checked by a keyed hash.
//!
//! 36 bytes as 48 characters of URL-safe text, so the broker keeps nothing per handle but the lease itself, and a handle is
//! good after a restart. The layout stands in `docs/format-delivery.md`.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use foliomq_segment::disk::{self, Flush};
use xxhash_rust::xxh3::xxh3_64_with_secret;

use crate::DeliveryError;
use crate::lease::Claim;

const VERSION: u8 = 1;
const AUTO_RENEW: u8 = 1;
/// Bytes before the hash.
pub(crate) const CLAIM_SIZE: usize = 28;
const SIZE: usize = CLAIM_SIZE + 8;
/// Characters of a handle: 4 for each 3 bytes.
const TEXT_SIZE: usize = SIZE / 3 * 4;
/// Bytes of the secret, as many as xxh3 makes for itself.
const SECRET_SIZE: usize = 192;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a handle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    /// Number of the (group, topic).
    pub subscription: u32,
    pub queue: u16,
    pub claim: Claim,
}

/// The secret that makes handles ours.
pub(crate) struct Key([u8; SECRET_SIZE]);

impl Key {
    /// Reads the secret, or makes one at first. Without it every earlier handle is void; the leases themselves go on.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => bytes.try_into().map(Self).map_err(|bytes: Vec<u8>| {
                let what = format!(
                    "{} has {} bytes, not {SECRET_SIZE}; remove it to void all receipt handles",
                    path.display(),
                    bytes.len()
                );
                io::Error::new(io::ErrorKind::InvalidData, what)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path) -> io::Result<Self> {
        let secret = random()?;
        let temporary = path.with_extension("tmp");
        let file = disk::create_empty(&temporary)?;
        restrict(&file)?;
        disk::write_at(&file, &secret, 0)?;
        disk::flush(Flush::HandleKey, &file)?;
        // The journal lies in the same folder, which is flushed when it is opened: before a handle is given out.
        disk::rename(&temporary, path)?;
        Ok(Self(secret))
    }

    /// The handle's text.
    pub fn seal(&self, handle: &Handle) -> String {
        self.seal_bytes(handle.to_bytes())
    }

    /// The text of a claim of any kind.
    pub fn seal_bytes(&self, claim: [u8; CLAIM_SIZE]) -> String {
        let mut bytes = [0; SIZE];
        bytes[..CLAIM_SIZE].copy_from_slice(&claim);
        bytes[CLAIM_SIZE..].copy_from_slice(&self.hash(&claim).to_le_bytes());
        to_text(&bytes)
    }

    /// What a text says, if this store sealed it.
    pub fn open_handle(&self, text: &str) -> Result<Handle, DeliveryError> {
        let invalid = |what| DeliveryError::InvalidHandle { what };
        let claim = self.open_bytes(text).map_err(invalid)?;
        Handle::from_bytes(&claim).ok_or(invalid("it is of another version"))
    }

    /// The claim of a text that this store sealed, or what is wrong with it.
    pub fn open_bytes(&self, text: &str) -> Result<[u8; CLAIM_SIZE], &'static str> {
        let bytes = from_text(text).ok_or("it is malformed")?;
        let (claim, hash) = bytes.split_at(CLAIM_SIZE);
        if self.hash(claim).to_le_bytes() != hash {
            return Err("it was not made here");
        }
        claim.try_into().map_err(|_| "it is malformed")
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        xxh3_64_with_secret(bytes, &self.0)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Handle {
    fn to_bytes(self) -> [u8; CLAIM_SIZE] {
        let mut bytes = [0; CLAIM_SIZE];
        bytes[0] = VERSION;
        bytes[1] = if self.claim.auto_renew { AUTO_RENEW } else { 0 };
        bytes[2..4].copy_from_slice(&self.queue.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.subscription.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.claim.sequence.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.claim.offset.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.claim.visible_at.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes[0] != VERSION {
            return None;
        }
        let claim = Claim {
            offset: u64::from_le_bytes(bytes[12..20].try_into().ok()?),
            sequence: u32::from_le_bytes(bytes[8..12].try_into().ok()?),
            visible_at: u64::from_le_bytes(bytes[20..28].try_into().ok()?),
            auto_renew: bytes[1] & AUTO_RENEW != 0,
        };
        let subscription = u32::from_le_bytes(bytes[4..8].try_into().ok()?);
        let queue = u16::from_le_bytes(bytes[2..4].try_into().ok()?);
        Some(Self {
            subscription,
            queue,
            claim,
        })
    }
}

/// Unpredictable bytes from the kernel.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Only the owner may read the secret.
fn restrict(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Base 64 in the alphabet that needs no escape in a URL. The size divides by 3: no padding, one text for each value.
fn to_text(bytes: &[u8; SIZE]) -> String {
    let mut text = String::with_capacity(TEXT_SIZE);
    for three in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
    text
}

fn from_text(text: &str) -> Option<[u8; SIZE]> {
    if text.len() != TEXT_SIZE {
        return None;
    }
    let mut bytes = [0; SIZE];
    for (four, three) in text
        .as_bytes()
        .chunks_exact(4)
        .zip(bytes.chunks_exact_mut(3))
    {
        let mut bits = 0;
        for character in four {
            bits = bits << 6 | sextet(*character)?;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn sextet(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handle() -> Handle {
        let claim = Claim {
            offset: u64::MAX - 5,
            sequence: 77,
            visible_at: 1_790_000_000_000,
            auto_renew: true,
        };
        Handle {
            subscription: 3,
            queue: 1023,
            claim,
        }
    }

    #[test]
    fn any_edited_character_is_noticed() {
        let key = Key([5; SECRET_SIZE]);
        let text = key.seal(&handle());
        assert_eq!(key.open_handle(&text), Ok(handle()));
        for at in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(edited).unwrap();
            assert!(
                matches!(
                    key.open_handle(&edited),
                    Err(DeliveryError::InvalidHandle { .. })
                ),
                "{at}"
            );
        }
    }

    #[test]
    fn another_secret_makes_other_handles() {
        let text = Key([5; SECRET_SIZE]).seal(&handle());
        let error = DeliveryError::InvalidHandle {
            what: "it was not made here",
        };
        assert_eq!(Key([6; SECRET_SIZE]).open_handle(&text), Err(error));
    }

    #[test]
    fn the_secret_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("handle.key");
        let text = Key::open(&path).unwrap().seal(&handle());
        assert_eq!(Key::open(&path).unwrap().open_handle(&text), Ok(handle()));
        fs::write(&path, b"short").unwrap();
        assert_eq!(
            Key::open(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn the_text_fits_a_url() {
        let text = Key([5; SECRET_SIZE]).seal(&handle());
        assert_eq!(text.len(), TEXT_SIZE);
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn every_handle_comes_back(subscription: u32, queue: u16, offset: u64, sequence: u32, visible_at: u64, auto_renew: bool) {
            let key = Key([9; SECRET_SIZE]);
            let handle = Handle { subscription, queue, claim: Claim { offset, sequence, visible_at, auto_renew } };
            prop_assert_eq!(key.open_handle(&key.seal(&handle)), Ok(handle));
        }

        #[test]
        fn any_text_is_refused(text in "\\PC{0,80}") {
            prop_assert!(Key([9; SECRET_SIZE]).open_handle(&text).is_err());
        }
    }
}
