//! Topics that are changed while streams are open to them.

use std::time::Duration;

use foliomq_client::{
    Client, Code, Consumer, ConsumerOptions, Error, Message, PublisherOptions, QueuePlace,
    QueueReader, ReaderOptions, TopicKind, TopicPermission, TopicUpdate,
};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};

fn order(body: &'static str) -> Message {
    Message::new("orders", body)
}

fn consumer(client: &Client, mapped: bool) -> Consumer {
    let options = ConsumerOptions {
        mapped,
        invisible: Duration::from_secs(600),
        ..ConsumerOptions::default()
    };
    let group = if mapped { "mapped" } else { "carried" };
    client.consumer(group, ["orders"], options)
}

fn reader(client: &Client, queue_id: u32, mapped: bool) -> QueueReader {
    let place = QueuePlace {
        topic: "orders".into(),
        queue_id,
        queue_offset: 0,
    };
    let options = ReaderOptions {
        mapped,
        ..ReaderOptions::default()
    };
    client.queue_reader([place], options)
}

async fn update(client: &Client, update: TopicUpdate) {
    client.admin().update_topic("orders", update).await.unwrap();
}

async fn permit(client: &Client, permission: TopicPermission) {
    let permission = Some(permission);
    let changed = TopicUpdate {
        permission,
        ..TopicUpdate::default()
    };
    update(client, changed).await;
}

fn is_forbidden<T>(result: Result<T, Error>) -> bool {
    result.err().and_then(|error| error.code()) == Some(Code::Forbidden)
}

#[tokio::test]
async fn what_may_not_be_written_is_refused_on_an_open_stream_and_in_calls() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let client = broker.client().await;
    let publisher = client.publisher(PublisherOptions::default());
    publisher.publish(order("a")).await.unwrap();
    for permission in [TopicPermission::Read, TopicPermission::None] {
        permit(&client, permission).await;
        assert!(is_forbidden(publisher.publish(order("b")).await));
        assert!(is_forbidden(client.producer().send(order("c")).await));
    }
    permit(&client, TopicPermission::Write).await;
    publisher.publish(order("d")).await.unwrap();
    let kind = Some(TopicKind::Delay);
    let changed = TopicUpdate {
        kind,
        ..TopicUpdate::default()
    };
    update(&client, changed).await;
    let refused = publisher.publish(order("e")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::MessagePropertyConflictWithType));
    assert_eq!(broker.bodies("orders", 0), ["a", "d"]);
    broker.stop().await;
}

#[tokio::test]
async fn readers_that_wait_are_refused_as_soon_as_the_topic_may_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let client = broker.client().await;
    let publisher = client.publisher(PublisherOptions::default());
    publisher.publish(order("a")).await.unwrap();
    for mapped in [false, true] {
        let (mut consumer, mut reader) = (consumer(&client, mapped), reader(&client, 0, mapped));
        let lease = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        let read = timeout(LIMIT, reader.next()).await.unwrap().unwrap();
        assert_eq!(
            (lease.message().is_mapped(), read.is_mapped()),
            (mapped, mapped)
        );
        permit(&client, TopicPermission::Write).await;
        assert!(is_forbidden(timeout(LIMIT, consumer.next()).await.unwrap()));
        assert!(is_forbidden(timeout(LIMIT, reader.next()).await.unwrap()));
        assert!(matches!(consumer.next().await, Err(Error::Closed)));
        // What came before is ours still.
        timeout(LIMIT, lease.ack()).await.unwrap().unwrap();
        permit(&client, TopicPermission::ReadWrite).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn queues_that_a_topic_gets_are_written_and_read_over_streams_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let client = broker.client().await;
    let publisher = client.publisher(PublisherOptions::default());
    publisher.publish(order("a")).await.unwrap();
    let mut consumers = [consumer(&client, false), consumer(&client, true)];
    for consumer in &mut consumers {
        let lease = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        lease.ack().await.unwrap();
    }
    let changed = TopicUpdate {
        queues: Some(3),
        ..TopicUpdate::default()
    };
    update(&client, changed).await;
    let to_new = publisher.send_to(order("b"), Some(2)).await.unwrap();
    let published = timeout(LIMIT, to_new).await.unwrap().unwrap();
    assert_eq!((published.queue_id, published.queue_offset), (2, 0));
    for (consumer, mapped) in consumers.iter_mut().zip([false, true]) {
        let lease = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        assert_eq!(
            (lease.message().queue_id(), lease.message().body()),
            (2, &b"b"[..])
        );
        lease.ack().await.unwrap();
        let read = timeout(LIMIT, reader(&client, 2, mapped).next()).await;
        assert_eq!(read.unwrap().unwrap().body(), b"b");
    }
    // Messages without a queue of their own go to all of them in turn.
    for _ in 0..3 {
        publisher.publish(order("c")).await.unwrap();
    }
    let held = |queue| broker.bodies("orders", queue);
    assert!((0..3).all(|queue| held(queue).contains(&"c".to_owned())));
    broker.stop().await;
}
