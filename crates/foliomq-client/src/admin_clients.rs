//! Administration: the clients that are connected, and what they can be asked; the broker's log.

use std::time::{Duration, SystemTime};

use foliomq_proto::{v1, v2};

use crate::admin::Admin;
use crate::client::within;
use crate::convert::system_time;
use crate::error::{Result, check};

/// How long a client may think about a question.
const THINKING: Duration = Duration::from_secs(5);

/// A client that the broker knows: it gave a sign of life within a minute, or holds a stream open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedClient {
    /// Its id.
    pub id: String,
    /// As the protocol spells it; `FOLIOMQ` for this crate; empty where it says none.
    pub language: String,
    /// Of its library.
    pub version: String,
    /// Where its newest call came from, address and port.
    pub address: Option<String>,
    /// As it declares it; may be empty.
    pub hostname: String,
    /// What it is, as it declares it; `None` where it does not.
    pub kind: Option<ClientKind>,
    /// Its consumer group; `None` for a producer, and where it does not say.
    pub group: Option<String>,
    /// What it publishes to or reads, as it declares it; in lists the first 8.
    pub topics: Vec<ClientTopic>,
    /// How many these are.
    pub topic_count: u32,
    /// When it first gave a sign of life.
    pub connected_since: Option<SystemTime>,
    /// When it last did.
    pub last_seen: Option<SystemTime>,
    /// It holds a telemetry stream open: it can be asked something.
    pub telemetry: bool,
    /// Its open streams of the native protocol.
    pub streams: u32,
}

/// What a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Sends.
    Producer,
    /// Receives, and hands messages to a listener.
    PushConsumer,
    /// Receives on the application's call.
    SimpleConsumer,
    /// Pulls from queues.
    PullConsumer,
    /// A push consumer of lite topics.
    LitePushConsumer,
    /// A simple consumer of lite topics.
    LiteSimpleConsumer,
}

impl ClientKind {
    /// In lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::PushConsumer => "push consumer",
            Self::SimpleConsumer => "simple consumer",
            Self::PullConsumer => "pull consumer",
            Self::LitePushConsumer => "lite push consumer",
            Self::LiteSimpleConsumer => "lite simple consumer",
        }
    }

    fn from_wire(kind: v2::ClientType) -> Option<Self> {
        match kind {
            v2::ClientType::Unspecified => None,
            v2::ClientType::Producer => Some(Self::Producer),
            v2::ClientType::PushConsumer => Some(Self::PushConsumer),
            v2::ClientType::SimpleConsumer => Some(Self::SimpleConsumer),
            v2::ClientType::PullConsumer => Some(Self::PullConsumer),
            v2::ClientType::LitePushConsumer => Some(Self::LitePushConsumer),
            v2::ClientType::LiteSimpleConsumer => Some(Self::LiteSimpleConsumer),
        }
    }
}

/// A topic that a client declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTopic {
    /// Its name.
    pub topic: String,
    /// The expression that a consumer filters by; `None` for a producer.
    pub filter: Option<String>,
}

/// A group's backlog in the lite topics of one topic, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLite {
    /// The topic that has the lite topics.
    pub topic: String,
    /// How many of them the group has read or subscribed to, and are still there.
    pub lite_topics: u64,
    /// Delivered and not yet acknowledged.
    pub in_flight: u64,
    /// Never delivered.
    pub ready: u64,
}

impl Admin {
    /// Every client that the broker knows, by id; with a group, the consumers of it.
    pub async fn clients(&self, group: Option<&str>) -> Result<Vec<ConnectedClient>> {
        let mut clients: Vec<ConnectedClient> = Vec::new();
        loop {
            let after = clients.last().map(|last| last.id.clone());
            let request = v1::ListClientsRequest {
                group: group.unwrap_or_default().to_owned(),
                after: after.unwrap_or_default(),
                limit: 0,
            };
            let request = within(request, Duration::ZERO);
            let page = self.answer(self.calls.clone().list_clients(request).await)?;
            let more = page.more && !page.clients.is_empty();
            clients.extend(page.clients.into_iter().map(ConnectedClient::from));
            if !more {
                return Ok(clients);
            }
        }
    }

    /// One client, with all its topics.
    pub async fn client(&self, client_id: &str) -> Result<ConnectedClient> {
        let request = v1::DescribeClientRequest {
            client_id: client_id.to_owned(),
        };
        let request = within(request, Duration::ZERO);
        self.answer(self.calls.clone().describe_client(request).await)
            .map(ConnectedClient::from)
    }

    /// Has a connected consumer consume a stored message on trial, beside its group's progress. An error with the client's
    /// own code where it fails, [`RequestTimeout`](crate::Code::RequestTimeout) where it says nothing for 5 s.
    pub async fn verify_message(
        &self,
        client_id: &str,
        group: &str,
        topic: &str,
        message_id: &str,
    ) -> Result<()> {
        let request = v1::VerifyMessageRequest {
            client_id: client_id.to_owned(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            message_id: message_id.to_owned(),
        };
        let request = within(request, THINKING);
        let answer = self.answer(self.calls.clone().verify_message(request).await)?;
        check(answer.status)
    }

    /// What the threads of a client do, in its own words.
    pub async fn client_threads(&self, client_id: &str) -> Result<String> {
        let request = v1::TraceClientRequest {
            client_id: client_id.to_owned(),
        };
        let request = within(request, THINKING);
        self.answer(self.calls.clone().trace_client(request).await)
            .map(|answer| answer.threads)
    }

    /// Which log lines the broker writes: changes that until the broker ends, if a filter is given. Returns the filter before
    /// and the one that holds now.
    pub async fn log_filter(&self, filter: Option<&str>) -> Result<(String, String)> {
        let request = v1::ChangeLogRequest {
            filter: filter.unwrap_or_default().to_owned(),
        };
        let request = within(request, Duration::ZERO);
        self.answer(self.calls.clone().change_log(request).await)
            .map(|answer| (answer.before, answer.now))
    }
}

impl From<v1::Client> for ConnectedClient {
    fn from(client: v1::Client) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let topics = client.topics.iter().map(|topic| ClientTopic {
            topic: topic.topic.clone(),
            filter: topic
                .filter
                .as_ref()
                .map(|filter| filter.expression.clone()),
        });
        Self {
            kind: ClientKind::from_wire(client.kind()),
            topics: topics.collect(),
            id: client.client_id,
            language: client.language,
            version: client.version,
            address: some(client.address),
            hostname: client.hostname,
            group: some(client.group),
            topic_count: client.topic_count,
            connected_since: client.connected_since.and_then(system_time),
            last_seen: client.last_seen.and_then(system_time),
            telemetry: client.telemetry,
            streams: client.streams,
        }
    }
}

impl From<v1::GroupLite> for GroupLite {
    fn from(lite: v1::GroupLite) -> Self {
        Self {
            topic: lite.topic,
            lite_topics: lite.lite_topics,
            in_flight: lite.in_flight,
            ready: lite.ready,
        }
    }
}
