//! Client libraries behind one vocabulary.

mod process;
mod raw;
mod wire;

use std::fmt;
use std::net::SocketAddr;

use anyhow::Result;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

pub use process::Process;
pub use raw::Raw;
pub use wire::{Command, Delivery, Failure, Outgoing, Received, Reply, SQL_MARK, Start};

/// One client library at work.
pub trait Driver: Send + Sync {
    /// Carries one command out. Commands run beside each other.
    fn call(&self, command: Command) -> BoxFuture<'_, Result<Reply, Failure>>;

    /// The deliveries of the push consumer `name`, or the questions to the producer `name` about transactions, from now on.
    fn deliveries(&self, name: &str) -> mpsc::UnboundedReceiver<Delivery>;
}

/// Which client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// PyPI `rocketmq-python-client`.
    Python,
    /// npm `rocketmq-client-nodejs`.
    Node,
    /// The crate `rocketmq`.
    Rust,
    /// gRPC calls made by hand: for what the libraries check themselves or cannot do.
    Raw,
}

impl Kind {
    /// Every client, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Python, Self::Node, Self::Rust, Self::Raw];

    /// The name on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Rust => "rust",
            Self::Raw => "raw",
        }
    }

    /// Whether the library itself refuses some of what the broker would refuse too.
    pub fn checks_locally(self) -> bool {
        matches!(self, Self::Python | Self::Node)
    }

    /// Starts the driver; `environment` goes to the client's process.
    ///
    /// # Errors
    /// If the driver is not installed (`tests/setup`) or does not come up.
    pub async fn start(
        self,
        address: SocketAddr,
        environment: &[(&str, String)],
    ) -> Result<Box<dyn Driver>> {
        Ok(match self {
            Self::Raw => Box::new(Raw::new(address)),
            _ => Box::new(Process::start(self, environment).await?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| format!("no client `{name}`: there are python, node, rust and raw"))
    }
}
