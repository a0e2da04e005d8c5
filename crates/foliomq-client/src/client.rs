//! One connection to one broker.

use std::sync::Arc;
use std::time::Duration;

use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v1::messaging_client::MessagingClient;
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::admin::Admin;
use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::{Error, Result, chain};
use crate::headers::Headers;
use crate::message_id::MessageIds;
use crate::producer::Producer;
use crate::publisher::{Publisher, PublisherOptions};
use crate::queue_reader::{QueuePlace, QueueReader, ReaderOptions};
use crate::simple_consumer::SimpleConsumer;
use crate::tls::Tls;

const HTTP: &str = "http://";
const HTTPS: &str = "https://";
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take beyond the time that it asks the broker to wait. Long enough for a slow disk's flush.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A dead peer is noticed within this and [`KEEPALIVE_TIMEOUT`], also while a long poll waits.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read into memory: a full batch of the largest bodies.
const MAX_ANSWER: usize = 256 << 20;

pub(crate) type Messaging = MessagingServiceClient<InterceptedService<Channel, Headers>>;
pub(crate) type Native = MessagingClient<InterceptedService<Channel, Headers>>;
pub(crate) type Administration = AdminClient<InterceptedService<Channel, Headers>>;

/// A connection to a broker. Cheap to clone; clones share the connection, which is made again when it breaks.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Connection,
    headers: Headers,
    ids: Arc<MessageIds>,
}

impl Client {
    /// Connects to `host:port` (or `http://host:port`) in plaintext, or to `https://host:port` over TLS with the system's
    /// certificates.
    ///
    /// # Errors
    /// [`Error::Endpoint`] for an address that cannot be one, [`Error::Transport`] if nobody answers within 5 s.
    pub async fn connect(endpoint: impl Into<String>) -> Result<Self> {
        let endpoint = endpoint.into();
        let tls = endpoint.starts_with(HTTPS).then(Tls::default);
        Self::open(endpoint, tls).await
    }

    /// Connects to `host:port` (or `https://host:port`) over TLS.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`Error::Tls`] if there are no certificates to trust.
    pub async fn connect_tls(endpoint: impl Into<String>, tls: Tls) -> Result<Self> {
        Self::open(endpoint.into(), Some(tls)).await
    }

    async fn open(endpoint: String, tls: Option<Tls>) -> Result<Self> {
        let mut target = parse(&endpoint, tls.is_some())?;
        if let Some(tls) = tls {
            let config = target.tls_config(tls.config()?);
            target = config.map_err(|error| Error::Tls(chain(&error)))?;
        }
        let channel = target.connect().await.map_err(|error| Error::Transport {
            endpoint: endpoint.clone(),
            reason: chain(&error),
        })?;
        let connection = Connection {
            endpoint: endpoint.into(),
            channel,
        };
        Ok(Self {
            connection,
            headers: Headers::unique(),
            ids: Arc::new(MessageIds::new()),
        })
    }

    /// Sends messages.
    pub fn producer(&self) -> Producer {
        Producer::new(
            self.connection.clone(),
            &self.headers,
            Arc::clone(&self.ids),
        )
    }

    /// Sends messages over a stream: the fast way, and the one that never stores a message twice. Must be called within a
    /// tokio runtime.
    pub fn publisher(&self, options: PublisherOptions) -> Publisher {
        Publisher::new(self.connection.clone(), &self.headers, options)
    }

    /// Receives the messages of these topics (1 to 64) on behalf of a group over a stream: the fast way. Group and topics are
    /// made on first use where the broker allows it. Must be called within a tokio runtime.
    pub fn consumer<T: Into<String>>(
        &self,
        group: impl Into<String>,
        topics: impl IntoIterator<Item = T>,
        options: ConsumerOptions,
    ) -> Consumer {
        let topics = topics.into_iter().map(Into::into).collect();
        Consumer::new(
            self.connection.clone(),
            &self.headers,
            group.into(),
            topics,
            options,
        )
    }

