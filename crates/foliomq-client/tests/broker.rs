//! The client against a broker in the same process.

use std::time::{Duration, SystemTime};

use foliomq_client::{Client, Code, Error, Message, ResetTo, Result, TailFrom, TopicKind};
use foliomq_delivery::Groups;
use foliomq_server::{Config, Server};
use foliomq_store::{Flush, Options, Store};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const WAIT: Duration = Duration::from_secs(10);
/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const INVISIBLE: Duration = Duration::from_secs(30);

/// A broker on a free port with a store of its own.
struct Broker {
    endpoint: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    store: Store,
    groups: Groups,
    _dir: TempDir,
}

impl Broker {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let interval = Duration::from_millis(100);
        let mut options = Options::new(dir.path())
            .segment_size(16 << 20)
            .flush(Flush::Async { interval });
        options.retention.disk_refuse = 1.0;
        let store = options.open().unwrap();
        let groups = Groups::open(store.clone(), foliomq_delivery::Options::default()).unwrap();
        let mut config = Config::new(([127, 0, 0, 1], 0).into(), dir.path().join("tls"));
        change(&mut config);
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
            stop,
            served,
            store,
            groups,
            _dir: dir,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.endpoint).await.unwrap()
    }

    /// Waits until so many messages of the topic can be read: the index follows the acknowledgement.
    async fn holds(&self, topic: &str, messages: u64) {
        let readable = || {
            let queues = self.store.topic(topic).map_or(0, |topic| topic.queues);
            let counts = (0..queues).map(|queue| self.store.offsets(topic, queue).unwrap().end);
            counts.sum::<u64>() == messages
        };
        let waiting = async {
            while !readable() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, waiting)
            .await
            .expect("the messages can be read");
    }

    async fn stop(self) {
        drop(self.stop);
        self.served.await.unwrap();
        self.groups.close().unwrap();
        self.store.close().unwrap();
    }
}

