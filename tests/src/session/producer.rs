//! Producers.

use super::Client;
use crate::driver::{Command, Failure, Outgoing, Reply};

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

    /// Sends one delayed message and returns its id and its recall handle.
    ///
    /// # Errors
    /// If the library refuses or the broker does, or there is no handle.
    pub async fn send_recallable(&self, message: Outgoing) -> Result<(String, String), Failure> {
        let reply = self.request(vec![message], false).await?;
        let mut pairs = reply.ids.into_iter().zip(reply.recall_handles);
        let pair = pairs.find(|(_, handle)| !handle.is_empty());
        pair.ok_or_else(|| Failure::local("driver", "a send brought no recall handle"))
    }

    /// Recalls a delayed message and returns its id.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<String, Failure> {
        let command = Command::Recall {
            name: self.0.name.clone(),
            topic: topic.to_owned(),
            recall_handle: handle.to_owned(),
        };
        let id = self.0.call(command).await?.ids.into_iter().next();
        id.ok_or_else(|| Failure::local("driver", "a recall brought no message id"))
    }

    /// Sends messages one after the other and returns their ids.
    ///
    /// # Errors
    /// At the first message that is refused.
    pub async fn send_all(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Failure> {
        Ok(self.request(messages, false).await?.ids)
    }

    /// Sends messages in one request.
    ///
    /// # Errors
    /// If the broker refuses, or the library cannot.
    pub async fn send_batch(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Failure> {
        Ok(self.request(messages, true).await?.ids)
    }

    async fn request(&self, messages: Vec<Outgoing>, batch: bool) -> Result<Reply, Failure> {
        let name = self.0.name.clone();
        let command = Command::Send {
            name,
            messages,
            batch,
        };
        self.0.call(command).await
    }

    /// Shuts the producer down.
    ///
    /// # Errors
    /// If the library's shutdown fails.
    pub async fn stop(self) -> Result<(), Failure> {
        self.0.stop().await
    }
}
