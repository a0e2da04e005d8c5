//! Consumers and readers over streams: nothing is lost and nothing stays behind, whatever breaks on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use foliomq_client::{
    Client, Code, Consumer, ConsumerOptions, Error, Filter, GroupOrder, Lease, Message,
    MessageView, PublisherOptions, QueuePlace, ReaderOptions,
};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};
use crate::proxy::Proxy;

/// Long enough to never end while a test runs.
fn patient() -> ConsumerOptions {
    ConsumerOptions {
        invisible: Duration::from_secs(600),
        ..ConsumerOptions::default()
    }
}

async fn publish(broker: &Broker, topic: &str, bodies: std::ops::Range<usize>) {
    let publisher = broker.client().await.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for n in bodies {
        let message = Message::new(topic, n.to_string()).tag(["even", "odd"][n % 2]);
        answers.push(publisher.send(message).await.unwrap());
    }
    for answer in answers {
        timeout(LIMIT, answer).await.unwrap().unwrap();
    }
}

async fn next(consumer: &mut Consumer) -> Lease {
    timeout(LIMIT, consumer.next()).await.unwrap().unwrap()
}

fn number(message: &MessageView) -> usize {
    std::str::from_utf8(message.body())
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn what_is_acknowledged_is_done_and_what_is_given_back_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let client = broker.client().await;
    let message = Message::new("orders", "latte")
        .tag("hot")
        .key("k1")
        .property("size", "big");
    client.producer().send(message).await.unwrap();
    let mut consumer = client.consumer("g", ["orders"], patient());
    let mut lease = next(&mut consumer).await;
    let stored = lease.message().to_stored().unwrap();
    assert_eq!(
        (&stored.body[..], stored.tag.as_deref()),
        (&b"latte"[..], Some("hot"))
    );
    assert_eq!(
        (lease.message().keys(), lease.message().property("size")),
        (vec!["k1"], Some("big"))
    );
    assert_eq!(stored.id, lease.message().id());
    lease.extend(Duration::from_secs(1200)).await.unwrap();
    assert!(lease.remaining() > Duration::from_secs(700));
    lease.release().await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.attempt(), 1, "a release does not count");
    again.nack(Duration::ZERO).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.attempt(), 2, "a nack does");
    again.ack().await.unwrap();
    drop(consumer);
    let rest = client.simple_consumer("g", "orders");
    let rest = rest
        .receive(1, Duration::from_secs(30), Duration::ZERO)
        .await
        .unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    broker.stop().await;
}

#[tokio::test]
async fn a_dropped_consumer_gives_back_what_it_has_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    publish(&broker, "orders", 0..100).await;
    let client = broker.client().await;
    let mut leaving = client.consumer("g", ["orders"], patient());
    let held = next(&mut leaving).await;
    drop(leaving);
    let mut staying = client.consumer("g", ["orders"], patient());
    let mut seen = BTreeSet::from([number(held.message())]);
    while seen.len() < 100 {
        let lease = next(&mut staying).await;
        assert_eq!(lease.attempt(), 1, "what nobody saw does not count");
        assert!(seen.insert(number(lease.message())), "held by two");
        lease.ack().await.unwrap();
    }
    // Its consumer is gone, and it can still be settled.
    held.ack().await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn a_consumer_holds_no_more_than_its_window_and_goes_on_as_that_empties() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    publish(&broker, "orders", 0..200).await;
    let client = broker.client().await;
    let options = ConsumerOptions {
        messages: 8,
        bytes: 20,
        ..patient()
    };
    let mut small = client.consumer("g", ["orders"], options);
    let first = next(&mut small).await;
    // All the others stay for another.
    let mut other = client.consumer("g", ["orders"], patient());
    let mut seen = BTreeSet::from([number(first.message())]);
    for _ in 0..190 {
        seen.insert(number(next(&mut other).await.message()));
    }
    assert!(seen.len() > 180, "{}", seen.len());
    while seen.len() < 200 {
        tokio::select! {
            lease = next(&mut small) => seen.insert(number(lease.message())),
            lease = next(&mut other) => seen.insert(number(lease.message())),
        };
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_loses_no_message_and_no_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 3);
    publish(&broker, "orders", 0..2000).await;
    let proxy = Proxy::start(&broker.endpoint, 8, 7).await;
    let client = loop {
        if let Ok(client) = Client::connect(&proxy.endpoint).await {
            break client;
        }
    };
    // What a broken connection swallows comes again once its time is over.
    let options = ConsumerOptions {
        invisible: Duration::from_secs(10),
        messages: 64,
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer("g", ["orders"], options);
    let mut acknowledged = BTreeSet::new();
    while acknowledged.len() < 2000 {
        let mut batch = vec![next(&mut consumer).await];
        while batch.len() < 32
            && let Ok(more) = timeout(Duration::ZERO, consumer.next()).await
        {
            batch.push(more.unwrap());
        }
        let acks = batch.into_iter().map(|lease| async move {
            let number = number(lease.message());
            (number, lease.ack().await)
        });
        let acks: Vec<_> = acks.map(tokio::spawn).collect();
        for ack in acks {
            let (number, result) = ack.await.unwrap();
            if result.is_ok() {
                assert!(acknowledged.insert(number), "{number} came after its ack");
            }
        }
    }
    assert!(proxy.cuts.load(Ordering::Relaxed) >= 3, "nothing broke");
    broker.stop().await;
}

