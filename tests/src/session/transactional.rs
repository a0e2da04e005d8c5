//! Producers of transactions.

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Client;
use crate::driver::{Command, Delivery, Failure, Outgoing, Received};

/// A producer of transactions, whose checker commits whatever the broker asks about.
pub struct Transactional {
    pub(super) client: Client,
    pub(super) questions: mpsc::UnboundedReceiver<Delivery>,
}

/// A half message that was sent.
#[derive(Clone, Debug)]
pub struct Half {
    /// The message id.
    pub id: String,
    transaction: String,
}

impl Transactional {
    /// Sends a half message.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn send_half(&self, message: Outgoing) -> Result<Half, Failure> {
        let (name, message) = (self.client.name.clone(), Box::new(message));
        let reply = self
            .client
            .call(Command::SendHalf { name, message })
            .await?;
        let id = reply.ids.into_iter().next();
        Ok(Half {
            id: id.ok_or_else(|| Failure::local("driver", "a send brought no message id"))?,
            transaction: reply.transaction,
        })
    }

    /// Commits a half message.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn commit(&self, half: &Half) -> Result<(), Failure> {
        self.end(half, true).await
    }

    /// Rolls a half message back.
    ///
    /// # Errors
    /// If the library refuses or the broker does.
    pub async fn roll_back(&self, half: &Half) -> Result<(), Failure> {
        self.end(half, false).await
    }

    async fn end(&self, half: &Half, commit: bool) -> Result<(), Failure> {
        let command = Command::EndTransaction {
            name: self.client.name.clone(),
            transaction: half.transaction.clone(),
            commit,
        };
        self.client.call(command).await.map(drop)
    }

    /// The next message that the broker asks about; the checker commits it.
    ///
    /// # Errors
    /// If the broker asks about none before `end`.
    pub async fn asked(&mut self, end: Instant) -> Result<Received> {
        let question = timeout_at(end, self.questions.recv()).await;
        let question = question.ok().flatten();
        Ok(question.context("the broker did not ask")?.message)
    }
}
