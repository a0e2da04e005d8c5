//! One HTTP/2 connection, and the calls that are opened on it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::call::{Answer, Call, collect, status_of};
use crate::error::LoadError;
use crate::tls;

/// Bytes that may be under way to us: on one stream, on the connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where to connect.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Encrypted, with whatever certificate the broker has: the load measures, it does not trust.
    pub tls: bool,
}

impl Target {
    /// Without encryption.
    pub fn plain(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: false,
        }
    }
}

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    authority: Arc<str>,
    headers: HeaderMap,
}

impl Connection {
    /// Connects. `name` is the client id, which the broker remembers.
    ///
    /// # Errors
    /// [`LoadError::Connect`] if nobody answers there in HTTP/2.
    pub async fn open(target: &Target, name: &str) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Connect {
            address: target.address.clone(),
            source,
        };
        let stream = TcpStream::connect(&target.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let requests = if target.tls {
            let stream = tls::connect(stream, None).await.map_err(failed)?;
            handshake(stream).await
        } else {
            handshake(stream).await
        };
        let requests = requests.map_err(|error| failed(io::Error::other(error)))?;
        Ok(Self {
            requests,
            authority: target.address.as_str().into(),
            headers: headers(name),
        })
    }

    /// The address of a method: `/package.Service/Method`.
    ///
    /// # Errors
    /// [`LoadError::Protocol`] if it is none.
    pub fn uri(&self, method: &str) -> Result<Uri, LoadError> {
        let uri = format!("http://{}{method}", self.authority);
        uri.parse()
            .map_err(|error| LoadError::Protocol(format!("{uri}: {error}")))
    }

    /// Calls a method with one message, framed by [`frame`](crate::frame), and returns its one answer.
    ///
    /// # Errors
    /// The connection's, or [`LoadError::Status`].
    pub async fn unary(&self, uri: &Uri, message: Bytes) -> Result<Bytes, LoadError> {
        collect(self.call(uri, message).await?).await
    }

    /// The same, for an answer of any number of messages.
    ///
    /// # Errors
    /// As [`unary`](Self::unary).
    pub async fn messages(&self, uri: &Uri, message: Bytes) -> Result<Call, LoadError> {
        Ok(Call::new(self.call(uri, message).await?))
    }

    /// Opens a stream, sends its first message, and then neither reads nor ends it for as long as it is held.
    ///
    /// # Errors
    /// The connection's.
    pub async fn hold(&self, uri: &Uri, message: Bytes) -> Result<Held, LoadError> {
        let (response, mut stream) = self.request(uri).await?;
        stream.send_data(message, false)?;
        Ok(Held {
            _stream: stream,
            _response: response,
        })
    }

    /// Sends one message, and returns the answer's stream.
    pub(crate) async fn call(&self, uri: &Uri, message: Bytes) -> Result<RecvStream, LoadError> {
        let (response, mut stream) = self.request(uri).await?;
        stream.send_data(message, true)?;
        answer(response).await
    }

    /// Opens a stream in both directions.
    pub(crate) async fn stream(
        &self,
        uri: &Uri,
    ) -> Result<(SendStream<Bytes>, ResponseFuture), LoadError> {
        let (response, stream) = self.request(uri).await?;
        Ok((stream, response))
    }

    async fn request(&self, uri: &Uri) -> Result<(ResponseFuture, SendStream<Bytes>), LoadError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        let mut requests = self.requests.clone().ready().await?;
        Ok(requests.send_request(request, false)?)
    }
}

/// A stream that nobody reads. Dropping it resets it.
#[derive(Debug)]
pub struct Held {
    _stream: SendStream<Bytes>,
    _response: ResponseFuture,
}

/// The body of a response whose head says nothing bad.
pub(crate) async fn answer(response: ResponseFuture) -> Answer {
    let response = response.await?;
    if !response.status().is_success() {
        let what = format!("the HTTP status {}", response.status());
        return Err(LoadError::Protocol(what));
    }
    // An error without a body comes in the head.
    status_of(response.headers())?;
    Ok(response.into_body())
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Bytes>, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(stream)
        .await?;
    // Its end is what the calls on it see.
    tokio::spawn(connection);
    Ok(requests)
}

fn headers(name: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-mq-language", "FOLIOMQ"),
        ("x-mq-client-version", env!("CARGO_PKG_VERSION")),
        ("x-mq-protocol", "v2"),
    ] {
        headers.insert(key, HeaderValue::from_static(value));
    }
    if let Ok(name) = HeaderValue::from_str(name) {
        headers.insert("x-mq-client-id", name);
    }
    headers
}
