//! Simple and push consumers.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{BATCH, Client, INVISIBLE, millis};
use crate::driver::{Command, Delivery, Failure, Received};

/// A simple consumer.
#[derive(Clone)]
pub struct Simple(pub(super) Client);

impl Simple {
    /// One receive call.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn receive(&self, max: u32, invisible: Duration) -> Result<Vec<Received>, Failure> {
        self.request(max, invisible, false).await
    }

    /// One receive call that reports bodies by their SHA-256.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn receive_digests(&self, invisible: Duration) -> Result<Vec<Received>, Failure> {
        self.request(BATCH, invisible, true).await
    }

    async fn request(
        &self,
        max: u32,
        invisible: Duration,
        digest: bool,
    ) -> Result<Vec<Received>, Failure> {
        let (name, invisible_ms) = (self.0.name.clone(), millis(invisible));
        Ok(self
            .0
            .call(Command::Receive {
                name,
                max,
                invisible_ms,
                digest,
            })
            .await?
            .messages)
    }

    /// Receives until a message is there, for at most `limit`.
    ///
    /// # Errors
    /// If none comes, or a call fails.
    pub async fn receive_one(&self, invisible: Duration, limit: Duration) -> Result<Received> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(message) = self.receive(1, invisible).await?.into_iter().next() {
                return Ok(message);
            }
        }
        bail!("no message came within {limit:?}")
    }

    /// Receives and acknowledges until `count` messages are there, for at most `limit`.
    ///
    /// # Errors
    /// If they do not come, or a call fails.
    pub async fn take(&self, count: usize, limit: Duration) -> Result<Vec<Received>> {
        let end = Instant::now() + limit;
        let mut taken = Vec::new();
        while taken.len() < count {
            if Instant::now() >= end {
                bail!("{} of {count} messages came within {limit:?}", taken.len());
            }
            let messages = self.receive(BATCH, INVISIBLE).await?;
            self.ack_all(&messages).await?;
            taken.extend(messages);
        }
        Ok(taken)
    }

    /// Checks that one receive call brings nothing.
    ///
    /// # Errors
    /// If it brings something, or fails.
    pub async fn expect_none(&self) -> Result<()> {
        let messages = self.receive(BATCH, INVISIBLE).await?;
        if let Some(message) = messages.first() {
            bail!("a message came that should not: {message:?}");
        }
        Ok(())
    }

    /// Acknowledges a message.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn ack(&self, message: &Received) -> Result<(), Failure> {
        self.ack_all(std::slice::from_ref(message)).await
    }

    /// Acknowledges messages.
    ///
    /// # Errors
    /// At the first one that the broker refuses.
    pub async fn ack_all(&self, messages: &[Received]) -> Result<(), Failure> {
        if messages.is_empty() {
            return Ok(());
        }
        let handles = messages
            .iter()
            .map(|message| message.handle.clone())
            .collect();
        let name = self.0.name.clone();
        self.0.call(Command::Ack { name, handles }).await.map(drop)
    }

    /// Changes when a message comes back; the result carries the new receipt handle.
    ///
    /// # Errors
    /// If the broker refuses, or the library cannot.
    pub async fn change_invisible(
        &self,
        message: &Received,
        invisible: Duration,
    ) -> Result<Received, Failure> {
        let (name, handle) = (self.0.name.clone(), message.handle.clone());
        let command = Command::ChangeInvisible {
            name,
            handle,
            invisible_ms: millis(invisible),
        };
        let handle = self.0.call(command).await?.handle;
        Ok(Received {
            handle,
            ..message.clone()
        })
    }

    /// Subscribes to a lite topic, or no more.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn subscribe_lite(&self, lite: &str, on: bool) -> Result<(), Failure> {
        self.0.subscribe_lite(lite, on).await
    }

    /// Shuts the consumer down.
    ///
    /// # Errors
    /// If the library's shutdown fails.
    pub async fn stop(self) -> Result<(), Failure> {
        self.0.stop().await
    }
}

/// A push consumer and the deliveries to its listener.
pub struct Push {
    pub(super) client: Client,
    pub(super) deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Push {
    /// The next delivery before `end`, or none.
    pub async fn next(&mut self, end: Instant) -> Option<Delivery> {
        timeout_at(end, self.deliveries.recv()).await.ok().flatten()
    }

    /// Subscribes to a lite topic, or no more.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn subscribe_lite(&self, lite: &str, on: bool) -> Result<(), Failure> {
        self.client.subscribe_lite(lite, on).await
    }

    /// Shuts the consumer down.
    ///
    /// # Errors
    /// If the library's shutdown fails.
    pub async fn stop(self) -> Result<(), Failure> {
        self.client.stop().await
    }
}
