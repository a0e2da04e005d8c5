//! Producers, and transactions of those that were started for them.

use std::sync::Arc;

use rocketmq::Producer;
use rocketmq::conf::ProducerOption;
use rocketmq::error::ClientError;
use rocketmq::model::message::Message;
use rocketmq::model::transaction::{Transaction as _, TransactionResolution};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clients::client_option;
use crate::message::questioned;
use crate::wire::{Failure, Start, answer};

/// A producer as the command asks for; the checker of one of transactions reports every question, and commits.
pub fn producer(start: &Start) -> Result<Producer, ClientError> {
    let mut options = ProducerOption::default();
    options.set_topics(start.topics.clone());
    if !start.transactions {
        return Producer::new(options, client_option(start));
    }
    let name = start.name.clone();
    let checker = Box::new(move |_, message| {
        answer(json!({ "delivery": questioned(&message), "name": name, "failed": false }));
        TransactionResolution::COMMIT
    });
    Producer::new_transaction_producer(options, client_option(start), checker)
}

/// A half message whose end is not decided. The client's own value borrows the producer, so a task holds both.
pub struct Transaction {
    decision: oneshot::Sender<bool>,
    end: JoinHandle<Result<(), ClientError>>,
}

/// The ids of a half message.
pub struct Sent {
    pub message: String,
    pub transaction: String,
}

impl Transaction {
    /// Sends the half message.
    pub async fn begin(
        producer: Arc<Producer>,
        message: impl Message + Send + 'static,
    ) -> Result<(Sent, Self), Failure> {
        let (told, sent) = oneshot::channel();
        let (decision, decided) = oneshot::channel();
        let end = tokio::spawn(async move {
            let half = producer.send_transaction_message(message).await?;
            let message = half.message_id().to_owned();
            let transaction = half.transaction_id().to_owned();
            // The caller waits for it.
            let _ = told.send(Sent {
                message,
                transaction,
            });
            match decided.await {
                Ok(true) => half.commit().await,
                Ok(false) => half.rollback().await,
                Err(_) => Ok(()),
            }
        });
        match sent.await {
            Ok(sent) => Ok((sent, Self { decision, end })),
            Err(_) => Err(finished(end).await.err().unwrap_or_else(unsaid)),
        }
    }

    /// Commits it, or rolls it back.
    pub async fn end(self, commit: bool) -> Result<(), Failure> {
        // The task waits for it.
        let _ = self.decision.send(commit);
        finished(self.end).await
    }
}

async fn finished(end: JoinHandle<Result<(), ClientError>>) -> Result<(), Failure> {
    match end.await {
        Ok(outcome) => Ok(outcome?),
        Err(panic) => Err(Failure::new("panic", panic.to_string())),
    }
}

fn unsaid() -> Failure {
    Failure::new("Driver", "the half message has no id".into())
}
