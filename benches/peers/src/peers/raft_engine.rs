//! raft-engine: entries of one Raft group, one `pwrite` per batch, positions in memory, checksum per batch.

use std::path::Path;

use anyhow::{Context, Result};
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::peer::{Flush, Peer, Touched};

/// The only group.
const GROUP: u64 = 1;
/// Entries fetched at a time.
const FETCH: u64 = 64;

/// An entry is a protobuf message with an index and bytes, as Raft's own is. This one comes with the protobuf crate, which
/// saves the build of Raft's.
struct Entries;

impl MessageExt for Entries {
    type Entry = UninterpretedOption;

    fn index(entry: &Self::Entry) -> u64 {
        entry.get_positive_int_value()
    }
}

struct Log {
    engine: Engine,
    batch: LogBatch,
    entries: Vec<UninterpretedOption>,
    flush: Flush,
}

/// Defaults, but no compression: the bodies do not compress, and the try would cost it time.
pub fn open(folder: &Path, flush: Flush) -> Result<impl Peer + use<>> {
    let config = Config {
        dir: folder.to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    Ok(Log {
        engine: Engine::open(config).context("opening the engine")?,
        batch: LogBatch::with_capacity(128),
        entries: Vec::new(),
        flush,
    })
}

impl Peer for Log {
    fn append(&mut self, first: u64, bodies: &[&[u8]]) -> Result<()> {
        self.entries.resize_with(bodies.len(), Default::default);
        for ((entry, body), index) in self.entries.iter_mut().zip(bodies).zip(first..) {
            entry.set_positive_int_value(index);
            let bytes = entry.mut_string_value();
            bytes.clear();
            bytes.extend_from_slice(body);
        }
        self.batch.add_entries::<Entries>(GROUP, &self.entries)?;
        self.engine
            .write(&mut self.batch, self.flush == Flush::Each)?;
        Ok(())
    }

    fn read(&mut self) -> Result<Touched> {
        let mut touched = Touched::default();
        let end = self.engine.last_index(GROUP).map_or(0, |last| last + 1);
        let mut fetched = Vec::new();
        for begin in (0..end).step_by(FETCH as usize) {
            fetched.clear();
            let to = end.min(begin + FETCH);
            self.engine
                .fetch_entries_to::<Entries>(GROUP, begin, to, None, &mut fetched)?;
            fetched
                .iter()
                .for_each(|entry| touched.add(entry.get_string_value()));
        }
        Ok(touched)
    }
}