/// Settles while nothing comes back from the broker; then the connection breaks.
async fn without_an_answer<T>(proxy: &Proxy, settling: impl Future<Output = T>) -> T {
    proxy.deafen();
    let cut = async {
        // Time for the broker to do what is asked; if it does not, less is tested.
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.cut();
    };
    timeout(LIMIT, async { tokio::join!(settling, cut).0 })
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_settled_and_not_answered_is_settled_once_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    publish(&broker, "orders", 0..4).await;
    let proxy = Proxy::start(&broker.endpoint, 0, 1).await;
    let client = Client::connect(&proxy.endpoint).await.unwrap();
    let mut consumer = client.consumer("g", ["orders"], patient());
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(next(&mut consumer).await);
    }
    let [mut extended, nacked, released, acked] = leases.try_into().unwrap();
    let hour = Duration::from_secs(3600);
    without_an_answer(&proxy, extended.extend(hour))
        .await
        .unwrap();
    assert!(extended.remaining() > Duration::from_secs(3000));
    extended.extend(2 * hour).await.unwrap();
    extended.ack().await.unwrap();
    without_an_answer(&proxy, nacked.nack(hour)).await.unwrap();
    without_an_answer(&proxy, acked.ack()).await.unwrap();
    // Last: it comes again at once, to whoever is there.
    without_an_answer(&proxy, released.release()).await.unwrap();
    let held = broker.in_flight("g");
    assert_eq!(held, 2, "the one that is put off, and the released one");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_queues_sees_each_message_once_and_in_order_whatever_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path()).await;
    broker.topic("orders", 2);
    publish(&broker, "orders", 0..3000).await;
    let proxy = Proxy::start(&broker.endpoint, 6, 3).await;
    let client = loop {
        if let Ok(client) = Client::connect(&proxy.endpoint).await {
            break client;
        }
    };
    let place = |queue_id| QueuePlace {
        topic: "orders".into(),
        queue_id,
        queue_offset: 0,
    };
    let options = ReaderOptions {
        messages: 100,
        ..ReaderOptions::default()
    };
    let mut reader = client.queue_reader([place(0), place(1)], options);
    let mut offsets = BTreeMap::from([(0, 0), (1, 0)]);
    for n in 0..4000 {
        if n == 1500 {
            broker.stop().await;
            broker = Broker::start(dir.path()).await;
            proxy.redirect(&broker.endpoint);
            publish(&broker, "orders", 3000..4000).await;
        }
        let message = timeout(LIMIT, reader.next()).await.unwrap().unwrap();
        let offset = offsets.get_mut(&message.queue_id()).unwrap();
        assert_eq!(message.queue_offset(), *offset);
        *offset += 1;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_reader_of_queues_gets_what_its_filter_lets_through_over_the_connection_and_from_pages() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let client = broker.client().await;
    let publisher = client.publisher(PublisherOptions::default());
    for n in 0..30 {
        let tag = if n % 10 == 7 { "hot" } else { "cold" };
        let message = Message::new("orders", n.to_string()).tag(tag);
        publisher.publish(message).await.unwrap();
    }
    for mapped in [false, true] {
        let place = QueuePlace {
            topic: "orders".into(),
            queue_id: 0,
            queue_offset: 0,
        };
        let options = ReaderOptions {
            filter: Filter::Tags("hot".into()),
            mapped,
            ..ReaderOptions::default()
        };
        let mut reader = client.queue_reader([place], options);
        for expected in [7, 17, 27] {
            let message = timeout(LIMIT, reader.next()).await.unwrap().unwrap();
            assert_eq!(message.queue_offset(), expected);
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn messages_of_a_group_come_in_order_and_one_that_is_given_back_holds_the_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 4);
    let client = broker.client().await;
    let publisher = client.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for n in 0..300 {
        let message =
            Message::new("orders", n.to_string()).message_group(format!("guest-{}", n % 3));
        answers.push(publisher.send(message).await.unwrap());
    }
    let mut queues = BTreeMap::new();
    for (n, answer) in answers.into_iter().enumerate() {
        let queue = timeout(LIMIT, answer).await.unwrap().unwrap().queue_id;
        assert_eq!(
            *queues.entry(n % 3).or_insert(queue),
            queue,
            "a group has its queue"
        );
    }
    client
        .admin()
        .order_group("g", GroupOrder::MessageGroup)
        .await
        .unwrap();
    let mut consumer = client.consumer("g", ["orders"], patient());
    let mut expected = BTreeMap::from([(0, 0), (1, 1), (2, 2)]);
    let mut seen = 0;
    while seen < 300 {
        let lease = next(&mut consumer).await;
        let number = number(lease.message());
        assert_eq!(
            lease.message().message_group(),
            Some(&*format!("guest-{}", number % 3))
        );
        assert_eq!(expected[&(number % 3)], number);
        if number % 10 == 5 && lease.attempt() == 1 {
            lease.nack(Duration::ZERO).await.unwrap();
            continue;
        }
        expected.insert(number % 3, number + 3);
        seen += 1;
        lease.ack().await.unwrap();
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_refusal_is_told_once_and_a_filter_is_the_broker_s() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    publish(&broker, "orders", 0..10).await;
    let client = broker.client().await;
    let mut bad = client.consumer("not allowed", ["orders"], ConsumerOptions::default());
    let error = timeout(LIMIT, bad.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::IllegalConsumerGroup), "{error}");
    assert!(matches!(bad.next().await, Err(Error::Closed)));
    for filter in [
        Filter::Tags("odd".into()),
        Filter::Sql("TAGS = 'odd'".into()),
    ] {
        let group = format!("{filter:?}").split('(').next().unwrap().to_owned();
        let mut odd = client.consumer(
            group,
            ["orders"],
            ConsumerOptions {
                filter,
                ..patient()
            },
        );
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            seen.insert(number(next(&mut odd).await.message()));
        }
        assert_eq!(seen, BTreeSet::from([1, 3, 5, 7, 9]));
    }
    broker.stop().await;
}
