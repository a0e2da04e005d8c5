//! What a scenario is given: a client library, a broker, names of its own.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::broker::{Broker, Settings};
use crate::driver::{Failure, Kind};
use crate::session::Session;

/// What all scenarios share: the settings of a broker, and one that serves.
pub struct Stage {
    /// How to start a broker; the store's folder is a template that nobody uses.
    pub settings: Settings,
    /// The shared broker's address.
    pub address: SocketAddr,
    /// The shared broker's store.
    pub store: std::path::PathBuf,
}

/// One scenario's run with one client library.
pub struct Context<'a> {
    /// The client library.
    pub kind: Kind,
    /// Marks the names of this run.
    pub label: String,
    /// What is shared.
    pub stage: &'a Stage,
}

/// A broker for one scenario alone, with its store.
pub struct OwnBroker {
    /// The broker.
    pub broker: Broker,
    /// Removed with this value.
    pub store: TempDir,
}

impl Context<'_> {
    /// The client library, connected to the shared broker.
    ///
    /// # Errors
    /// If its driver does not come up.
    pub async fn session(&self) -> Result<Session> {
        Session::open(self.kind, self.stage.address, &[]).await
    }

    /// A new topic for normal messages.
    ///
    /// # Errors
    /// If the broker does not create it.
    pub async fn topic(&self) -> Result<String> {
        let topic = format!("topic-{}", self.label);
        Admin::connect(self.stage.address)
            .await?
            .create_topic(&topic)
            .await?;
        Ok(topic)
    }

    /// The name of a consumer group.
    pub fn group(&self, purpose: &str) -> String {
        format!("group-{}-{purpose}", self.label)
    }

    /// A broker of the scenario's own; `adjust` changes its settings.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn own_broker(&self, adjust: impl FnOnce(&mut Settings)) -> Result<OwnBroker> {
        let store = tempfile::tempdir()?;
        let mut settings = Settings {
            store: store.path().join("store"),
            ..self.stage.settings.clone()
        };
        adjust(&mut settings);
        Ok(OwnBroker {
            broker: Broker::start(settings).await?,
            store,
        })
    }

    /// The shared broker's store.
    pub fn store(&self) -> &Path {
        &self.stage.store
    }

    /// Checks that a call was refused with the protocol's `code`. A library that checks for itself
    /// may refuse without one.
    ///
    /// # Errors
    /// If the call went through or was refused for another reason.
    pub fn expect_refusal<T>(&self, call: Result<T, Failure>, code: &str) -> Result<()> {
        let Err(failure) = call else {
            anyhow::bail!("not refused; {code} was expected")
        };
        let as_asked = match &failure.code {
            Some(given) => given == code,
            None => self.kind.checks_locally() && !failure.is_outage(),
        };
        ensure!(as_asked, "{code} was expected, not: {failure}");
        Ok(())
    }
}
