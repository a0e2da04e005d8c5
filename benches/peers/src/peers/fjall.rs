//! fjall: keys of eight big-endian bytes in one keyspace, scanned in order.

use std::path::Path;

use anyhow::{Context, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::peer::{Flush, Peer, Touched};

struct Log {
    database: Database,
    messages: Keyspace,
    flush: Flush,
}

/// Defaults, but no compression of the journal: the bodies do not compress.
pub fn open(folder: &Path, flush: Flush) -> Result<impl Peer + use<>> {
    let database = Database::builder(folder)
        .journal_compression(fjall::CompressionType::None)
        .open()
        .context("opening the database")?;
    let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
    Ok(Log {
        database,
        messages,
        flush,
    })
}

impl Peer for Log {
    fn append(&mut self, first: u64, bodies: &[&[u8]]) -> Result<()> {
        if let [body] = bodies {
            self.messages.insert(first.to_be_bytes(), *body)?;
            if self.flush == Flush::Each {
                self.database.persist(PersistMode::SyncData)?;
            }
            return Ok(());
        }
        let mode = match self.flush {
            Flush::Never => PersistMode::Buffer,
            Flush::Each => PersistMode::SyncData,
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for (number, body) in (first..).zip(bodies) {
            batch.insert(&self.messages, number.to_be_bytes(), *body);
        }
        Ok(batch.commit()?)
    }

    fn read(&mut self) -> Result<Touched> {
        let mut touched = Touched::default();
        for entry in self.messages.iter() {
            touched.add(&entry.value()?);
        }
        Ok(touched)
    }
}
