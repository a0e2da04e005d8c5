//! How much is read, and in which ways and conditions.

use std::time::Duration;

use serde::Serialize;

/// Sizes and durations.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Its name in the report.
    pub name: &'static str,
    /// Counted rounds.
    pub rounds: usize,
    /// Bytes of a body.
    pub bodies: Vec<usize>,
    /// Body bytes in the one queue, and again in the queues that share a stretch of the log.
    pub bytes: u64,
    /// Messages in either at most.
    pub messages: u64,
    /// How long one way reads.
    pub time: Duration,
    /// Bytes per second that the writer beside appends.
    pub writer: u64,
}

/// Queues whose messages alternate in the log.
pub const QUEUES: u32 = 8;

impl Plan {
    /// About eight minutes.
    pub fn full() -> Self {
        Self {
            name: "full",
            rounds: 3,
            bodies: vec![128, 1 << 10, 4 << 10, 16 << 10, 64 << 10],
            bytes: 256 << 20,
            messages: 800_000,
            time: Duration::from_millis(200),
            writer: 100 << 20,
        }
    }

    /// Under two minutes.
    pub fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 1,
            bodies: vec![128, 1 << 10, 16 << 10],
            bytes: 64 << 20,
            time: Duration::from_millis(100),
            ..Self::full()
        }
    }

    /// Just enough to see that it runs.
    pub fn smoke() -> Self {
        Self {
            name: "smoke",
            rounds: 1,
            bodies: vec![1 << 10],
            bytes: 1 << 20,
            time: Duration::from_millis(2),
            writer: 1 << 20,
            ..Self::full()
        }
    }

    /// Messages in the one queue.
    pub fn messages(&self, body: usize) -> u64 {
        let queues = u64::from(QUEUES);
        self.messages.min(self.bytes / body as u64) / queues * queues
    }
}

/// In which order messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A queue that lies in the log without gaps, from its start.
    Sequential,
    /// The same queue, at random offsets.
    Random,
    /// A queue whose messages lie between those of seven others, from its start.
    Scattered,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sequential, Self::Random, Self::Scattered];

    /// As the page says it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Random => "random",
            Self::Scattered => "one queue of eight",
        }
    }
}

/// What is so while messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Everything in the page cache and, for a mapping, in the page tables.
    Warm,
    /// The same, with two reader threads.
    TwoThreads,
    /// The same as warm, while a thread appends to another queue of the store.
    Writer,
    /// Nothing in the page cache; one pass at most.
    Cold,
    /// Half of what is read fits the memory of the process.
    Pressure,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Warm,
        Self::TwoThreads,
        Self::Writer,
        Self::Cold,
        Self::Pressure,
    ];

    /// As the page says it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::TwoThreads => "warm, two threads",
            Self::Writer => "warm, a writer beside",
            Self::Cold => "cold",
            Self::Pressure => "half the memory",
        }
    }

    /// Reader threads.
    pub fn threads(self) -> u32 {
        if self == Self::TwoThreads { 2 } else { 1 }
    }

    /// Whether the page cache is emptied before.
    pub fn is_cold(self) -> bool {
        matches!(self, Self::Cold | Self::Pressure)
    }
}
