//! One connection: TLS or plaintext, told apart by its first byte, then HTTP/2.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong, Reason, RecvStream, server};
use http::{Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::incoming::Incoming;
use crate::outgoing::{Cut, Outgoing, Patience};
use crate::rope::Rope;
use crate::router::Router;
use crate::watched::{Watch, Watched};

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
/// Bytes of one piece of a request: a frame of a hundred messages of 1 KiB comes in one, with a few system calls and without
/// being put together.
const MAX_FRAME: u32 = 256 << 10;
/// A peer that is silent for so long is asked whether it lives, and closed if it does not answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// A request, and the way to answer it.
type Accepted = (Request<RecvStream>, server::SendResponse<Rope>);

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
    pub(crate) async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = self.try_serve(stream, peer).await {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    }

    async fn try_serve(self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let mut first = [0];
        match self.soon(stream.peek(&mut first)).await? {
            0 => return Ok(()),
            _ => stream.set_nodelay(true)?,
        }
        match first[0] {
            TLS_HANDSHAKE => {
                let acceptor = TlsAcceptor::from(self.tls.clone());
                let stream = self.soon(acceptor.accept(stream)).await?;
                self.speak_http2(stream, peer).await
            }
            // The preface of HTTP/2 without negotiation.
            b'P' => self.speak_http2(stream, peer).await,
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

    /// The same over a stream that is as it should be.
    pub(crate) async fn speak_http2<S>(self, stream: S, peer: SocketAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, watch) = Watched::new(stream);
        let config = self.router.config();
        let (unread_bytes, unread_age) = (config.unread_bytes, config.unread_age);
        let handshake = builder(unread_bytes).handshake::<_, Rope>(stream);
        let handshake = async { handshake.await.map_err(io::Error::other) };
        let mut connection = self.soon(handshake).await?;
        let mut alive = pin!(keep_alive(connection.ping_pong(), &watch));
        let mut blocked = pin!(watch.blocked_for(unread_age));
        let mut stop = self.stopping.clone();
        // If the one who would say so is gone, it stops too.
        let mut stop = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        let mut stopping = false;
        let mut gather = Gather::default();
        loop {
            tokio::select! {
                request = poll_fn(|context| gather.poll_accept(&mut connection, context)) => match request {
                    Some(request) => {
                        let (request, respond) = request.map_err(io::Error::other)?;
                        let waiting = gather.unanswered.one();
                        let answer = answer(self.router.clone(), request, peer, respond, waiting);
                        self.router.tasks().spawn(answer);
                    }
                    None => return Ok(()),
                },
                error = &mut alive => return Err(error),
                () = &mut blocked => {
                    return Err(io::Error::other("the peer takes nothing that is sent to it"));
                }
                () = &mut stop, if !stopping => {
                    stopping = true;
                    connection.graceful_shutdown();
                }
            }
        }
    }
}

/// Requests of one connection that have no answer yet. Clones count together.
#[derive(Debug, Clone, Default)]
struct Unanswered(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Waiting(Unanswered);

impl Unanswered {
    fn one(&self) -> Waiting {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the answers that are ready leave together.
///
/// Each answer that is done wakes its connection, which the runtime would run next: one system call an answer. All answers of
/// what has arrived would be too many: the peer would have nothing to do until they come.
#[derive(Debug, Default)]
struct Gather {
    unanswered: Unanswered,
    /// Requests taken since those who were ready had their turn; none yet if the connection has just been woken.
    taken: Option<usize>,
}

impl Gather {
    /// Requests that are taken one after the other.
    const MOST: usize = 16;

    /// As [`server::Connection::poll_accept`], but first lets all that are ready run, whenever it is woken while requests have no
    /// answer, and after some requests.
    fn poll_accept<S>(
        &mut self,
        connection: &mut server::Connection<S, Rope>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Accepted, h2::Error>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let others = self.unanswered.any();
        let taken = match self.taken {
            Some(taken) if taken < Self::MOST => taken,
            None if !others => 0,
            _ => {
                self.taken = Some(0);
                // Goes to the end of those who are ready.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        let accepted = connection.poll_accept(context);
        self.taken = accepted.is_ready().then_some(taken + 1);
        accepted
    }
}

fn builder(unread_bytes: usize) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(unread_bytes.min(u32::MAX as usize));
    builder
}

/// Ends when the peer says nothing, not even that it lives.
async fn keep_alive(pings: Option<PingPong>, watch: &Watch) -> io::Error {
    let silent = || io::Error::other("the peer does not say that it lives");
    let Some(mut pings) = pings else {
        return silent();
    };
    loop {
        let due = watch.heard() + KEEP_ALIVE.0;
        sleep_until(due).await;
        if watch.heard() + KEEP_ALIVE.0 > due {
            continue;
        }
        if !matches!(
            timeout(KEEP_ALIVE.1, pings.ping(Ping::opaque())).await,
            Ok(Ok(_))
        ) {
            return silent();
        }
    }
}

/// Answers one request, unless its client takes it back.
async fn answer(
    router: Router,
    request: Request<RecvStream>,
    peer: SocketAddr,
    mut respond: server::SendResponse<Rope>,
    waiting: Waiting,
) {
    let call = router.calls().begin(request.uri().path());
    let wire = router.wire();
    let patience = Patience {
        pin: router.config().pin_age,
        unread: router.config().unread_age,
    };
    let response = tokio::select! {
        response = router.route(request.map(Incoming::new), peer) => response,
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
    };
    let Ok((head, body)) = response.map(Response::into_parts);
    let ended = body.is_end_stream();
    call.answered();
    // Before the connection is woken.
    drop(waiting);
    let sent = respond.send_response(Response::from_parts(head, ()), ended);
    let sent = match sent {
        Ok(_) if ended => Ok(()),
        Ok(stream) => Outgoing::new(stream, body, patience, wire).send().await,
        Err(error) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Err(Cut::from(error))
        }
    };
    if let Err(error) = sent {
        let method = call.name();
        tracing::debug!(method, %error, "an answer did not get to its end");
    }
}
