//! okaywal: an entry per append, a chunk per message, CRC-32, flushed at each commit. Read by recovery: it has no other scan.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result};
use okaywal::{
    Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use crate::peer::{Peer, Touched};

/// Bytes of a segment. Its default of 1 MiB with a checkpoint at 768 KiB is for programs that empty the log all the time.
const SEGMENT: u32 = 128 << 20;

struct Log {
    folder: PathBuf,
    log: Option<WriteAheadLog>,
}

/// Large segments, and no checkpoints, which would drop what is to be read.
pub fn open(folder: &Path) -> Result<impl Peer + use<>> {
    let log = start(folder, Recovered::default()).context("opening the log")?;
    Ok(Log {
        folder: folder.to_path_buf(),
        log: Some(log),
    })
}

fn start(folder: &Path, recovered: Recovered) -> io::Result<WriteAheadLog> {
    Configuration::default_for(folder)
        .preallocate_bytes(SEGMENT)
        .checkpoint_after_bytes(u64::MAX)
        .open(recovered)
}

/// Touches the bodies as they are recovered.
#[derive(Debug, Default, Clone)]
struct Recovered {
    touched: Arc<Mutex<Touched>>,
    body: Vec<u8>,
}

impl Recovered {
    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl LogManager for Recovered {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            self.body.clear();
            chunk.read_to_end(&mut self.body)?;
            if !chunk.check_crc()? {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.touched().add(&self.body);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

impl Peer for Log {
    fn append(&mut self, _first: u64, bodies: &[&[u8]]) -> Result<()> {
        let log = self.log.as_ref().context("the log is closed")?;
        let mut entry = log.begin_entry()?;
        for body in bodies {
            entry.write_chunk(body)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn read(&mut self) -> Result<Touched> {
        if let Some(log) = self.log.take() {
            log.shutdown()?;
        }
        let recovered = Recovered::default();
        self.log = Some(start(&self.folder, recovered.clone())?);
        let touched = *recovered.touched();
        Ok(touched)
    }
}
