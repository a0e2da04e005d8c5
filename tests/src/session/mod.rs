//! What a scenario works with: clients of one library, connected to one broker.

mod consumer;
mod producer;
mod transactional;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::driver::{Command, Driver, Failure, Kind, Reply, Start};
pub use consumer::{Push, Simple};
pub use producer::Producer;
pub use transactional::{Half, Transactional};

/// The invisible time that scenarios use where they do not test it: the shortest that is allowed.
pub const INVISIBLE: Duration = Duration::from_secs(10);
/// The wait of a receive call where a scenario does not test it.
pub const WAIT: Duration = Duration::from_secs(3);
/// The most messages that one receive call brings.
pub const BATCH: u32 = 32;

/// More attempts than any message has.
const ALWAYS: u32 = u32::MAX >> 1;

/// One client library with its way to a broker.
#[derive(Clone)]
pub struct Session {
    driver: Arc<dyn Driver>,
    template: Start,
}

impl Session {
    /// Starts the driver of `kind`; `environment` goes to its process.
    ///
    /// # Errors
    /// If the driver does not come up.
    pub async fn open(
        kind: Kind,
        address: SocketAddr,
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let driver = Arc::from(kind.start(address, environment).await?);
        Ok(Self {
            driver,
            template: Start {
                endpoint: address.to_string(),
                ..Start::default()
            },
        })
    }

    /// The same, with TLS.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.template.tls = true;
        self
    }

    /// The same, with credentials.
    #[must_use]
    pub fn with_credentials(mut self, access_key: &str, secret_key: &str) -> Self {
        self.template.access_key = Some(access_key.to_owned());
        self.template.secret_key = Some(secret_key.to_owned());
        self
    }

    /// The same, with a session token beside its credentials.
    #[must_use]
    pub fn with_session_token(mut self, token: &str) -> Self {
        self.template.session_token = Some(token.to_owned());
        self
    }

    /// The same, in a namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.template.namespace = namespace.to_owned();
        self
    }

    /// Starts a producer for `topics`.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn producer(&self, topics: &[&str]) -> Result<Producer, Failure> {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let start = Start {
            topics,
            ..self.start()
        };
        let producer = Producer(self.client(&start));
        self.driver.call(Command::StartProducer(start)).await?;
        Ok(producer)
    }

    /// Starts a producer of transactions for `topic`.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn transactional(&self, topic: &str) -> Result<Transactional, Failure> {
        let start = Start {
            topics: vec![topic.to_owned()],
            transactions: true,
            ..self.start()
        };
        let (client, questions) = (self.client(&start), self.driver.deliveries(&start.name));
        self.driver.call(Command::StartProducer(start)).await?;
        Ok(Transactional { client, questions })
    }

    /// Starts a simple consumer of `topic` that waits [`WAIT`] in a receive call.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn simple(&self, group: &str, topic: &str) -> Result<Simple, Failure> {
        self.simple_with(group, topic, "*", WAIT).await
    }

    /// Starts a simple consumer with a tag expression and a wait.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn simple_with(
        &self,
        group: &str,
        topic: &str,
        tags: &str,
        wait: Duration,
    ) -> Result<Simple, Failure> {
        let start = self.consumer_start(group, topic, tags, wait);
        let consumer = Simple(self.client(&start));
        self.driver.call(Command::StartSimple(start)).await?;
        Ok(consumer)
    }

    /// Starts a push consumer whose listener fails every delivery up to attempt `fail_attempts`.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn push(
        &self,
        group: &str,
        topic: &str,
        fail_attempts: u32,
    ) -> Result<Push, Failure> {
        let start = Start {
            fail_attempts,
            ..self.consumer_start(group, topic, "*", WAIT)
        };
        self.start_push(start).await
    }

    /// Starts a push consumer whose listener fails every delivery of the messages with this body, and no other.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn push_failing(
        &self,
        group: &str,
        topic: &str,
        body: &str,
    ) -> Result<Push, Failure> {
        let start = Start {
            fail_attempts: ALWAYS,
            fail_body: Some(body.to_owned()),
            ..self.consumer_start(group, topic, "*", WAIT)
        };
        self.start_push(start).await
    }

    /// Starts a simple consumer of lite topics of `topic`.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn lite_simple(&self, group: &str, topic: &str) -> Result<Simple, Failure> {
        let start = Start {
            lite: true,
            ..self.consumer_start(group, topic, "*", WAIT)
        };
        let consumer = Simple(self.client(&start));
        self.driver.call(Command::StartSimple(start)).await?;
        Ok(consumer)
    }

    /// Starts a push consumer of lite topics of `topic`; `suspend_first`: its listener puts each first delivery off.
    ///
    /// # Errors
    /// If the library cannot start it.
    pub async fn lite_push(
        &self,
        group: &str,
        topic: &str,
        suspend_first: bool,
    ) -> Result<Push, Failure> {
        let start = Start {
            lite: true,
            suspend_first,
            ..self.consumer_start(group, topic, "*", WAIT)
        };
        self.start_push(start).await
    }

    async fn start_push(&self, start: Start) -> Result<Push, Failure> {
        let (client, deliveries) = (self.client(&start), self.driver.deliveries(&start.name));
        self.driver.call(Command::StartPush(start)).await?;
        Ok(Push { client, deliveries })
    }

    fn consumer_start(&self, group: &str, topic: &str, tags: &str, wait: Duration) -> Start {
        Start {
            group: group.to_owned(),
            subscriptions: BTreeMap::from([(topic.to_owned(), tags.to_owned())]),
            wait_ms: millis(wait),
            ..self.start()
        }
    }

    fn start(&self) -> Start {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Start {
            name,
            ..self.template.clone()
        }
    }

    fn client(&self, start: &Start) -> Client {
        Client {
            driver: self.driver.clone(),
            name: start.name.clone(),
        }
    }
}

/// One started client of a driver.
#[derive(Clone)]
struct Client {
    driver: Arc<dyn Driver>,
    name: String,
}

impl Client {
    async fn call(&self, command: Command) -> Result<Reply, Failure> {
        self.driver.call(command).await
    }

    async fn subscribe_lite(&self, lite: &str, on: bool) -> Result<(), Failure> {
        let (name, lite) = (self.name.clone(), lite.to_owned());
        let command = Command::SubscribeLite { name, lite, on };
        self.call(command).await.map(drop)
    }

    async fn stop(self) -> Result<(), Failure> {
        let name = self.name.clone();
        self.call(Command::Stop { name }).await.map(drop)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
