//! Two stores with the same messages, one read through its mapping and one through its files.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use foliomq_benches::bench::{self, TOPIC};
use foliomq_benches::payload::Payload;
use foliomq_benches::written::write_out;
use foliomq_store::{Entry, Flush, Message, Options, Preheat, ReadMode, Store, TopicOptions};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use crate::plan::{Order, Plan, QUEUES};

/// Bytes of a segment: small enough that readers pass from one to the next.
const SEGMENT: u64 = 256 << 20;
/// The queue of the writer beside.
pub const WRITER: u32 = QUEUES + 1;
/// Messages appended at once while a store is filled.
const FILL: u64 = 64;

/// A store with its folder, filled, open.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    mode: ReadMode,
    store: Option<Store>,
    /// Bytes of a body.
    pub body: usize,
    /// Messages in the queue that is read in sequence; as many in the others together.
    pub messages: u64,
}

impl Stage {
    /// Fills a store in a new folder below `parent`.
    pub fn fill(parent: &Path, mode: ReadMode, plan: &Plan, body: usize) -> Result<Self> {
        let folder = tempfile::tempdir_in(parent).context("creating a folder")?;
        let mut stage = Self {
            folder,
            mode,
            store: None,
            body,
            messages: plan.messages(body),
        };
        let store = stage.options().open().context("opening the store")?;
        let queues = TopicOptions {
            queues: WRITER + 1,
            ..TopicOptions::default()
        };
        store.create_topic(TOPIC, queues)?;
        stage.append(&store)?;
        store.close()?;
        drop(store);
        // Only clean pages can be dropped later.
        write_out(stage.folder.path())?;
        stage.reopen()?;
        Ok(stage)
    }

    fn options(&self) -> Options {
        let mut options = Options::new(self.folder.path())
            .segment_size(SEGMENT)
            .flush(Flush::Async {
                interval: bench::FLUSH_INTERVAL,
            })
            .preheat(Preheat::Off)
            .read_mode(self.mode);
        // Preheated pages would have to be written out each time it is cooled. It was closed cleanly, and what a check reads is
        // no longer cold.
        options.check_on_open = 0;
        options
    }

    fn append(&self, store: &Store) -> Result<()> {
        let payload = Payload::new(self.body);
        for first in (0..self.messages).step_by(FILL as usize) {
            let numbers = first..self.messages.min(first + FILL);
            let messages: Vec<Message<'_>> = numbers
                .map(|number| Message::new(payload.body(number)))
                .collect();
            store.submit(TOPIC, Some(0), &messages)?;
        }
        for number in 0..self.messages {
            let queue = 1 + (number % u64::from(QUEUES)) as u32;
            let body = payload.body(number / u64::from(QUEUES));
            store.append_to(TOPIC, queue, &Message::new(body))?;
        }
        bench::wait_dispatched(store)
    }

    /// The store.
    pub fn store(&self) -> Result<&Store> {
        self.store.as_ref().context("the store is closed")
    }

    /// Closes and opens the store: its mappings are new, and empty.
    pub fn reopen(&mut self) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close()?;
        }
        self.store = Some(self.options().open().context("opening the store again")?);
        Ok(())
    }

    /// Drops every clean page of the store's files that is not mapped from the page cache, and opens the store anew.
    pub fn cool(&mut self) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close()?;
        }
        forget(self.folder.path())?;
        self.reopen()?;
        // What opening has read.
        forget(self.folder.path())
    }

    /// Where the messages of a queue lie, with how many the read goes over.
    pub fn entries(&self, order: Order) -> Result<Vec<Entry>> {
        let messages = self.messages(order);
        let mut entries = Vec::with_capacity(messages as usize);
        let found =
            self.store()?
                .entries(TOPIC, queue(order), 0, messages as usize, &mut entries)?;
        ensure!(found == (0..messages), "entries {found:?} of {messages}");
        Ok(entries)
    }

    /// Messages that a pass goes over.
    pub fn messages(&self, order: Order) -> u64 {
        match order {
            Order::Sequential | Order::Random => self.messages,
            Order::Scattered => self.messages / u64::from(QUEUES),
        }
    }

    /// Bytes that lie in the log from the first message of a pass to the last.
    pub fn span(&self, order: Order) -> Result<u64> {
        let entries = self.entries(order)?;
        let (first, last) = entries.first().zip(entries.last()).context("no messages")?;
        Ok(last.position + u64::from(last.size) - first.position)
    }
}

/// The queue that is read in this order.
pub fn queue(order: Order) -> u32 {
    match order {
        Order::Sequential | Order::Random => 0,
        Order::Scattered => 1,
    }
}

/// Drops the clean pages of every file below `folder` from the page cache.
fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
            continue;
        }
        let file = File::open(entry.path())?;
        fadvise(&file, 0, None, Advice::DontNeed).context("dropping cached pages")?;
    }
    Ok(())
}
