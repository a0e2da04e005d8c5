//! Where the page is served: a port of its own, plain HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::families::page;
use super::page::CONTENT_TYPE;
use crate::broker::Broker;

/// Where the page is.
const PATH: &str = "/metrics";
/// Scrapes at once; others wait to be accepted.
const MAX_CONNECTIONS: usize = 8;
/// A connection is closed after one answer, or after so long.
const LIMIT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port on which metrics are read.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The real port if 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the broker stops.
    pub(crate) async fn serve(self, broker: Arc<Broker>) {
        let mut stopping = broker.stopping.subscribe();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = async {
                let place = places.clone().acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                accepted = accepted => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let answering = answer_one(stream, broker.clone());
                    broker.tasks.spawn(async move {
                        answering.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a scrape of the metrics could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer_one(stream: TcpStream, broker: Arc<Broker>) {
    let mut stopping = broker.stopping.subscribe();
    let service = service_fn(|request| respond(request, broker.clone()));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = timeout(LIMIT, connection) => ended,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a scrape of the metrics broke"),
        Err(_) => tracing::debug!("a scrape of the metrics took too long"),
    }
}

async fn respond(
    request: Request<Incoming>,
    broker: Arc<Broker>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != PATH {
        return Ok(text(StatusCode::NOT_FOUND, format!("see {PATH}\n")));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let what = "GET or HEAD\n".to_owned();
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, what));
    }
    let tasks = broker.tasks.clone();
    let page = tasks.spawn_blocking(move || page(&broker)).await;
    Ok(match page {
        Ok(page) => text(StatusCode::OK, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    })
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
