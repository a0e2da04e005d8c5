//! The native Rust client of a FolioMQ broker: send, receive, acknowledge, administer.
//!
//! ```no_run
//! use foliomq_client::{Client, ConsumerOptions, Message};
//!
//! # async fn example() -> foliomq_client::Result<()> {
//! let client = Client::connect("127.0.0.1:8081").await?;
//! client.producer().send(Message::new("orders", "one latte").tag("hot")).await?;
//!
//! let mut consumer = client.consumer("baristas", ["orders"], ConsumerOptions::default());
//! loop {
//!     let order = consumer.next().await?;
//!     println!("{:?}", order.message().body());
//!     order.ack().await?;
//! }
//! # }
//! ```
//!
//! Two ways in and two ways out: [`Publisher`] and [`Consumer`] stream (`foliomq.v1`), which is fast, survives broken
//! connections, and stores nothing twice; [`Producer`] and [`SimpleConsumer`] make a call for each batch, as the clients of
//! RocketMQ do (`apache.rocketmq.v2`). A [`QueueReader`] reads queues without a group.
//!
//! A [`Client`] is one connection; everything made from it shares that connection and is cheap to clone or to make again.
#![forbid(unsafe_code)]

mod admin;
mod admin_clients;
mod admin_segments;
mod admin_types;
mod backoff;
mod batches;
mod client;
mod consumer;
mod convert;
mod error;
mod headers;
mod heartbeat;
mod lease;
mod mapped;
mod mapping;
mod message;
mod message_id;
mod producer;
mod publisher;
mod publishing;
mod queue_reader;
mod received;
mod search;
mod settlements;
mod settling;
mod simple_consumer;
mod subscribing;
mod tls;
mod topic_settings;
mod view;
mod window;

pub use admin::{Admin, Tail};
pub use admin_clients::{ClientKind, ClientTopic, ConnectedClient, GroupLite};
pub use admin_types::{
    Broker, Group, GroupOrder, GroupQueue, GroupStart, Preheat, Queue, ResetTo, TailFrom, Topic,
    TopicKind,
};
pub use client::Client;
pub use consumer::{Consumer, ConsumerOptions, Filter};
pub use error::{Code, Error, Result};
pub use foliomq_store::{Heat, Residency, SegmentResidency};
pub use lease::Lease;
pub use message::{Delivery, Message, StoredMessage};
pub use producer::{Producer, Receipt};
pub use publisher::{Acknowledgement, Published, Publisher, PublisherOptions};
pub use queue_reader::{QueuePlace, QueueReader, ReaderOptions};
pub use search::{Found, Search, SearchKey};
pub use simple_consumer::SimpleConsumer;
pub use tls::Tls;
pub use topic_settings::{TopicPermission, TopicSettings, TopicUpdate};
pub use view::MessageView;
