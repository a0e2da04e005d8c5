//! SendMessage allocates what the same call costs where nothing is behind it: what h2, and a request and a response of this
//! shape, force.

use std::alloc::System;
use std::net::SocketAddr;
use std::time::Duration;

use foliomq_benches::bare_tonic;
use foliomq_delivery::Groups;
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::{Code, Message, Resource, SendMessageRequest, SystemProperties};
use foliomq_server::{Config, Server};
use foliomq_store::{Flush, Options, Store, TopicOptions};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;
use tonic::Request;
use tonic::transport::Channel;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TOPIC: &str = "t";
/// Calls before the count: connections, queues and buffers come to be.
const FIRST: usize = 300;
/// Calls that are counted.
const CALLS: usize = 3000;
/// What the broker may add to a call: a debug build of the runtime moves its future, which is larger, to the heap.
const ADDED: f64 = 1.0;

/// Allocations of the process, of client and server, for each call.
async fn allocations(address: SocketAddr) -> f64 {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = MessagingServiceClient::new(channel.connect().await.unwrap());
    for n in 0..FIRST {
        send(&mut client, n).await;
    }
    let region = Region::new(ALLOCATOR);
    for n in 0..CALLS {
        send(&mut client, n).await;
    }
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / CALLS as f64
}

async fn send(client: &mut MessagingServiceClient<Channel>, n: usize) {
    let message = Message {
        topic: Some(Resource {
            name: TOPIC.to_owned(),
            ..Resource::default()
        }),
        system_properties: Some(SystemProperties {
            message_id: format!("id-{n}"),
            ..SystemProperties::default()
        }),
        body: vec![7; 1024].into(),
        ..Message::default()
    };
    let mut request = Request::new(SendMessageRequest {
        messages: vec![message],
    });
    let metadata = request.metadata_mut();
    metadata.insert("x-mq-client-id", "client".parse().unwrap());
    metadata.insert("x-mq-language", "RUST".parse().unwrap());
    let response = client.send_message(request).await.unwrap().into_inner();
    let status = response.entries[0].status.as_ref().unwrap();
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

/// A broker in this process, for as long as the test runs.
async fn broker(store: &Store, dir: &std::path::Path) -> SocketAddr {
    let config = Config::new(([127, 0, 0, 1], 0).into(), dir.join("tls"));
    let groups = Groups::open(store.clone(), foliomq_delivery::Options::default()).unwrap();
    let server = Server::bind(config, store.clone(), groups).await.unwrap();
    let address = server.local_addr();
    tokio::spawn(server.serve(std::future::pending()));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_allocates_what_a_bare_call_does() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(100);
    let mut options = Options::new(dir.path())
        .segment_size(32 << 20)
        .flush(Flush::Async { interval });
    options.retention.disk_refuse = 1.0;
    let store = options.open().unwrap();
    store.create_topic(TOPIC, TopicOptions::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare = listener.local_addr().unwrap();
    tokio::spawn(bare_tonic::accept(listener));

    let bare = allocations(bare).await;
    let broker = allocations(broker(&store, dir.path()).await).await;
    println!("allocations a call, client and server: {bare:.2} bare, {broker:.2} with the broker");
    assert!(
        broker <= bare + ADDED,
        "{broker} allocations a call, {bare} without a broker"
    );
}
