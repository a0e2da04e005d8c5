//! The clients of this process by name, and one method for each command.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rocketmq::conf::{ClientOption, SimpleConsumerOption};
use rocketmq::model::common::{FilterExpression, FilterType};
use rocketmq::model::message::{AckMessageEntry, MessageView};
use rocketmq::{Producer, SimpleConsumer};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::message::{incoming, outgoing};
use crate::transaction::{Transaction, producer};
use crate::wire::{Command, Failure, Outgoing, Start};

/// Before an expression that is not of tags.
const SQL_MARK: &str = "sql:";

/// A simple consumer with the one topic that it receives from.
struct Consumer {
    client: SimpleConsumer,
    topic: String,
    filter: FilterExpression,
}

#[derive(Default)]
pub struct Clients {
    producers: Mutex<HashMap<String, Arc<Producer>>>,
    consumers: Mutex<HashMap<String, Arc<Consumer>>>,
    received: Mutex<HashMap<String, Arc<MessageView>>>,
    transactions: Mutex<HashMap<String, Transaction>>,
}

impl Clients {
    pub async fn run(&self, command: Command) -> Result<Value, Failure> {
        match command {
            Command::StartProducer(start) => self.start_producer(start).await,
            Command::StartSimple(start) => self.start_simple(start).await,
            Command::Stop { name } => self.stop(&name).await,
            Command::Send {
                name,
                messages,
                batch,
            } => self.send(&name, messages, batch).await,
            Command::SendHalf { name, message } => self.send_half(&name, *message).await,
            Command::EndTransaction {
                transaction,
                commit,
            } => self.end_transaction(&transaction, commit).await,
            Command::Receive {
                name,
                max,
                invisible_ms,
            } => {
                self.receive(&name, max, Duration::from_millis(invisible_ms))
                    .await
            }
            Command::Ack { name, handles } => self.ack(&name, handles).await,
            Command::Unsupported => Err(Failure::new(
                "Driver",
                "this client has no such command".into(),
            )),
        }
    }

    async fn start_producer(&self, start: Start) -> Result<Value, Failure> {
        let mut producer = producer(&start)?;
        producer.start().await?;
        self.producers
            .lock()
            .await
            .insert(start.name, Arc::new(producer));
        Ok(json!({}))
    }

    async fn start_simple(&self, start: Start) -> Result<Value, Failure> {
        let mut options = SimpleConsumerOption::default();
        options.set_consumer_group(start.group.clone());
        options.set_topics(start.subscriptions.keys().cloned().collect::<Vec<_>>());
        let mut client = SimpleConsumer::new(options, client_option(&start))?;
        client.start().await?;
        let (topic, tags) = start
            .subscriptions
            .into_iter()
            .next()
            .ok_or_else(no_topic)?;
        let filter = match tags.strip_prefix(SQL_MARK) {
            Some(sql) => FilterExpression::new(FilterType::Sql, sql),
            None => FilterExpression::new(FilterType::Tag, tags),
        };
        let consumer = Consumer {
            client,
            topic,
            filter,
        };
        self.consumers
            .lock()
            .await
            .insert(start.name, Arc::new(consumer));
        Ok(json!({}))
    }

    async fn stop(&self, name: &str) -> Result<Value, Failure> {
        if let Some(producer) = self.producers.lock().await.remove(name) {
            alone(producer)?.shutdown().await?;
        } else if let Some(consumer) = self.consumers.lock().await.remove(name) {
            alone(consumer)?.client.shutdown().await?;
        }
        Ok(json!({}))
    }

    async fn send(
        &self,
        name: &str,
        messages: Vec<Outgoing>,
        batch: bool,
    ) -> Result<Value, Failure> {
        let producer = self.producer(name).await?;
        let messages = messages
            .into_iter()
            .map(|message| outgoing(message, false))
            .collect::<Result<Vec<_>, _>>()?;
        let mut ids = Vec::with_capacity(messages.len());
        if batch {
            let receipts = producer.batch_send(messages).await?;
            ids.extend(
                receipts
                    .iter()
                    .map(|receipt| receipt.message_id().to_owned()),
            );
        } else {
            for message in messages {
                ids.push(producer.send(message).await?.message_id().to_owned());
            }
        }
        Ok(json!({ "ids": ids }))
    }

    async fn send_half(&self, name: &str, message: Outgoing) -> Result<Value, Failure> {
        let message = outgoing(message, true)?;
        let (sent, transaction) = Transaction::begin(self.producer(name).await?, message).await?;
        let answer = json!({ "ids": [sent.message], "transaction": sent.transaction });
        self.transactions
            .lock()
            .await
            .insert(sent.transaction, transaction);
        Ok(answer)
    }

    async fn end_transaction(&self, id: &str, commit: bool) -> Result<Value, Failure> {
        let transaction = self.transactions.lock().await.remove(id);
        transaction.ok_or_else(no_client)?.end(commit).await?;
        Ok(json!({}))
    }

    async fn receive(&self, name: &str, max: i32, invisible: Duration) -> Result<Value, Failure> {
        let consumer = self.consumer(name).await?;
        let views = consumer
            .client
            .receive_with(&consumer.topic, &consumer.filter, max, invisible)
            .await?;
        let messages: Vec<Value> = views.iter().map(incoming).collect();
        let mut received = self.received.lock().await;
        received.extend(
            views
                .into_iter()
                .map(|view| (view.receipt_handle(), Arc::new(view))),
        );
        Ok(json!({ "messages": messages }))
    }

    async fn ack(&self, name: &str, handles: Vec<String>) -> Result<Value, Failure> {
        let consumer = self.consumer(name).await?;
        for handle in handles {
            let view = self
                .received
                .lock()
                .await
                .get(&handle)
                .cloned()
                .ok_or_else(no_client)?;
            consumer.client.ack(&*view).await?;
            self.received.lock().await.remove(&handle);
        }
        Ok(json!({}))
    }

    async fn producer(&self, name: &str) -> Result<Arc<Producer>, Failure> {
        self.producers
            .lock()
            .await
            .get(name)
            .cloned()
            .ok_or_else(no_client)
    }

    async fn consumer(&self, name: &str) -> Result<Arc<Consumer>, Failure> {
        self.consumers
            .lock()
            .await
            .get(name)
            .cloned()
            .ok_or_else(no_client)
    }
}

pub fn client_option(start: &Start) -> ClientOption {
    let mut options = ClientOption::default();
    options.set_access_url(start.endpoint.clone());
    if start.wait_ms > 0 {
        options.set_long_polling_timeout(Duration::from_millis(start.wait_ms));
    }
    if let (Some(access), Some(secret)) = (&start.access_key, &start.secret_key) {
        options.set_access_key(access.clone());
        options.set_secret_key(secret.clone());
    }
    options
}

/// The client itself, which a shutdown consumes.
fn alone<T>(shared: Arc<T>) -> Result<T, Failure> {
    Arc::into_inner(shared).ok_or_else(|| Failure::new("Driver", "a call is still running".into()))
}

fn no_client() -> Failure {
    Failure::new("Driver", "no client or message of that name".into())
}

fn no_topic() -> Failure {
    Failure::new("Driver", "a simple consumer needs a topic".into())
}
