//! commitlog: one `write()` per append, an index entry in a mapped file, CRC-32C, offsets.
//!
//! Its `flush()` forces nothing to the device. Where each append is to be flushed the harness does what a program would
//! have to: `flush()`, which syncs the index, then `fdatasync` of the log's file through a descriptor of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use crate::peer::{Flush, Peer, Touched};

/// Bytes asked for in one read, of four tried (64 KiB to 1 MiB) the fastest here.
const READ: usize = 256 << 10;
/// Bytes of the largest batch.
const LARGEST: usize = 8 << 20;

struct Log {
    log: CommitLog,
    folder: PathBuf,
    flush: Flush,
    buffer: MessageBuf,
    /// The log's file, to flush it.
    file: Option<File>,
}

/// Default segments of 1 GB; room in the index for a run, so that it is not remapped in between.
pub fn open(folder: &Path, flush: Flush) -> Result<impl Peer + use<>> {
    let mut options = LogOptions::new(folder);
    options
        .message_max_bytes(LARGEST)
        .index_max_items(2_000_000);
    Ok(Log {
        log: CommitLog::new(options).context("opening the log")?,
        folder: folder.to_path_buf(),
        flush,
        buffer: MessageBuf::default(),
        file: None,
    })
}

impl Log {
    fn flush(&mut self) -> Result<()> {
        self.log.flush()?;
        if self.file.is_none() {
            self.file = Some(File::open(newest_log(&self.folder)?)?);
        }
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// Runs that flush stay within one segment.
fn newest_log(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let logs = entries.into_iter().map(|entry| entry.path());
    logs.filter(|path| path.extension().is_some_and(|end| end == "log"))
        .max()
        .context("the log has no file")
}

impl Peer for Log {
    fn append(&mut self, _first: u64, bodies: &[&[u8]]) -> Result<()> {
        self.buffer.clear();
        for body in bodies {
            self.buffer
                .push(body)
                .map_err(|_| anyhow::anyhow!("too large"))?;
        }
        self.log.append(&mut self.buffer)?;
        match self.flush {
            Flush::Never => Ok(()),
            Flush::Each => self.flush(),
        }
    }

    fn read(&mut self) -> Result<Touched> {
        let mut touched = Touched::default();
        loop {
            let messages = self
                .log
                .read(touched.messages, ReadLimit::max_bytes(READ))?;
            if messages.is_empty() {
                return Ok(touched);
            }
            messages
                .iter()
                .for_each(|message| touched.add(message.payload()));
        }
    }
}
