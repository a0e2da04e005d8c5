//! A client made of plain gRPC calls. It checks nothing before it sends, so that the broker's own
//! checks are seen, and it checks more of the answers than the official clients do.

mod calls;
mod connection;
mod message;
mod push;
mod telemetry;
mod transactions;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use foliomq_proto::v2::{ClientType, Settings, TelemetryCommand};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::{Command, Delivery, Driver, Failure, Reply, Start};
use connection::Connection;
use push::Push;

/// The started clients by name.
pub struct Raw {
    address: SocketAddr,
    clients: Mutex<HashMap<String, Client>>,
    listeners: Mutex<HashMap<String, mpsc::UnboundedSender<Delivery>>>,
}

/// One client, and what it does by itself until it is dropped.
struct Client {
    connection: Arc<Connection>,
    _tasks: JoinSet<()>,
}

impl Raw {
    /// A driver for the broker at `address`; nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            clients: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    async fn run(&self, command: Command) -> Result<Reply, Failure> {
        match command {
            Command::StartProducer(start) => self.start(start, ClientType::Producer).await,
            Command::StartSimple(start) if start.lite => {
                self.start(start, ClientType::LiteSimpleConsumer).await
            }
            Command::StartSimple(start) => self.start(start, ClientType::SimpleConsumer).await,
            Command::StartPush(start) if start.lite => {
                self.start(start, ClientType::LitePushConsumer).await
            }
            Command::StartPush(start) => self.start(start, ClientType::PushConsumer).await,
            Command::Stop { name } => {
                let connection = self.client(&name)?;
                // Its tasks end with it: no heartbeat may come after the farewell.
                self.clients
                    .lock()
                    .expect("no panic holds the lock")
                    .remove(&name);
                calls::terminate(&connection).await
            }
            Command::Send {
                name,
                messages,
                batch,
            } => calls::send(&*self.client(&name)?, messages, batch).await,
            Command::Recall {
                name,
                topic,
                recall_handle,
            } => calls::recall(&*self.client(&name)?, &topic, recall_handle).await,
            Command::SendHalf { name, message } => {
                transactions::send_half(&*self.client(&name)?, *message).await
            }
            Command::EndTransaction {
                name,
                transaction,
                commit,
            } => transactions::end(&*self.client(&name)?, transaction, commit).await,
            Command::Receive {
                name,
                max,
                invisible_ms,
                ..
            } => calls::receive(&*self.client(&name)?, max, invisible_ms).await,
            Command::Ack { name, handles } => calls::ack(&*self.client(&name)?, handles).await,
            Command::SubscribeLite { name, lite, on } => {
                calls::subscribe_lite(&*self.client(&name)?, lite, on).await
            }
            Command::ChangeInvisible {
                name,
                handle,
                invisible_ms,
            } => calls::change_invisible(&*self.client(&name)?, handle, invisible_ms, false).await,
        }
    }

    async fn start(&self, start: Start, kind: ClientType) -> Result<Reply, Failure> {
        let connection = Arc::new(Connection::open(self.address, start, kind).await?);
        calls::announce(&connection).await?;
        let (settings, commands) = telemetry::open(&connection).await?;
        let tasks = self.work(&connection, &settings, commands).await?;
        let name = connection.start.name.clone();
        let client = Client {
            connection,
            _tasks: tasks,
        };
        self.clients
            .lock()
            .expect("no panic holds the lock")
            .insert(name, client);
        Ok(Reply::default())
    }

    /// Starts what a client of its kind does by itself.
    async fn work(
        &self,
        connection: &Arc<Connection>,
        settings: &Settings,
        mut commands: Streaming<TelemetryCommand>,
    ) -> Result<JoinSet<()>, Failure> {
        let mut tasks = JoinSet::new();
        let beating = connection.clone();
        tasks.spawn(async move { telemetry::beat(&beating).await });
        if connection.start.transactions {
            let (reports, connection) =
                (self.listener(&connection.start.name)?, connection.clone());
            tasks.spawn(async move {
                let answered = transactions::answer_all(&connection, &mut commands, &reports);
                if let Err(failure) = answered.await {
                    eprintln!("a question about a transaction: {failure}");
                }
            });
            return Ok(tasks);
        }
        tasks.spawn(telemetry::ignore(commands));
        let kinds = [ClientType::PushConsumer, ClientType::LitePushConsumer];
        if kinds.contains(&connection.kind) {
            let reports = self.listener(&connection.start.name)?;
            let push = Push::new(connection.clone(), settings, reports)?;
            push.start(&mut tasks).await?;
        }
        Ok(tasks)
    }

    fn listener(&self, name: &str) -> Result<mpsc::UnboundedSender<Delivery>, Failure> {
        let mut listeners = self.listeners.lock().expect("no panic holds the lock");
        let listener = listeners.remove(name);
        listener.ok_or_else(|| Failure::local("driver", "nobody listens"))
    }

    fn client(&self, name: &str) -> Result<Arc<Connection>, Failure> {
        let clients = self.clients.lock().expect("no panic holds the lock");
        let client = clients.get(name).map(|client| client.connection.clone());
        client.ok_or_else(|| Failure::local("driver", format!("no client {name}")))
    }
}

impl Driver for Raw {
    fn call(&self, command: Command) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.run(command))
    }

    fn deliveries(&self, name: &str) -> mpsc::UnboundedReceiver<Delivery> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let mut listeners = self.listeners.lock().expect("no panic holds the lock");
        listeners.insert(name.to_owned(), sender);
        deliveries
    }
}
