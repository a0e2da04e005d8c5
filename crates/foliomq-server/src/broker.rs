//! What every handler works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_delivery::{Filters, Groups};
use foliomq_proto::v2::Code;
use foliomq_store::{Appender, Store, TopicOptions};
use tokio::sync::{Semaphore, watch};

use crate::catch_up::CatchUp;
use crate::clients::Clients;
use crate::config::Config;
use crate::inquiry::Inquiries;
use crate::log_control::LogControl;
use crate::metrics::{Calls, Count};
use crate::producers::Producers;
use crate::properties::unix_ms;
use crate::rate::Rate;
use crate::renewal::Renewals;
use crate::status::Refusal;
use crate::tasks::Tasks;
use crate::wire::Wire;

/// The broker behind the wire.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) groups: Groups,
    pub(crate) filters: Filters,
    pub(crate) clients: Clients,
    pub(crate) inquiries: Inquiries,
    pub(crate) renewals: Renewals,
    pub(crate) producers: Producers,
    pub(crate) catch_up: CatchUp,
    /// A permit for each receive that may wait.
    pub(crate) polls: Semaphore,
    /// True once the server is to stop.
    pub(crate) stopping: watch::Sender<bool>,
    /// `host:port`, as messages name the place where they are stored.
    pub(crate) store_host: String,
    pub(crate) started: u64,
    pub(crate) body_bytes_by_reference: AtomicU64,
    /// In the answer's own buffer, since they are small.
    pub(crate) body_bytes_packed: AtomicU64,
    pub(crate) body_bytes_copied: AtomicU64,
    pub(crate) wire: Arc<Wire>,
    /// Messages that are stored for a producer.
    pub(crate) sent: Rate,
    /// Bytes of their bodies.
    pub(crate) sent_bytes: AtomicU64,
    /// Messages that are leased or pulled.
    pub(crate) delivered: Rate,
    pub(crate) connections: Count,
    pub(crate) calls: Arc<Calls>,
    /// Whatever holds the store for a call: the server has ended once all of it has.
    pub(crate) tasks: Tasks,
}

impl Broker {
    pub(crate) fn new(config: Config, store: Store, groups: Groups, store_host: String) -> Self {
        Self {
            polls: Semaphore::new(config.max_long_polls.min(Semaphore::MAX_PERMITS)),
            catch_up: CatchUp::new(config.catch_up_looks),
            config,
            store,
            groups,
            filters: Filters::default(),
            clients: Clients::default(),
            inquiries: Inquiries::default(),
            renewals: Renewals::default(),
            producers: Producers::default(),
            stopping: watch::Sender::new(false),
            store_host,
            started: unix_ms(),
            body_bytes_by_reference: AtomicU64::new(0),
            body_bytes_packed: AtomicU64::new(0),
            body_bytes_copied: AtomicU64::new(0),
            wire: Arc::default(),
            sent: Rate::default(),
            sent_bytes: AtomicU64::new(0),
            delivered: Rate::default(),
            connections: Count::default(),
            calls: Arc::default(),
            tasks: Tasks::default(),
        }
    }

    /// The topic, created if it is missing and that is wanted.
    pub(crate) async fn topic(&self, name: &str) -> Result<foliomq_store::Topic, Refusal> {
        if let Some(topic) = self.store.topic(name) {
            return Ok(topic);
        }
        if !self.config.auto_create {
            return Err(foliomq_store::StoreError::UnknownTopic {
                topic: name.to_owned(),
            }
            .into());
        }
        let (name, most) = (name.to_owned(), self.config.max_topics);
        self.blocking(move |broker| {
            if broker.store.topics().len() >= most {
                let what = format!("topic {name} is not created on first use: there are {most} topics; create it by command");
                return Err(Refusal::new(Code::TooManyRequests, what));
            }
            // Somebody reads a group's dead letters before there are any: these go to a single queue.
            let queues = u32::from(name.starts_with("%DLQ%"));
            let options = TopicOptions {
                queues,
                ..TopicOptions::default()
            };
            let created = broker.store.create_topic(&name, options);
            // An operator made it meanwhile, with other settings: these count.
            match broker.store.topic(&name) {
                Some(topic) => Ok(topic),
                None => Ok(created?),
            }
        })
        .await
    }

    /// What appends to the topic, which is created as by [`topic`](Self::topic).
    pub(crate) async fn appender(&self, name: &str) -> Result<Appender, Refusal> {
        if let Ok(appender) = self.store.appender(name) {
            return Ok(appender);
        }
        self.topic(name).await?;
        Ok(self.store.appender(name)?)
    }

    /// So many messages, with bodies of so many bytes together, are stored for a producer.
    pub(crate) fn stored(&self, messages: usize, bytes: usize) {
        self.sent.add(messages, unix_ms());
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Where the log's filter is changed.
    pub(crate) fn log(&self) -> Result<&LogControl, Refusal> {
        let none = || Refusal::unsupported("changing the log of this broker is");
        self.config.log.as_ref().ok_or_else(none)
    }

    pub(crate) fn handles(&self) -> Handles {
        Handles {
            store: self.store.clone(),
            groups: self.groups.clone(),
        }
    }

    /// Runs what may wait for the disk, or fault pages in, where it holds up nobody.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Handles) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let handles = self.handles();
        let done = self.tasks.spawn_blocking(move || work(&handles)).await;
        done.unwrap_or_else(|error| {
            Err(Refusal::new(
                Code::InternalServerError,
                format!("a task failed: {error}"),
            ))
        })
    }
}

/// What blocking work needs of a [`Broker`].
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) store: Store,
    pub(crate) groups: Groups,
}
