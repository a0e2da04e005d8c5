//! The store's cursor: by reference or through one buffer, as the store was opened.

use anyhow::Result;
use foliomq_benches::bench::TOPIC;
use foliomq_store::Cursor;

use super::Reader;
use crate::plan::Order;
use crate::stage::{Stage, queue};

/// A cursor over the queue of this order.
pub fn open(stage: &Stage, order: Order) -> Result<Cursor> {
    Ok(stage.store()?.cursor(TOPIC, queue(order), 0)?)
}

impl Reader for Cursor {
    fn seek(&mut self, offset: u64) {
        Self::seek(self, offset);
    }

    #[inline]
    fn next(&mut self) -> Result<Option<&[u8]>> {
        Ok(Self::next(self)?.map(|message| message.body()))
    }
}
