//! Administration of a broker over its own gRPC service.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v1::{
    Broker, CreateTopicRequest, DescribeBrokerRequest, Edge, TailRequest, TopicType,
    UpdateGroupRequest, tail_request,
};
use tonic::transport::Channel;

/// Queues of a topic that a test creates.
const QUEUES: u32 = 4;

/// The largest response that a call takes; a message may be a little above 4 MiB.
const RESPONSE_LIMIT: usize = 64 << 20;

/// A stored message's place and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The queue.
    pub queue: u32,
    /// The offset in it.
    pub offset: u64,
    /// The body.
    pub body: Bytes,
}

/// A connection for administration.
pub struct Admin {
    client: AdminClient<Channel>,
}

impl Admin {
    /// Connects to the broker at `address`.
    ///
    /// # Errors
    /// If nothing answers there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let client = AdminClient::connect(format!("http://{address}")).await;
        let client = client.context("cannot connect for administration")?;
        let client = client.max_decoding_message_size(RESPONSE_LIMIT);
        Ok(Self { client })
    }

    /// Creates a topic that takes normal messages only.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_topic(&mut self, topic: &str) -> Result<()> {
        self.create(topic, TopicType::Normal).await
    }

    /// Creates a topic that takes FIFO messages only.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_fifo_topic(&mut self, topic: &str) -> Result<()> {
        self.create(topic, TopicType::Fifo).await
    }

    /// Creates a topic that takes delayed messages only.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_delay_topic(&mut self, topic: &str) -> Result<()> {
        self.create(topic, TopicType::Delay).await
    }

    /// Creates a topic that takes half messages only.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_transaction_topic(&mut self, topic: &str) -> Result<()> {
        self.create(topic, TopicType::Transaction).await
    }

    /// Creates a topic of four levels that takes messages with a priority only.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_priority_topic(&mut self, topic: &str) -> Result<()> {
        self.create(topic, TopicType::Priority).await
    }

    /// Creates a topic that takes messages of its lite topics only.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_lite_topic(&mut self, topic: &str) -> Result<()> {
        self.create(topic, TopicType::Lite).await
    }

    /// Creates a topic of a type.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create(&mut self, topic: &str, kind: TopicType) -> Result<()> {
        let request = CreateTopicRequest {
            topic: topic.into(),
            queues: QUEUES,
            r#type: kind.into(),
            ..CreateTopicRequest::default()
        };
        self.client
            .create_topic(request)
            .await
            .context("cannot create the topic")?;
        Ok(())
    }

    /// Sets how often a message is delivered to `group` before it goes to the dead letters.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn limit_attempts(&mut self, group: &str, max_attempts: u32) -> Result<()> {
        let request = UpdateGroupRequest {
            group: group.into(),
            max_attempts,
            ..UpdateGroupRequest::default()
        };
        self.client
            .update_group(request)
            .await
            .context("cannot set the group's attempts")?;
        Ok(())
    }

    /// Every message that a topic holds now, in the order in which each queue holds them.
    ///
    /// # Errors
    /// If there is no such topic, or the stream breaks.
    pub async fn contents(&mut self, topic: &str) -> Result<Vec<Stored>> {
        let from = Some(tail_request::From::Edge(Edge::Earliest.into()));
        let request = TailRequest {
            topic: topic.into(),
            from,
            follow: false,
        };
        let mut stream = self.client.tail(request).await?.into_inner();
        let mut contents = Vec::new();
        while let Some(tailed) = stream.message().await? {
            let body = tailed.message.context("a tailed message is empty")?.body;
            contents.push(Stored {
                queue: tailed.queue_id,
                offset: tailed.queue_offset,
                body,
            });
        }
        Ok(contents)
    }

    /// The broker's watermarks and counters.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn broker(&mut self) -> Result<Broker> {
        Ok(self
            .client
            .describe_broker(DescribeBrokerRequest {})
            .await?
            .into_inner())
    }
}
