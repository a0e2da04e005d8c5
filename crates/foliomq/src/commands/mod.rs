//! One file for each command.

pub mod bench;
pub mod client;
pub mod group;
pub mod inspect;
pub mod log;
pub mod message;
pub mod query;
pub mod receive;
pub mod send;
pub mod serve;
pub mod status;
pub mod tail;
mod tail_folder;
pub mod topic;
mod topic_update;
pub mod verify;

mod heat;
mod lines;

use std::future::Future;

use anyhow::Context;
use foliomq_client::{Client, Tls};

use crate::arguments::{Arguments, Command, Remote};
use crate::failure::Failure;
use crate::logging;
use crate::settings::LogFormat;

/// Runs the command that the arguments name.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        log,
        log_format,
        command,
    } = arguments;
    if let Command::Serve(serve) = command {
        return serve.run(log, log_format);
    }
    start_logging(log, log_format)?;
    match command {
        Command::Serve(serve) => serve.run(None, None),
        Command::Topic(topics) => block_on(topics.run()),
        Command::Group(groups) => block_on(groups.run()),
        Command::Client(clients) => block_on(clients.run()),
        Command::Message(messages) => block_on(messages.run()),
        Command::Log(log) => block_on(log.run()),
        Command::Send(send) => block_on(send.run()),
        Command::Receive(receive) => block_on(receive.run()),
        Command::Tail(tail) => block_on(tail.run()),
        Command::Query(query) => block_on(query.run()),
        Command::Status(status) => block_on(status.run()),
        Command::Bench(bench) => bench.run(),
        Command::Inspect(inspect) => block_on(inspect.run()),
        Command::Verify(verify) => verify.run(),
    }
}

impl Remote {
    /// A connection to the broker.
    pub async fn connect(&self) -> foliomq_client::Result<Client> {
        match self.trust()? {
            Some(tls) => Client::connect_tls(&self.endpoint, tls).await,
            None => Client::connect(&self.endpoint).await,
        }
    }

    /// Whom to trust; `None`: in plaintext.
    fn trust(&self) -> foliomq_client::Result<Option<Tls>> {
        if !self.tls && self.ca.is_none() && self.server_name.is_none() {
            return Ok(None);
        }
        let mut tls = Tls::new();
        if let Some(file) = &self.ca {
            tls = tls.ca_file(file)?;
        }
        Ok(Some(match &self.server_name {
            Some(name) => tls.server_name(name),
            None => tls,
        }))
    }
}

/// `serve` has these among its settings; the other commands take them from flag or environment.
fn start_logging(log: Option<String>, format: Option<LogFormat>) -> anyhow::Result<()> {
    let filter = log.or_else(|| std::env::var("FOLIOMQ_LOG").ok());
    let format = format.or_else(|| match std::env::var("FOLIOMQ_LOG_FORMAT").as_deref() {
        Ok("json") => Some(LogFormat::Json),
        _ => None,
    });
    logging::start(
        filter.as_deref().unwrap_or(logging::DEFAULT),
        format.unwrap_or(LogFormat::Text),
    )
    .map(drop)
    .map_err(|error| Failure::Usage(format!("{error:#}")).into())
}

/// One thread is enough for a client. A read of standard input may still block: nobody waits for it.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .context("cannot start the async runtime")?
        .block_on(command)
}
