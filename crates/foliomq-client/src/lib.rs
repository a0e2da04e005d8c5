//! The native Rust client of a FolioMQ broker: send, receive, acknowledge, administer.
//!
//! ```no_run
//! use std::time::Duration;
//! use foliomq_client::{Client, Message};
//!
//! # async fn example() -> foliomq_client::Result<()> {
//! let client = Client::connect("127.0.0.1:8081").await?;
//! client.producer().send(Message::new("orders", "one latte").tag("hot")).await?;
//!
//! let consumer = client.consumer("baristas", "orders");
//! for delivery in consumer.receive(16, Duration::from_secs(30), Duration::from_secs(5)).await? {
//!     println!("{:?}", delivery.message.body);
//!     consumer.ack(&delivery).await?;
//! }
//! consumer.close().await
//! # }
//! ```
//!
//! It speaks `apache.rocketmq.v2` for messages and `foliomq.v1` for administration, over plaintext HTTP/2. A
//! [`Client`] is one connection; everything made from it shares that connection and is cheap to clone or to make again.
#![forbid(unsafe_code)]

mod admin;
mod admin_types;
mod backoff;
mod batches;
mod client;
mod consumer;
mod convert;
mod error;
mod headers;
mod heartbeat;
mod message;
mod message_id;
mod producer;
mod publisher;
mod publishing;

pub use admin::{Admin, Tail};
pub use admin_types::{
    Broker, Group, GroupOrder, GroupQueue, Preheat, Queue, ResetTo, TailFrom, Topic, TopicKind,
};
pub use client::Client;
pub use consumer::Consumer;
pub use error::{Code, Error, Result};
pub use message::{Delivery, Message, StoredMessage};
pub use producer::{Producer, Receipt};
pub use publisher::{Acknowledgement, Published, Publisher, PublisherOptions};