    /// Reads queues (1 to 1024) over a stream, from an offset of each on, without a group: nothing is acknowledged. Must be
    /// called within a tokio runtime.
    pub fn queue_reader(
        &self,
        places: impl IntoIterator<Item = QueuePlace>,
        options: ReaderOptions,
    ) -> QueueReader {
        let places = places.into_iter().collect();
        QueueReader::new(self.connection.clone(), &self.headers, places, options)
    }

    /// Receives the messages of `topic` on behalf of a group, call by call, over the protocol of RocketMQ. The group is made
    /// on first use where the broker allows it. Must be called within a tokio runtime: the consumer keeps itself alive by
    /// heartbeats.
    pub fn simple_consumer(
        &self,
        group: impl Into<String>,
        topic: impl Into<String>,
    ) -> SimpleConsumer {
        SimpleConsumer::new(self.connection.clone(), group.into(), topic.into())
    }

    /// Creates, lists and changes topics and groups; looks into topics without a group.
    pub fn admin(&self) -> Admin {
        Admin::new(self.connection.clone(), &self.headers)
    }
}

/// The channel and its name, shared by all that a [`Client`] makes.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    endpoint: Arc<str>,
    channel: Channel,
}

impl Connection {
    pub(crate) fn messaging(&self, headers: &Headers) -> Messaging {
        MessagingServiceClient::with_interceptor(self.channel.clone(), headers.clone())
            .max_decoding_message_size(MAX_ANSWER)
    }

    pub(crate) fn administration(&self, headers: &Headers) -> Administration {
        AdminClient::with_interceptor(self.channel.clone(), headers.clone())
            .max_decoding_message_size(MAX_ANSWER)
    }

    pub(crate) fn native(&self, headers: &Headers) -> Native {
        MessagingClient::with_interceptor(self.channel.clone(), headers.clone())
            .max_decoding_message_size(MAX_ANSWER)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The broker did not say what it should have.
    pub(crate) fn silent(&self, reason: &str) -> Error {
        Error::Transport {
            endpoint: self.endpoint.to_string(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn error(&self, status: Status) -> Error {
        Error::from_status(&self.endpoint, status)
    }
}

/// A request that fails when no answer came `wait` and [`CALL_TIMEOUT`] from now.
pub(crate) fn within<T>(message: T, wait: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(wait.saturating_add(CALL_TIMEOUT));
    request
}

fn parse(endpoint: &str, tls: bool) -> Result<Endpoint> {
    let invalid = |reason: &str| Error::Endpoint {
        endpoint: endpoint.to_owned(),
        reason: reason.to_owned(),
    };
    let (scheme, other) = if tls { (HTTPS, HTTP) } else { (HTTP, HTTPS) };
    if endpoint.starts_with(other) {
        return Err(invalid(&format!(
            "with TLS it begins with {HTTPS}, without with {HTTP}"
        )));
    }
    let authority = endpoint
        .strip_prefix(scheme)
        .unwrap_or(endpoint)
        .trim_end_matches('/');
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !has_port {
        return Err(invalid("it must be host:port, such as 127.0.0.1:8081"));
    }
    let endpoint = Endpoint::from_shared(format!("{scheme}{authority}"))
        .map_err(|error| invalid(&chain(&error)))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_adaptive_window(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_need_host_and_port() {
        for good in [
            "127.0.0.1:8081",
            "http://broker:1/",
            "[::1]:8081",
            "broker.example:65535",
        ] {
            assert!(parse(good, false).is_ok(), "{good}");
        }
        for good in ["127.0.0.1:8081", "https://broker:1/"] {
            assert!(parse(good, true).is_ok(), "{good}");
        }
        for bad in [
            "",
            "broker",
            ":8081",
            "broker:",
            "broker:70000",
            "https://broker:1",
            "a b:1",
        ] {
            assert!(
                matches!(parse(bad, false), Err(Error::Endpoint { .. })),
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_transport_error_that_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::connect(endpoint.clone()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&endpoint) && text.contains("refused"),
            "{text}"
        );
    }
}
