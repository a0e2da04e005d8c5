//! A store that appends while its device takes less and less: a process that tells what it was promised.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use foliomq_store::{Flush, Message, Options, Preheat, Store, StoreError, TopicOptions};
use serde::{Deserialize, Serialize};

use crate::body::{body, id};
use crate::load::{SEGMENT, topic_name};
use crate::note::Placed;
use crate::settings::{Mode, Writer};

/// Said once the device may fail.
pub const LOADED: &str = "loaded";
/// Messages before that.
const BEFORE: u32 = 500;
/// Messages after that, at most: far more than the device takes.
const AFTER: u32 = 50_000;
/// In async mode a flush is asked for after so many messages.
const FLUSH_EVERY: u32 = 64;
/// Attempts after the failure: each must fail.
const ATTEMPTS: u32 = 200;
const NEVER: Duration = Duration::from_secs(3600);

/// What the process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The store.
    #[arg(long)]
    pub store: PathBuf,
    #[arg(long)]
    pub mode: Mode,
    #[arg(long)]
    pub writer: Writer,
    #[arg(long)]
    pub seed: u64,
    /// Close the store in the end, instead of dying.
    #[arg(long)]
    pub close: bool,
}

/// What happened on the brink.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Messages that were acknowledged, or appended in async mode.
    pub placed: Vec<Placed>,
    /// Everything below was said to be durable.
    pub promised: u64,
    /// What the first refused append said.
    pub error: String,
    /// Attempts after it that were accepted all the same.
    pub accepted: u32,
    /// Messages that could not be read after it, though they were committed.
    pub unreadable: u32,
    /// What the store says is the reason.
    pub refusing: Option<String>,
    /// What closing said, if it was closed.
    pub closed: Option<String>,
}

/// Runs, prints the account, and ends.
pub fn run(arguments: &Arguments) -> Result<()> {
    crate::process::die_with_parent()?;
    let mut brink = Brink {
        arguments,
        store: open(arguments)?,
        placed: Vec::new(),
        promised: 0,
    };
    for number in 0..BEFORE {
        brink.append(number)?;
    }
    brink.flush()?;
    println!("{LOADED}");
    let word = io::stdin().lock().lines().next();
    word.context("no word to go on")??;
    let error = brink.append_until_refused()?;
    let account = brink.account(&error)?;
    println!("{}", serde_json::to_string(&account)?);
    if arguments.close {
        Ok(())
    } else {
        Ok(crate::process::kill_self()?)
    }
}

/// A store with one topic of one queue.
fn open(arguments: &Arguments) -> Result<Store> {
    let flush = match arguments.mode {
        Mode::Sync => Flush::Sync,
        Mode::Async => Flush::Async { interval: NEVER },
    };
    let options = Options::new(&arguments.store)
        .segment_size(SEGMENT)
        .flush(flush)
        .writer(arguments.writer.kind())
        .preheat(Preheat::Window { bytes: 1 << 20 });
    let store = options.open().context("opening the store")?;
    let one = TopicOptions {
        queues: 1,
        ..Default::default()
    };
    store.create_topic(&topic_name(0), one)?;
    Ok(store)
}

struct Brink<'a> {
    arguments: &'a Arguments,
    store: Store,
    placed: Vec<Placed>,
    promised: u64,
}

impl Brink<'_> {
    /// One message, and what may be said of it when that returns.
    fn append(&mut self, number: u32) -> Result<(), StoreError> {
        let body = body(self.arguments.seed, 0, number);
        let appended = self
            .store
            .append(&topic_name(0), &Message::new(&body).id(&id(0, number)))?;
        self.placed.push(Placed {
            position: appended.position,
            end: appended.end(),
            topic: 0,
            queue: 0,
            offset: appended.queue_offset,
            writer: 0,
            number,
        });
        match self.arguments.mode {
            Mode::Sync => self.promised = appended.end(),
            Mode::Async if number.is_multiple_of(FLUSH_EVERY) => self.flush()?,
            Mode::Async => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let position = self.store.watermarks().committed;
        self.store.flush()?;
        self.promised = self.promised.max(position);
        Ok(())
    }

    fn append_until_refused(&mut self) -> Result<StoreError> {
        let refused = (BEFORE..BEFORE + AFTER).find_map(|number| self.append(number).err());
        refused.context("the device took everything")
    }

    /// Tries on, reads everything, and closes if that is asked for.
    fn account(mut self, error: &StoreError) -> Result<Account> {
        let before = self.placed.len();
        let accepted = (0..ATTEMPTS)
            .filter(|n| self.append(BEFORE + AFTER + n).is_ok())
            .count()
            + (0..ATTEMPTS).filter(|_| self.store.flush().is_ok()).count();
        self.placed.truncate(before);
        let unreadable = self
            .placed
            .iter()
            .filter(|placed| !self.readable(placed))
            .count();
        let refusing = self.store.refusing().map(|reason| reason.to_string());
        let closed = self.arguments.close.then(|| match self.store.close() {
            Ok(()) => "well".to_owned(),
            Err(error) => error.to_string(),
        });
        Ok(Account {
            placed: self.placed,
            promised: self.promised,
            error: error.to_string(),
            accepted: accepted as u32,
            unreadable: unreadable as u32,
            refusing,
            closed,
        })
    }

    fn readable(&self, placed: &Placed) -> bool {
        let read = self.store.read(&topic_name(0), 0, placed.offset);
        let expected = body(self.arguments.seed, placed.writer, placed.number);
        matches!(read, Ok(Some(message)) if message.body() == expected)
    }
}
