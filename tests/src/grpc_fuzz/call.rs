//! One call, as bytes over HTTP/2: no library stands between the request and the broker.

use std::convert::Infallible;
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// A stream without end has said enough once it is silent for so long.
const SILENCE: Duration = Duration::from_millis(150);
/// What of an answer is looked at, bytes.
const LOOKED_AT: usize = 16 << 20;
/// A body that is sent piece by piece.
type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A connection. Once this is dropped it is closed, also where requests are held open on it.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Body>,
    /// The same socket: hyper's own tasks keep theirs for as long as a request is held open.
    socket: Socket,
}

impl Connection {
    /// Whether the broker, or an error, has ended it.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // An error says that the broker has closed it already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What goes to the broker.
#[derive(Debug, Clone)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    /// Metadata.
    pub headers: Vec<(&'static str, String)>,
    /// Pieces of the body.
    pub body: Vec<Bytes>,
    /// The client does not end its side.
    pub held_open: bool,
    /// The answer may have no end of its own.
    pub endless: bool,
    /// The client goes away so soon.
    pub abandoned: Option<Duration>,
    /// After so long without an answer the call hangs.
    pub limit: Duration,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// Of HTTP.
    pub http: u16,
    /// Of gRPC, and its text; none where the stream has not ended.
    pub grpc: Option<(i32, String)>,
    /// The messages.
    pub messages: Vec<Bytes>,
}

/// How a call ended.
#[derive(Debug)]
pub enum End {
    /// With an answer, or as much of it as was waited for.
    Answered(Answer),
    /// The client went away.
    Abandoned,
    /// There was no answer in time.
    Hung,
    /// The connection broke.
    Broken(String),
}

/// Connects to the broker.
///
/// # Errors
/// If nothing answers there.
pub async fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    let stream = TcpStream::from_std(stream)?;
    let (requests, driver) = Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(driver);
    Ok(Connection { requests, socket })
}

/// A gRPC message with its prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let len = u32::try_from(message.len()).expect("requests are small");
    [&[0][..], &len.to_be_bytes(), message].concat().into()
}

/// Makes a call and waits for its end.
pub async fn ask(connection: &mut Connection, call: &Call) -> End {
    let limit = call.abandoned.unwrap_or(call.limit);
    match timeout(limit, answer(connection, call)).await {
        Ok(Ok(answer)) => End::Answered(answer),
        Ok(Err(error)) => End::Broken(format!("{error:#}")),
        Err(_) if call.abandoned.is_some() => End::Abandoned,
        Err(_) => End::Hung,
    }
}

async fn answer(connection: &mut Connection, call: &Call) -> Result<Answer> {
    connection.requests.ready().await?;
    let response = connection.requests.send_request(request(call)?).await?;
    read(response, call.endless || call.held_open).await
}

fn request(call: &Call) -> Result<Request<Body>> {
    let mut request = Request::post(format!("http://broker{}", call.path)).header("te", "trailers");
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let pieces = call.body.clone().into_iter();
    let pieces = stream::iter(pieces.map(|piece| Ok(Frame::data(piece))));
    let body = if call.held_open {
        StreamBody::new(pieces.chain(stream::pending())).boxed_unsync()
    } else {
        StreamBody::new(pieces).boxed_unsync()
    };
    Ok(request.body(body)?)
}

/// Reads to the end, or until an endless stream is silent.
async fn read(response: Response<Incoming>, endless: bool) -> Result<Answer> {
    let mut answer = Answer {
        http: response.status().as_u16(),
        grpc: grpc_status(response.headers()),
        messages: Vec::new(),
    };
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let end = Instant::now() + SILENCE;
    loop {
        let frame = if endless {
            timeout_at(end, body.frame()).await.ok().flatten()
        } else {
            body.frame().await
        };
        let Some(frame) = frame else { break };
        match frame?.into_data() {
            Ok(data) if bytes.len() < LOOKED_AT => bytes.extend(data),
            Ok(_) => {}
            Err(frame) => {
                let trailers = frame.trailers_ref();
                answer.grpc = trailers.and_then(grpc_status).or(answer.grpc);
            }
        }
    }
    answer.messages = messages(&bytes);
    Ok(answer)
}

fn grpc_status(headers: &HeaderMap) -> Option<(i32, String)> {
    let text = |name| headers.get(name)?.to_str().ok();
    let code = text("grpc-status")?.parse().ok()?;
    Some((code, text("grpc-message").unwrap_or_default().to_owned()))
}

/// The whole messages among `bytes`.
fn messages(mut bytes: &[u8]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while bytes.len() >= 5 {
        bytes.advance(1);
        let len = bytes.get_u32() as usize;
        if len > bytes.len() {
            break;
        }
        messages.push(Bytes::copy_from_slice(&bytes[..len]));
        bytes.advance(len);
    }
    messages
}
