//! walrus-rust: one topic, one `pwrite` per append, batches through io_uring, FNV-1a checksum.
//!
//! Its batch read passes over messages: if the last full block does not fit the answer, what it cuts off is skipped (8,807 of
//! 200,000 messages with bodies of 1 KiB and answers of 1 MiB). Its `read_next` finds all, at a few thousand per second.
//!
//! It is configured by environment variables and by state of the whole process; a run has a process of its own.

use std::path::Path;

use anyhow::{Context, Result};
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use crate::peer::{Flush, Peer, Touched};

const TOPIC: &str = "bench";
/// Bytes asked for in one read.
const READ: usize = 1 << 20;
/// Empty answers that mean the end.
const EMPTY: u32 = 2;
/// Reads between two times that the cursor is persisted: never, in a run.
const SELDOM: u32 = 1_000_000_000;

struct Log(Walrus);

/// The data's folder is in the environment: [`environment`] of the child.
pub fn open(_folder: &Path, flush: Flush) -> Result<impl Peer + use<>> {
    let schedule = match flush {
        Flush::Never => FsyncSchedule::NoFsync,
        Flush::Each => FsyncSchedule::SyncEach,
    };
    let consistency = ReadConsistency::AtLeastOnce {
        persist_every: SELDOM,
    };
    let log = Walrus::with_consistency_and_schedule(consistency, schedule);
    Ok(Log(log.context("opening the log")?))
}

/// What its process must find in its environment.
pub fn environment(folder: &Path) -> [(&'static str, &Path); 2] {
    [
        ("WALRUS_DATA_DIR", folder),
        ("WALRUS_QUIET", Path::new("1")),
    ]
}

impl Peer for Log {
    fn append(&mut self, _first: u64, bodies: &[&[u8]]) -> Result<()> {
        match bodies {
            [body] => self.0.append_for_topic(TOPIC, body)?,
            _ => self.0.batch_append_for_topic(TOPIC, bodies)?,
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Touched> {
        let (mut touched, mut empty) = (Touched::default(), 0);
        while empty < EMPTY {
            let entries = self.0.batch_read_for_topic(TOPIC, READ, true)?;
            empty = if entries.is_empty() { empty + 1 } else { 0 };
            entries.iter().for_each(|entry| touched.add(&entry.data));
        }
        Ok(touched)
    }

    fn finds_all(&self) -> bool {
        false
    }

    /// The cursor moves on.
    fn reads_again(&self) -> bool {
        false
    }
}
