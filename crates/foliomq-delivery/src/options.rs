//! How leases and hidden messages are kept.

use std::time::Duration;

use crate::lite::LiteOptions;

/// How leases are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Deliveries of one message before it is a dead letter, for groups that say nothing else. Default 17, at most 65,535.
    pub max_attempts: u32,
    /// Messages that one group may have un-acknowledged in one queue before it gets no new ones. Default 1,000,000; each
    /// takes about 90 bytes of memory.
    pub max_in_flight: usize,
    /// Bounds of lite topics.
    pub lite: LiteOptions,
    /// Bytes of journal after which a snapshot replaces it. Default 64 MiB; more while a snapshot is larger than half.
    pub snapshot_after: u64,
    /// How far ahead of now a message may be delivered. Default 40 days.
    pub max_delay: Duration,
    /// Delayed messages that may wait. Default 20,000,000; each takes 16 to 32 bytes of memory.
    pub max_delayed: usize,
    /// After how long somebody is asked about a transaction without an end. Default 6 s.
    pub first_check: Duration,
    /// How often he is asked again. Default every 30 s.
    pub check_interval: Duration,
    /// How many times, before it is rolled back. Default 15.
    pub max_checks: u32,
    /// Rolled back after so long even if there was nobody to ask. Default 72 h.
    pub max_transaction_age: Duration,
    /// Transactions that may be open. Default 100,000.
    pub max_transactions: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_attempts: 17,
            max_in_flight: 1_000_000,
            lite: LiteOptions::default(),
            snapshot_after: 64 << 20,
            max_delay: Duration::from_secs(40 * 24 * 3600),
            max_delayed: 20_000_000,
            first_check: Duration::from_secs(6),
            check_interval: Duration::from_secs(30),
            max_checks: 15,
            max_transaction_age: Duration::from_secs(72 * 3600),
            max_transactions: 100_000,
        }
    }
}