#[tokio::test]
async fn a_message_comes_back_whole_and_once() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    let message = Message::new("orders", "latte")
        .tag("hot")
        .key("k1")
        .key("k2")
        .property("size", "big");
    let receipt = client.producer().send(message).await?;

    let consumer = client.simple_consumer("g", "orders");
    let deliveries = consumer.receive(16, INVISIBLE, WAIT).await?;
    let [delivery] = &deliveries[..] else {
        panic!("{deliveries:?}")
    };
    let message = &delivery.message;
    assert_eq!(
        (&message.body[..], &message.topic[..], delivery.attempt),
        (&b"latte"[..], "orders", 1)
    );
    assert_eq!(
        (&message.id, message.queue_offset),
        (&receipt.message_id, receipt.queue_offset)
    );
    assert_eq!(
        (message.tag.as_deref(), &message.keys[..]),
        (Some("hot"), &["k1".to_owned(), "k2".to_owned()][..])
    );
    assert_eq!(message.properties["size"], "big");
    assert!(message.born_at.is_some() && message.stored_at.is_some());

    consumer.ack(delivery).await?;
    consumer.ack(delivery).await?;
    assert!(
        consumer
            .receive(16, INVISIBLE, Duration::ZERO)
            .await?
            .is_empty()
    );
    consumer.close().await?;
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_batch_lies_in_one_queue_and_in_order() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    let batch = (0..50).map(|i| Message::new("orders", i.to_string()));
    let receipts = client.producer().send_batch(batch).await?;
    let offsets: Vec<u64> = receipts
        .iter()
        .map(|receipt| receipt.queue_offset)
        .collect();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>());
    assert!(client.producer().send_batch([]).await?.is_empty());

    broker.holds("orders", 50).await;
    let mut tail = client
        .admin()
        .tail("orders", TailFrom::Earliest, false)
        .await?;
    for expected in 0..50 {
        let message = tail.next().await?.expect("fifty messages");
        assert_eq!(
            (&message.body[..], message.queue_offset),
            (expected.to_string().as_bytes(), expected)
        );
    }
    assert!(tail.next().await?.is_none());
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_refused_batch_is_stored_in_no_part() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    client
        .producer()
        .send(Message::new("orders", "first"))
        .await?;
    let batch = [Message::new("orders", "good"), Message::new("orders", "")];
    let error = client.producer().send_batch(batch).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::MessageBodyEmpty), "{error}");
    broker.holds("orders", 1).await;
    let topic = client.admin().topic("orders").await?;
    assert_eq!(
        topic
            .queues
            .iter()
            .map(|queue| queue.max_offset)
            .sum::<u64>(),
        1
    );
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_given_back_comes_again() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    client
        .producer()
        .send(Message::new("orders", "latte"))
        .await?;
    let consumer = client.simple_consumer("g", "orders");
    let first = consumer
        .receive(1, INVISIBLE, WAIT)
        .await?
        .pop()
        .expect("a message");
    consumer.nack(first, Duration::ZERO).await?;
    let mut second = consumer
        .receive(1, INVISIBLE, WAIT)
        .await?
        .pop()
        .expect("the message again");
    assert_eq!(second.attempt, 2);

    let outdated = second.clone();
    consumer.extend(&mut second, INVISIBLE * 2).await?;
    let error = consumer.ack(&outdated).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidReceiptHandle), "{error}");
    consumer.ack_all([&second]).await?;
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn closing_one_consumer_leaves_the_others_polling() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    client
        .admin()
        .create_topic("orders", 2, TopicKind::Normal)
        .await?;
    let (stays, goes) = (
        client.simple_consumer("g", "orders"),
        client.simple_consumer("g", "orders"),
    );
    let poll = tokio::spawn(async move { stays.receive(1, INVISIBLE, WAIT).await });
    let polling = async { while client.admin().group("g").await.is_err() {} };
    tokio::time::timeout(LIMIT, polling)
        .await
        .expect("the poll makes the group");
    goes.close().await?;
    client
        .producer()
        .send(Message::new("orders", "latte"))
        .await?;
    assert_eq!(poll.await.unwrap()?.len(), 1);
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn answers_may_be_larger_than_one_body() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    let body = vec![7; 3 << 20];
    client
        .admin()
        .create_topic("large", 1, TopicKind::Any)
        .await?;
    for _ in 0..3 {
        client
            .producer()
            .send(Message::new("large", body.clone()))
            .await?;
    }
    broker.holds("large", 3).await;
    let deliveries = client
        .simple_consumer("g", "large")
        .receive(32, INVISIBLE, WAIT)
        .await?;
    assert_eq!(deliveries.len(), 3);
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.message.body == body)
    );
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn tags_choose_what_is_received() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    for tag in ["a", "b", "c"] {
        client
            .producer()
            .send(Message::new("orders", tag).tag(tag))
            .await?;
    }
    let consumer = client.simple_consumer("g", "orders").filter("a || c");
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let deliveries = consumer.receive(16, INVISIBLE, WAIT).await?;
        bodies.extend(deliveries.into_iter().map(|delivery| delivery.message.body));
    }
    bodies.sort();
    assert_eq!(bodies, ["a", "c"]);
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_unknown_topic_is_a_refusal_with_its_code() -> Result<()> {
    let broker = Broker::start(|config| config.auto_create = false).await;
    let client = broker.client().await;
    let error = client
        .producer()
        .send(Message::new("nowhere", "latte"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::TopicNotFound), "{error}");
    let error = client
        .simple_consumer("g", "nowhere")
        .receive(1, INVISIBLE, WAIT)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::TopicNotFound), "{error}");
    let admin = client.admin();
    let error = admin.topic("nowhere").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TopicNotFound), "{error}");
    let error = admin.group("nobody").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::ConsumerGroupNotFound), "{error}");
    let error = admin.update_group("not allowed", 3).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::IllegalConsumerGroup), "{error}");
    admin.create_topic("here", 1, TopicKind::Normal).await?;
    let other = admin.create_topic("here", 2, TopicKind::Normal).await;
    assert_eq!(other.unwrap_err().code(), Some(Code::PreconditionFailed));
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn topics_and_groups_are_administered() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let admin = broker.client().await.admin();
    let topic = admin.create_topic("orders", 3, TopicKind::Normal).await?;
    assert_eq!((topic.queues.len(), topic.kind), (3, TopicKind::Normal));
    assert!(
        admin
            .create_topic("orders", 4, TopicKind::Normal)
            .await
            .is_err()
    );
    assert_eq!(admin.topics().await?, [topic]);
    assert_eq!(admin.update_group("g", 5).await?.max_attempts, 5);
    assert_eq!(admin.groups().await?.len(), 1);

    let client = broker.client().await;
    let receipt = client
        .producer()
        .send(Message::new("orders", "latte").key("k"))
        .await?;
    broker.holds("orders", 1).await;
    assert_eq!(
        admin.find_by_id("orders", &receipt.message_id).await?.len(),
        1
    );
    assert_eq!(
        admin.find_by_key("orders", "k").await?[0].id,
        receipt.message_id
    );
    assert!(admin.find_by_key("orders", "other").await?.is_empty());
    for to in [
        ResetTo::Latest,
        ResetTo::Offset(0),
        ResetTo::Time(SystemTime::now()),
        ResetTo::Earliest,
    ] {
        admin.reset_group("g", "orders", to).await?;
    }
    assert_eq!(
        client
            .simple_consumer("g", "orders")
            .receive(1, INVISIBLE, WAIT)
            .await?
            .len(),
        1
    );
    let group = admin.group("g").await?;
    assert_eq!(
        group
            .queues
            .iter()
            .map(|queue| queue.in_flight)
            .sum::<u64>(),
        1
    );
    assert!(admin.broker().await?.appended > 0);
    admin.delete_topic("orders").await?;
    assert!(admin.topics().await?.is_empty());
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_tail_follows() -> Result<()> {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    client
        .admin()
        .create_topic("orders", 1, TopicKind::Any)
        .await?;
    client
        .producer()
        .send(Message::new("orders", "old"))
        .await?;
    let mut tail = client
        .admin()
        .tail("orders", TailFrom::Last(1), true)
        .await?;
    for body in ["old", "new", "newer"] {
        let message = tail.next().await?.expect("it follows");
        assert_eq!(message.body, body);
        let next = if body == "old" { "new" } else { "newer" };
        client.producer().send(Message::new("orders", next)).await?;
    }
    drop(tail);
    broker.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_gone_is_a_transport_error() {
    let broker = Broker::start(|_| {}).await;
    let client = broker.client().await;
    broker.stop().await;
    let error = client
        .producer()
        .send(Message::new("orders", "latte"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
}
