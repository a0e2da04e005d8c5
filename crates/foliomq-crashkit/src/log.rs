//! A commit log alone, for scenarios that need no store.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foliomq_commitlog::{CommitLog, Draft, Flush, Kind, Options, Preheat};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::chain::text;
use crate::image::Image;

/// Bytes of a segment.
pub(crate) const SEGMENT: u64 = Options::MIN_SEGMENT;

/// Opens the log in `dir`, which flushes nothing unless it is asked to.
pub(crate) fn open(dir: &Path) -> Result<CommitLog, String> {
    let options = Options {
        segment_size: SEGMENT,
        preheat: Preheat::Off,
        flush: Flush::Async {
            interval: Duration::from_secs(3600),
        },
        ..Options::new(dir)
    };
    let opened = CommitLog::open(options);
    opened
        .map(|(log, _)| log)
        .map_err(|error| format!("does not open: {error}"))
}

/// Appends messages of up to 4,000 bytes up to a position.
pub(crate) fn fill(log: &CommitLog, end: u64, random: &mut StdRng) -> Result<(), String> {
    let next = AtomicU64::new(0);
    while log.watermarks().appended < end {
        let message: Vec<u8> = (0..random.random_range(100..4000))
            .map(|_| random.random())
            .collect();
        let draft = Draft {
            kind: Kind::Message,
            topic: "t",
            queue_id: 0,
            next_offset: &next,
            closed: None,
            message: &[&message],
        };
        log.append(&draft).map_err(text)?;
    }
    Ok(())
}

/// The messages of a log.
pub(crate) fn messages(log: &CommitLog) -> Result<Vec<Vec<u8>>, String> {
    let mut messages = Vec::new();
    for record in log.records(log.watermarks().start) {
        messages.push(record.map_err(text)?.message().to_vec());
    }
    Ok(messages)
}

/// The messages of the log in an image, which is written to `dir` and removed again.
pub(crate) fn messages_in(dir: &Path, image: &Image) -> Result<Vec<Vec<u8>>, String> {
    image.write(dir).map_err(text)?;
    let log = open(dir)?;
    let messages = messages(&log)?;
    drop(log);
    fs::remove_dir_all(dir).map_err(text)?;
    Ok(messages)
}
