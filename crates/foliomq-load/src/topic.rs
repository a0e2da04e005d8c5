//! The topic that a load works on, and what the broker says of itself.

use std::time::Duration;

use foliomq_proto::v1::{self, reset_group_request::To};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::connection::Connection;
use crate::encoded::frame;
use crate::error::LoadError;

/// A topic that was made for a load.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: String,
}

/// What a broker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerSays {
    /// Its version.
    pub version: String,
    /// When it calls a message stored: `sync` or `async`. Empty if it does not say.
    pub flush: String,
    /// Who encodes deliveries.
    pub encoding: String,
    /// Bytes of bodies that left by reference, and copied, since it started.
    pub by_reference: u64,
    /// The others.
    pub copied: u64,
    /// Bytes of answers that no socket has taken yet.
    #[serde(default)]
    pub unread: u64,
    /// Those of them that are pages of the log.
    #[serde(default)]
    pub pinned: u64,
}

/// How often a deleted topic is looked for, and after which pause.
const LOOKS: u32 = 10;
const SETTLED: Duration = Duration::from_millis(100);

impl Topic {
    /// Makes a topic with so many queues.
    ///
    /// # Errors
    /// The broker's refusal, or the connection's.
    pub async fn create(
        connection: &Connection,
        name: &str,
        queues: u32,
    ) -> Result<Self, LoadError> {
        let request = v1::CreateTopicRequest {
            topic: name.to_owned(),
            queues,
            ..v1::CreateTopicRequest::default()
        };
        admin(connection, "CreateTopic", &request).await?;
        let name = name.to_owned();
        Ok(Self { name })
    }

    /// Its messages, queue by queue: the offsets of the first and of the next to come.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn queues(&self, connection: &Connection) -> Result<Vec<v1::Queue>, LoadError> {
        let topic = self.name.clone();
        let request = v1::DescribeTopicRequest { topic };
        let answer = admin(connection, "DescribeTopic", &request).await?;
        Ok(v1::Topic::decode(answer)?.queues)
    }

    /// A new group, behind all that the topic holds now.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn group_at_end(
        &self,
        connection: &Connection,
        group: &str,
    ) -> Result<(), LoadError> {
        let group = group.to_owned();
        let created = v1::UpdateGroupRequest {
            group: group.clone(),
            ..v1::UpdateGroupRequest::default()
        };
        admin(connection, "UpdateGroup", &created).await?;
        let request = v1::ResetGroupRequest {
            group,
            topic: self.name.clone(),
            to: Some(To::Edge(v1::Edge::Latest.into())),
        };
        admin(connection, "ResetGroup", &request).await?;
        Ok(())
    }

    /// Removes it with its messages, for good: what was on its way when its senders ended makes it anew on a broker that
    /// creates topics, so it is looked for again.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn delete(self, connection: &Connection) -> Result<(), LoadError> {
        for _ in 0..LOOKS {
            let topic = self.name.clone();
            admin(connection, "DeleteTopic", &v1::DeleteTopicRequest { topic }).await?;
            sleep(SETTLED).await;
            if self.queues(connection).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Asks a broker about itself.
///
/// # Errors
/// As [`Topic::create`].
pub async fn broker_says(connection: &Connection) -> Result<BrokerSays, LoadError> {
    let answer = admin(connection, "DescribeBroker", &v1::DescribeBrokerRequest {}).await?;
    let broker = v1::Broker::decode(answer)?;
    Ok(BrokerSays {
        version: broker.version,
        flush: broker.flush,
        encoding: broker.encoding,
        by_reference: broker.body_bytes_by_reference,
        copied: broker.body_bytes_packed + broker.body_bytes_copied,
        unread: broker.unread_bytes,
        pinned: broker.pinned_bytes,
    })
}

async fn admin(
    connection: &Connection,
    method: &str,
    request: &impl Message,
) -> Result<bytes::Bytes, LoadError> {
    let uri = connection.uri(&format!("/foliomq.v1.Admin/{method}"))?;
    connection.unary(&uri, frame(request)).await
}
