//! What every system must do to take part, and who takes part.

use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;
use foliomq_benches::payload::touch;
use serde::{Deserialize, Serialize};

use crate::peers;

/// When what was appended is on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Flush {
    /// Nothing forces a flush: the kernel writes out when it likes.
    Never,
    /// Each append, of one message or of a batch, returns after a flush.
    Each,
}

impl Flush {
    /// On the command line of a child.
    pub fn argument(self) -> String {
        argument(self)
    }
}

fn argument(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What a pass over the messages saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// How many there were.
    pub messages: u64,
    /// Of one byte of each cache line of each body.
    pub sum: u64,
}

impl Touched {
    /// Touches every cache line of a body.
    pub fn add(&mut self, body: &[u8]) {
        self.messages += 1;
        self.sum += touch(body);
    }
}

/// A log under test. Messages are numbered from 0 and appended in order.
pub trait Peer {
    /// Appends the bodies of one batch, the first of which has the number `first`; flushed if it was opened so.
    fn append(&mut self, first: u64, bodies: &[&[u8]]) -> Result<()>;

    /// Waits until everything appended can be read. Part of the time of the appends.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Goes over all messages in order, and touches the whole body of each.
    fn read(&mut self) -> Result<Touched>;

    /// Whether [`read`](Self::read) finds every message, as far as the system is right.
    fn finds_all(&self) -> bool {
        true
    }

    /// Whether [`read`](Self::read) finds everything again the second time.
    fn reads_again(&self) -> bool {
        true
    }
}

/// The systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    Foliomq,
    Commitlog,
    RaftEngine,
    Walrus,
    Fjall,
    Redb,
    Okaywal,
}

impl Name {
    /// All of them, FolioMQ first.
    pub const ALL: [Self; 7] = [
        Self::Foliomq,
        Self::Commitlog,
        Self::RaftEngine,
        Self::Walrus,
        Self::Fjall,
        Self::Redb,
        Self::Okaywal,
    ];

    /// As crates.io has it, with the version measured.
    pub fn title(self) -> &'static str {
        match self {
            Self::Foliomq => "FolioMQ",
            Self::Commitlog => "commitlog 0.2.0",
            Self::RaftEngine => "raft-engine 0.4.2",
            Self::Walrus => "walrus-rust 0.2.0",
            Self::Fjall => "fjall 3.1.13",
            Self::Redb => "redb 4.6.0",
            Self::Okaywal => "okaywal 0.3.1",
        }
    }

    /// On the command line of a child.
    pub fn argument(self) -> String {
        argument(self)
    }

    /// Whether it can be run so. okaywal flushes every commit.
    pub fn can(self, flush: Flush) -> bool {
        !(self == Self::Okaywal && flush == Flush::Never)
    }

    /// Opens it in `folder`, which may hold what an earlier run left there.
    pub fn open(self, folder: &Path, flush: Flush) -> Result<Box<dyn Peer>> {
        if !self.can(flush) {
            bail!("{} has no mode without a flush", self.title());
        }
        Ok(match self {
            Self::Foliomq => Box::new(peers::foliomq::open(folder, flush)?),
            Self::Commitlog => Box::new(peers::commitlog::open(folder, flush)?),
            Self::RaftEngine => Box::new(peers::raft_engine::open(folder, flush)?),
            Self::Walrus => Box::new(peers::walrus::open(folder, flush)?),
            Self::Fjall => Box::new(peers::fjall::open(folder, flush)?),
            Self::Redb => Box::new(peers::redb::open(folder, flush)?),
            Self::Okaywal => Box::new(peers::okaywal::open(folder)?),
        })
    }
}
