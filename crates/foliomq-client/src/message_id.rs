//! Message ids of the form that every RocketMQ 5 client uses: 17 bytes as 34 upper-case hex digits.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2021-01-01T00:00:00Z.
const EPOCH: Duration = Duration::from_secs(1_609_459_200);
const VERSION: u8 = 1;

/// Hands out ids: version, 6 bytes of node, 2 bytes of process id, 4 bytes of seconds since 2021, 4 bytes of sequence.
#[derive(Debug)]
pub(crate) struct MessageIds {
    node: [u8; 6],
    process: [u8; 2],
    sequence: AtomicU32,
}

impl MessageIds {
    /// The node is random: hardware addresses repeat between containers. The multicast bit says that it is none.
    pub(crate) fn new() -> Self {
        let random = RandomState::new()
            .hash_one(std::process::id())
            .to_be_bytes();
        let mut node = [0; 6];
        node.copy_from_slice(&random[..6]);
        node[0] |= 1;
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self {
            node,
            process: [high, low],
            sequence: AtomicU32::new(0),
        }
    }

    pub(crate) fn next(&self) -> String {
        self.at(
            SystemTime::now(),
            self.sequence.fetch_add(1, Ordering::Relaxed),
        )
    }

    fn at(&self, now: SystemTime, sequence: u32) -> String {
        let since = now
            .duration_since(UNIX_EPOCH + EPOCH)
            .unwrap_or_default()
            .as_secs();
        // Wraps in 2157, as every client's does.
        let seconds = (since & u64::from(u32::MAX)) as u32;
        let bytes = [VERSION]
            .into_iter()
            .chain(self.node)
            .chain(self.process)
            .chain(seconds.to_be_bytes())
            .chain(sequence.to_be_bytes());
        bytes.map(|byte| format!("{byte:02X}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_layout_is_version_node_process_seconds_sequence() {
        let ids = MessageIds {
            node: [0xAB, 1, 2, 3, 4, 5],
            process: [0x12, 0x34],
            sequence: AtomicU32::new(0),
        };
        let now = UNIX_EPOCH + EPOCH + Duration::from_secs(255);
        assert_eq!(ids.at(now, 7), "01AB01020304051234000000FF00000007");
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let ids = MessageIds::new();
        let seen: HashSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(seen.len(), 1000);
        for id in seen {
            assert_eq!(id.len(), 34);
            assert!(
                id.bytes()
                    .all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit)),
                "{id}"
            );
        }
    }

    #[test]
    fn a_clock_before_2021_does_not_panic() {
        assert!(MessageIds::new().at(UNIX_EPOCH, 0).contains("00000000"));
    }
}
