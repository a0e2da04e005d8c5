//! Messages that may be kept: each owns a share of its mapping.

use std::vec::IntoIter;

use anyhow::Result;
use foliomq_benches::bench::TOPIC;
use foliomq_store::{Store, StoredMessage};

use super::Reader;
use crate::plan::Order;
use crate::stage::{Stage, queue};

/// Messages asked for at once, where they are read in order.
const BATCH: usize = 64;

/// Reads by `read_many`, or by `read` at random.
pub struct Shares {
    store: Store,
    queue: u32,
    most: usize,
    offset: u64,
    batch: IntoIter<StoredMessage>,
    held: Option<StoredMessage>,
}

impl Shares {
    /// Over the queue of this order.
    pub fn open(stage: &Stage, order: Order) -> Result<Self> {
        Ok(Self {
            store: stage.store()?.clone(),
            queue: queue(order),
            most: if order == Order::Random { 1 } else { BATCH },
            offset: 0,
            batch: Vec::new().into_iter(),
            held: None,
        })
    }
}

impl Reader for Shares {
    fn seek(&mut self, offset: u64) {
        self.batch = Vec::new().into_iter();
        self.offset = offset;
    }

    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.held = self.batch.next();
        if self.held.is_none() {
            let batch = self
                .store
                .read_many(TOPIC, self.queue, self.offset, self.most)?;
            self.offset += batch.len() as u64;
            self.batch = batch.into_iter();
            self.held = self.batch.next();
        }
        Ok(self.held.as_ref().map(StoredMessage::body))
    }
}
