//! A client made of plain gRPC calls. It checks nothing before it sends, so that the broker's own
//! checks are seen, and it checks more of the answers than the official clients do.

mod calls;
mod connection;
mod message;
mod transactions;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Command, Delivery, Driver, Failure, Reply, Start};
use connection::Connection;

/// The started clients by name.
pub struct Raw {
    address: SocketAddr,
    clients: Mutex<HashMap<String, Arc<Connection>>>,
    listeners: Mutex<HashMap<String, mpsc::UnboundedSender<Delivery>>>,
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
            Command::StartProducer(start) | Command::StartSimple(start) => self.start(start).await,
            Command::StartPush(_) => Err(Failure::local("driver", "no push consumer here")),
            Command::Stop { name } => {
                let connection = self.client(&name)?;
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
            } => calls::change_invisible(&*self.client(&name)?, handle, invisible_ms).await,
        }
    }

    async fn start(&self, start: Start) -> Result<Reply, Failure> {
        let connection = Arc::new(Connection::open(self.address, start).await?);
        calls::announce(&connection).await?;
        let name = connection.start.name.clone();
        if connection.start.transactions {
            let listener = self.listener(&name)?;
            transactions::answer_questions(connection.clone(), listener).await?;
        }
        self.clients
            .lock()
            .expect("no panic holds the lock")
            .insert(name, connection);
        Ok(Reply::default())
    }

    fn listener(&self, name: &str) -> Result<mpsc::UnboundedSender<Delivery>, Failure> {
        let mut listeners = self.listeners.lock().expect("no panic holds the lock");
        let listener = listeners.remove(name);
        listener.ok_or_else(|| Failure::local("driver", "nobody listens"))
    }

    fn client(&self, name: &str) -> Result<Arc<Connection>, Failure> {
        let clients = self.clients.lock().expect("no panic holds the lock");
        let client = clients.get(name).cloned();
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
