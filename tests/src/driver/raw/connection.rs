//! A connection that sends the headers of a RocketMQ client, in plain text or over TLS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foliomq_load::tls;
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::{ClientType, Resource};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::message::resource;
use crate::driver::{Failure, Start};

/// The largest response that a call takes: a full batch of the largest bodies, and room.
const RESPONSE_LIMIT: usize = 192 << 20;
/// What Java, Go, C++ and C# clients send as the name of a server that they dial by IP address.
const SERVER_NAME: &str = "IPAuthority";
/// How long a call may take, on top of the time that a receive call waits for messages.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);

/// One client with an id of its own.
pub(super) struct Connection {
    pub client: MessagingServiceClient<Channel>,
    pub address: SocketAddr,
    pub start: Start,
    pub kind: ClientType,
    client_id: String,
}

impl Connection {
    pub async fn open(
        address: SocketAddr,
        start: Start,
        kind: ClientType,
    ) -> Result<Self, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let client_id = format!("raw@{}@{number}", std::process::id());
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Failure::local("connect", error.to_string()))?;
        let channel = if start.tls {
            endpoint
                .connect_with_connector(tls_connector(address))
                .await
        } else {
            endpoint.connect().await
        };
        let channel = channel.map_err(|error| Failure::local("connect", format!("{error:?}")))?;
        let client = MessagingServiceClient::new(channel).max_decoding_message_size(RESPONSE_LIMIT);
        Ok(Self {
            client,
            address,
            start,
            kind,
            client_id,
        })
    }

    /// A topic or a group, with the client's namespace.
    pub fn resource(&self, name: &str) -> Option<Resource> {
        resource(&self.start.namespace, name)
    }

    /// A request with the headers that every client sends, and a deadline.
    pub fn request<T>(&self, message: T, limit: Duration) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let mut header = |name, value: &str| {
            if let Ok(value) = value.parse() {
                request.metadata_mut().insert(name, value);
            }
        };
        header("x-mq-client-id", &self.client_id);
        header("x-mq-language", "CPP");
        header("x-mq-client-version", "5.1.0");
        header("x-mq-protocol", "v2");
        if let Some(user) = &self.start.access_key {
            header(
                "authorization",
                &format!("MQv2-HMAC-SHA1 Credential={user},"),
            );
            header("x-mq-date-time", "20261123T100000Z");
        }
        if let Some(token) = &self.start.session_token {
            header("x-mq-session-token", token);
        }
        request.set_timeout(limit);
        request
    }
}

/// Connects as the clients do that use TLS by default: HTTP/2 by ALPN, no check of the certificate.
fn tls_connector(
    address: SocketAddr,
) -> impl tower::Service<
    tonic::transport::Uri,
    Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>,
    Error = std::io::Error,
    Future: Send,
> + Send
+ 'static {
    service_fn(move |_| async move {
        let stream = TcpStream::connect(address).await?;
        let stream = tls::connect(stream, Some(SERVER_NAME)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(std::io::Error::other(
                "the broker did not choose h2 by ALPN",
            ));
        }
        Ok(TokioIo::new(stream))
    })
}
