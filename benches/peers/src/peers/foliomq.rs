//! FolioMQ's store through its public API: one topic, one queue, index dispatched.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use foliomq_benches::bench::{self, TOPIC};
use foliomq_store::{Appender, Message, Options, Store, TopicOptions};

use crate::peer::{Flush, Peer, Touched};

/// Bytes of a segment: small enough that a run rolls.
const SEGMENT: u64 = 256 << 20;
/// Longer than any run: nothing forces a flush.
const NO_FLUSH: Duration = Duration::from_secs(3600);

struct FolioMq {
    store: Store,
    appender: Appender,
}

/// Everything but flush and segment size at its default.
pub fn open(folder: &Path, flush: Flush) -> Result<impl Peer + use<>> {
    let flush = match flush {
        Flush::Never => foliomq_store::Flush::Async { interval: NO_FLUSH },
        Flush::Each => foliomq_store::Flush::Sync,
    };
    let options = Options::new(folder).segment_size(SEGMENT).flush(flush);
    let store = options.open().context("opening the store")?;
    let topic = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    store.create_topic(TOPIC, topic)?;
    let appender = store.appender(TOPIC)?;
    Ok(FolioMq { store, appender })
}

impl Peer for FolioMq {
    fn append(&mut self, _first: u64, bodies: &[&[u8]]) -> Result<()> {
        if let [body] = bodies {
            self.appender.append_to(0, &Message::new(body))?;
            return Ok(());
        }
        let messages: Vec<Message<'_>> = bodies.iter().map(|body| Message::new(body)).collect();
        let submitted = self.appender.submit(Some(0), &messages)?;
        Ok(self.store.wait_committed(submitted.end())?)
    }

    fn settle(&mut self) -> Result<()> {
        bench::wait_dispatched(&self.store)
    }

    fn read(&mut self) -> Result<Touched> {
        let mut touched = Touched::default();
        let mut cursor = self.store.cursor(TOPIC, 0, 0)?;
        while let Some(message) = cursor.next()? {
            touched.add(message.body());
        }
        Ok(touched)
    }
}
