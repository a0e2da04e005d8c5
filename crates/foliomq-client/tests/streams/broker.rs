//! A broker in this process, whose folder outlives it.

use std::path::Path;
use std::time::Duration;

use foliomq_client::Client;
use foliomq_delivery::Groups;
use foliomq_server::{Config, Server};
use foliomq_store::{Flush, Options, Store, TopicOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Broker {
    pub endpoint: String,
    pub store: Store,
    groups: Groups,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Broker {
    pub async fn start(dir: &Path) -> Self {
        let interval = Duration::from_millis(100);
        let mut options = Options::new(dir)
            .segment_size(16 << 20)
            .flush(Flush::Async { interval });
        options.retention.disk_refuse = 1.0;
        let store = options.open().unwrap();
        let groups = Groups::open(store.clone(), foliomq_delivery::Options::default()).unwrap();
        let config = Config::new(([127, 0, 0, 1], 0).into(), dir.join("tls"));
        let server = Server::bind(config, store.clone(), groups.clone())
            .await
            .unwrap();
        let endpoint = server.local_addr().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            server.serve(async { drop(stopped.await) }).await.unwrap();
        });
        Self {
            endpoint,
            store,
            groups,
            stop,
            served,
        }
    }

    pub fn topic(&self, name: &str, queues: u32) {
        let options = TopicOptions {
            queues,
            ..TopicOptions::default()
        };
        self.store.create_topic(name, options).unwrap();
    }

    /// Messages of a group that are delivered and not done.
    pub fn in_flight(&self, group: &str) -> usize {
        let queues = self.groups.group(group).unwrap().queues;
        queues.iter().map(|queue| queue.in_flight as usize).sum()
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.endpoint).await.unwrap()
    }

    /// The bodies of a queue, as texts.
    pub fn bodies(&self, topic: &str, queue: u32) -> Vec<String> {
        // The index follows the acknowledgement.
        let marks = || self.store.watermarks();
        while marks().dispatched < marks().committed {
            std::thread::yield_now();
        }
        let end = self.store.offsets(topic, queue).unwrap().end;
        let messages = self
            .store
            .read_many(topic, queue, 0, end as usize + 10)
            .unwrap();
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        messages
            .iter()
            .map(|message| text(message.body()))
            .collect()
    }

    pub async fn stop(self) {
        drop(self.stop);
        self.served.await.unwrap();
        self.groups.close().unwrap();
        self.store.close().unwrap();
    }
}
