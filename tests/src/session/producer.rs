//! Producers.

use super::Client;
use crate::driver::{Command, Failure, Outgoing};

/// A producer.
#[derive(Clone)]
pub struct Producer(pub(super) Client);

impl Producer {
    /// Sends one message and returns its id.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn send(&self, message: Outgoing) -> Result<String, Failure> {
        let ids = self.send_all(vec![message]).await?;
        let id = ids.into_iter().next();
        id.ok_or_else(|| Failure::local("driver", "a send brought no message id"))
    }

    /// Sends messages one after the other and returns their ids.
    ///
    /// # Errors
    /// At the first message that is refused.
    pub async fn send_all(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Failure> {
        self.request(messages, false).await
    }

    /// Sends messages in one request.
    ///
    /// # Errors
    /// If the broker refuses, or the library cannot.
    pub async fn send_batch(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Failure> {
        self.request(messages, true).await
    }

    async fn request(&self, messages: Vec<Outgoing>, batch: bool) -> Result<Vec<String>, Failure> {
        let name = self.0.name.clone();
        Ok(self
            .0
            .call(Command::Send {
                name,
                messages,
                batch,
            })
            .await?
            .ids)
    }

    /// Shuts the producer down.
    ///
    /// # Errors
    /// If the library's shutdown fails.
    pub async fn stop(self) -> Result<(), Failure> {
        self.0.stop().await
    }
}
