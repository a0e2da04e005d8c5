//! A broker in this process, and requests to it.

use std::net::SocketAddr;
use std::time::Duration;

use foliomq_delivery::Groups;
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::{
    Message, MessageQueue, ReceiveMessageRequest, Resource, SendMessageRequest, SystemProperties,
};
use foliomq_server::{Config, Server};
use foliomq_store::{Flush, Options, Store, TopicOptions};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::Channel;

/// Longer than anything takes on a busy machine, and shorter than what must not be waited for.
pub const LIMIT: Duration = Duration::from_secs(9);

pub type Client = MessagingServiceClient<Channel>;

pub struct Broker {
    pub address: SocketAddr,
    pub dir: TempDir,
    pub stop: oneshot::Sender<()>,
    pub served: JoinHandle<()>,
    pub store: Store,
}

impl Broker {
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let interval = Duration::from_millis(100);
        let mut options = Options::new(dir.path())
            .segment_size(32 << 20)
            .flush(Flush::Async { interval });
        options.retention.disk_refuse = 1.0;
        let store = options.open().unwrap();
        let mut config = Config::new(([127, 0, 0, 1], 0).into(), dir.path().join("tls"));
        change(&mut config);
        let options = foliomq_delivery::Options {
            max_attempts: config.max_attempts,
            ..foliomq_delivery::Options::default()
        };
        let groups = Groups::open(store.clone(), options).unwrap();
        let server = Server::bind(config, store.clone(), groups).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let served =
            tokio::spawn(async move { server.serve(async { drop(stopped.await) }).await.unwrap() });
        Self {
            address,
            dir,
            stop,
            served,
            store,
        }
    }

    /// A topic for every kind of message.
    pub fn create_topic(&self, name: &str, queues: u32) {
        let options = TopicOptions {
            queues,
            ..TopicOptions::default()
        };
        self.store.create_topic(name, options).unwrap();
    }

    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::new(self.channel().await).max_decoding_message_size(64 << 20)
    }
}

/// A request of the client with this id, in this language.
pub fn of<T>(client_id: &str, language: &str, request: T) -> Request<T> {
    let mut request = Request::new(request);
    let metadata = request.metadata_mut();
    metadata.insert("x-mq-client-id", client_id.parse().unwrap());
    metadata.insert("x-mq-language", language.parse().unwrap());
    request
}

pub fn resource(name: &str) -> Resource {
    Resource {
        resource_namespace: String::new(),
        name: name.to_owned(),
    }
}

pub fn publish(topic: &str, id: usize, size: usize) -> SendMessageRequest {
    let message = Message {
        topic: Some(resource(topic)),
        system_properties: Some(SystemProperties {
            message_id: format!("id-{id}"),
            ..SystemProperties::default()
        }),
        body: vec![id as u8; size].into(),
        ..Message::default()
    };
    SendMessageRequest {
        messages: vec![message],
    }
}

/// A poll of group `readers` for 32 messages, of at most so many seconds.
pub fn poll(topic: &str, seconds: i64) -> ReceiveMessageRequest {
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    ReceiveMessageRequest {
        group: Some(resource("readers")),
        message_queue: Some(MessageQueue {
            topic: Some(resource(topic)),
            ..MessageQueue::default()
        }),
        batch_size: 32,
        invisible_duration: duration(600),
        long_polling_timeout: duration(seconds),
        ..ReceiveMessageRequest::default()
    }
}
