//! One connection: TLS or plaintext, told apart by its first byte, then HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::router::Router;

/// A TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// A connection that says nothing for so long, or cannot finish its handshake, is closed.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// Requests of one connection under way at once.
const MAX_STREAMS: u32 = 4096;
/// Requests that a client may take back before they were looked at. Few would end the connection of one that gives up
/// many long polls at once.
const MAX_RESET_STREAMS: usize = 4096;
/// Bytes of the headers of one request.
const MAX_HEADERS: u32 = 64 << 10;
/// Bytes in flight towards the server: of one request, of one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// A peer that is silent for so long is asked whether it lives, and closed if it does not answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// What connections have in common.
#[derive(Clone)]
pub(crate) struct Protocol {
    pub(crate) router: Router,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// True once the server is to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Protocol {
    /// Serves a connection until it ends. Its errors are its client's business, and only logged.
    pub(crate) async fn serve(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        if let Err(error) = self.try_serve(stream, watcher).await {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    }

    async fn try_serve(self, stream: TcpStream, watcher: Watcher) -> io::Result<()> {
        let mut first = [0];
        match self.soon(stream.peek(&mut first)).await? {
            0 => return Ok(()),
            _ => stream.set_nodelay(true)?,
        }
        match first[0] {
            TLS_HANDSHAKE => {
                let acceptor = TlsAcceptor::from(self.tls.clone());
                let stream = self.soon(acceptor.accept(stream)).await?;
                self.speak_http2(stream, watcher).await
            }
            // The preface of HTTP/2 without negotiation.
            b'P' => self.speak_http2(stream, watcher).await,
            other => Err(io::Error::other(format!(
                "neither TLS nor HTTP/2: the first byte is {other:#04x}"
            ))),
        }
    }

    /// What a connection says before its first request: not for long, and not once the server stops.
    async fn soon<T>(&self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            done = timeout(FIRST_BYTES, step) => done?,
            _ = stopping.wait_for(|stop| *stop) => Err(io::Error::other("the server stops")),
        }
    }

    async fn speak_http2<S>(self, stream: S, watcher: Watcher) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| self.router.clone().route(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(Some(MAX_RESET_STREAMS))
            .max_header_list_size(MAX_HEADERS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await.map_err(io::Error::other)
    }
}
