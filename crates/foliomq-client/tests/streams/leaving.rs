//! Consumers that go: what they have not handed out is at once for others, and what they have can still be settled.

use std::collections::BTreeSet;
use std::time::Duration;

use foliomq_client::{Client, Code, ConsumerOptions, Message, PublisherOptions};
use tokio::time::{sleep, timeout};

use crate::broker::{Broker, LIMIT};
use crate::proxy::Proxy;

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";
const HOUR: Duration = Duration::from_secs(3600);

/// Deliveries that come back by themselves only long after a test.
fn patient(messages: u32) -> ConsumerOptions {
    ConsumerOptions {
        invisible: Duration::from_secs(600),
        messages,
        ..ConsumerOptions::default()
    }
}

async fn publish(broker: &Broker, count: usize) {
    broker.topic("orders", 1);
    let publisher = broker.client().await.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for n in 0..count {
        let message = Message::new("orders", n.to_string());
        answers.push(publisher.send(message).await.unwrap());
    }
    for answer in answers {
        timeout(LIMIT, answer).await.unwrap().unwrap();
    }
}

/// Another consumer gets so many messages, none of which counts as delivered before.
async fn others_get(client: &Client, count: usize) {
    let mut staying = client.consumer("g", ["orders"], patient(1024));
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        let lease = timeout(LIMIT, staying.next()).await.unwrap().unwrap();
        assert_eq!(lease.attempt(), 1, "what nobody saw does not count");
        assert!(seen.insert(lease.message().queue_offset()), "held by two");
        lease.ack().await.unwrap();
    }
}

#[tokio::test]
async fn whenever_a_consumer_goes_what_is_on_its_way_to_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    publish(&broker, 100).await;
    let client = broker.client().await;
    for n in 0..60 {
        let leaving = client.consumer("g", ["orders"], patient(1024));
        // Before, while and after the stream opens and messages come.
        sleep(Duration::from_micros(100 * n)).await;
        drop(leaving);
    }
    others_get(&client, 100).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_full_window_comes_back_however_wide_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    publish(&broker, 5000).await;
    let client = broker.client().await;
    let mut leaving = client.consumer("g", ["orders"], patient(5000));
    drop(timeout(LIMIT, leaving.next()).await.unwrap().unwrap());
    while broker.in_flight("g") < 5000 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(leaving);
    others_get(&client, 4999).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_away_when_a_consumer_goes_hears_of_it_later() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    // They come in one response: who has the first has all.
    publish(&broker, 50).await;
    let proxy = Proxy::start(&broker.endpoint, 0, 1).await;
    let client = Client::connect(&proxy.endpoint).await.unwrap();
    let mut leaving = client.consumer("g", ["orders"], patient(1024));
    drop(timeout(LIMIT, leaving.next()).await.unwrap().unwrap());
    proxy.redirect(NOWHERE);
    proxy.cut();
    drop(leaving);
    sleep(Duration::from_millis(300)).await;
    proxy.redirect(&broker.endpoint);
    others_get(&broker.client().await, 49).await;
    broker.stop().await;
}

#[tokio::test]
async fn an_extension_that_was_cancelled_or_is_too_long_keeps_nobody_from_settling() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    publish(&broker, 2).await;
    let proxy = Proxy::start(&broker.endpoint, 0, 1).await;
    let client = Client::connect(&proxy.endpoint).await.unwrap();
    let mut consumer = client.consumer("g", ["orders"], patient(1024));
    for ack in [true, false] {
        let mut lease = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        for too_long in [13 * HOUR, Duration::MAX] {
            let refused = lease.extend(too_long).await.unwrap_err();
            assert_eq!(refused.code(), Some(Code::IllegalInvisibleTime));
        }
        // The broker does it, and nobody hears of the handle that it gives.
        proxy.deafen();
        let extended = timeout(Duration::from_millis(300), lease.extend(HOUR)).await;
        assert!(extended.is_err());
        proxy.cut();
        let settled = match ack {
            true => timeout(LIMIT, lease.ack()).await,
            false => timeout(LIMIT, lease.release()).await,
        };
        settled.unwrap().unwrap();
    }
    let back = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
    assert_eq!((back.message().queue_offset(), back.attempt()), (1, 1));
    broker.stop().await;
}
