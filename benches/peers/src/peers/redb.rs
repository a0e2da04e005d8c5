//! redb: a table from number to bytes, one transaction per append.

use std::path::Path;

use anyhow::{Context, Result};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::peer::{Flush, Peer, Touched};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");

struct Log {
    database: Database,
    durability: Durability,
}

/// Defaults.
pub fn open(folder: &Path, flush: Flush) -> Result<impl Peer + use<>> {
    let durability = match flush {
        Flush::Never => Durability::None,
        Flush::Each => Durability::Immediate,
    };
    let database = Database::create(folder.join("redb")).context("opening the database")?;
    Ok(Log {
        database,
        durability,
    })
}

impl Peer for Log {
    fn append(&mut self, first: u64, bodies: &[&[u8]]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (number, body) in (first..).zip(bodies) {
                table.insert(number, *body)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&mut self) -> Result<Touched> {
        let mut touched = Touched::default();
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(touched),
            table => table?,
        };
        for entry in table.iter()? {
            touched.add(entry?.1.value());
        }
        Ok(touched)
    }
}
