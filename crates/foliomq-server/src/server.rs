//! Listening, and stopping gracefully.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foliomq_delivery::Groups;
use foliomq_store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::config::{Config, ServeError};
use crate::connection::Protocol;
use crate::hidden;
use crate::metrics::Endpoint;
use crate::renewal;
use crate::route;
use crate::router::Router;
use crate::tls;

/// How long calls may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of something: descriptors, memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    metrics: Option<Endpoint>,
    broker: Arc<Broker>,
    protocol: Protocol,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens, and reads or makes the certificate. Connections wait until [`serve`](Self::serve).
    pub async fn bind(config: Config, store: Store, groups: Groups) -> Result<Self, ServeError> {
        if let Some(address) = &config.advertise {
            route::parse(address)?;
        }
        let tls = tls::server_config(&config)?;
        let listen = config.listen;
        let error = |source| ServeError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        let metrics = match config.metrics {
            Some(address) => Some(metrics(address).await?),
            None => None,
        };
        let broker = Arc::new(Broker::new(config, store, groups, address.to_string()));
        let router = Router::new(broker.clone())
            .await
            .map_err(|error| ServeError::Tls(format!("reflection: {error}")))?;
        let stopping = broker.stopping.subscribe();
        let protocol = Protocol {
            router,
            tls,
            stopping,
        };
        Ok(Self {
            listener,
            address,
            metrics,
            broker,
            protocol,
        })
    }

    /// Where it listens; the real port if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are read; the real port if 0 was asked for.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Endpoint::address)
    }

    /// Serves until `shutdown` resolves; then stops accepting, finishes what is in flight (long polls answer at once; at
    /// most 10 s), and returns. The caller closes groups and store.
    pub async fn serve(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        if let Some(metrics) = self.metrics.take() {
            let serving = metrics.serve(self.broker.clone());
            self.broker.tasks.spawn(serving);
        }
        let connections = Arc::new(Semaphore::new(
            self.broker
                .config
                .max_connections
                .min(Semaphore::MAX_PERMITS),
        ));
        let renewal = tokio::spawn(renewal::run(self.broker.clone()));
        let due = tokio::spawn(hidden::deliver_due(self.broker.clone()));
        let asking = tokio::spawn(hidden::ask(self.broker.clone()));
        let mut serving = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, peer, permit) = tokio::select! {
                accepted = self.accept(&connections) => accepted,
                Some(_) = serving.join_next() => continue,
                () = &mut shutdown => break,
            };
            let protocol = self.protocol.clone();
            let counted = self.broker.connections.one();
            serving.spawn(async move {
                protocol.serve(stream, peer).await;
                drop((permit, counted));
            });
        }
        drop(self.listener);
        self.broker.stopping.send_replace(true);
        let ended = async {
            while serving.join_next().await.is_some() {}
            self.broker.tasks.ended().await;
        };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("calls that did not end in time are cut off");
            serving.shutdown().await;
        }
        // They end by themselves, as everything does, once the server stops.
        let _ = tokio::join!(renewal, due, asking);
        Ok(())
    }

    /// The next connection; waits while there are too many.
    async fn accept(
        &self,
        connections: &Arc<Semaphore>,
    ) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, permit),
                Err(error) => pause_after(&error).await,
            }
        }
    }
}

async fn metrics(listen: SocketAddr) -> Result<Endpoint, ServeError> {
    let error = |source| ServeError::Listen { listen, source };
    Endpoint::bind(listen).await.map_err(error)
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
