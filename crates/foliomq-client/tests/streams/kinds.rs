//! Priorities, lite topics and delayed messages over streams: the rules are those of single calls, and nothing is stored twice.

use std::time::{Duration, SystemTime};

use foliomq_client::{
    Code, ConsumerOptions, Error, Message, PublisherOptions, TopicKind, TopicUpdate,
};
use foliomq_proto::v1::{NewMessage, PublishAck, PublishRequest};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};
use crate::publishing::publish;

const HOUR: Duration = Duration::from_secs(3600);

fn order(body: &'static str) -> Message {
    Message::new("orders", body)
}

fn later() -> SystemTime {
    SystemTime::now() + HOUR
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<Code> {
    result.unwrap_err().code()
}

#[tokio::test]
async fn a_priority_has_its_queue() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let client = broker.client().await;
    let admin = client.admin();
    let levels = admin.create_topic("orders", 3, TopicKind::Priority);
    levels.await.unwrap();
    let publisher = client.publisher(PublisherOptions::default());
    for (priority, queue) in [(0, 0), (2, 2), (1, 1), (u32::MAX, 2)] {
        let published = publisher.publish(order("x").priority(priority)).await;
        assert_eq!(published.unwrap().queue_id, queue);
    }
    // As a single call says it.
    let producer = client.producer();
    for bad in [order("none"), order("group").message_group("g")] {
        let single = code(producer.send(bad.clone()).await);
        assert_eq!(single, Some(Code::MessagePropertyConflictWithType));
        assert_eq!(code(publisher.publish(bad).await), single);
    }
    let queue = publisher.send_to(order("x").priority(1), Some(0)).await;
    assert_eq!(code(queue.unwrap().await), Some(Code::BadRequest));
    let mut consumer = client.consumer("g", ["orders"], ConsumerOptions::default());
    let first = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
    assert_eq!(first.message().queue_id(), 2, "the highest first");
    broker.stop().await;
}

#[tokio::test]
async fn a_message_is_of_one_kind_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let client = broker.client().await;
    let publisher = client.publisher(PublisherOptions::default());
    let conflict = Some(Code::MessagePropertyConflictWithType);
    let bad = [
        (order("a").priority(1).message_group("g"), conflict),
        (order("b").priority(1).deliver_at(later()), conflict),
        (order("c").lite_topic("l").message_group("g"), conflict),
        (order("d").lite_topic(" "), Some(Code::IllegalLiteTopic)),
        (
            order("e").deliver_at(SystemTime::now() + 24 * 41 * HOUR),
            Some(Code::IllegalDeliveryTime),
        ),
    ];
    for (message, expected) in bad {
        let single = client.producer().send(message.clone()).await.unwrap_err();
        let streamed = publisher.publish(message).await.unwrap_err();
        assert_eq!(
            (single.code(), streamed.code()),
            (expected, expected),
            "{single} {streamed}"
        );
        assert_eq!(single.to_string(), streamed.to_string());
    }
    assert!(broker.bodies("orders", 0).is_empty());
    broker.stop().await;
}

#[tokio::test]
async fn lite_topics_are_made_as_far_as_they_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 2);
    let client = broker.client().await;
    let two = TopicUpdate {
        lite_topics: Some(2),
        ..TopicUpdate::default()
    };
    client.admin().update_topic("orders", two).await.unwrap();
    let publisher = client.publisher(PublisherOptions::default());
    let lite = |name: &str, body| order(body).lite_topic(name);
    for (n, body) in [(0, "1"), (1, "2")] {
        let published = publisher.publish(lite("a", body)).await.unwrap();
        assert_eq!((published.queue_id, published.queue_offset), (0, n));
    }
    // In one frame, where one lite topic is too many.
    let frame = PublishRequest {
        producer_id: 5,
        sequence: 1,
        topic: "orders".into(),
        queue_id: None,
        messages: ["a", "b", "c", "b"]
            .map(|lite| NewMessage {
                body: b"3"[..].into(),
                lite_topic: Some(lite.to_owned()),
                ..NewMessage::default()
            })
            .to_vec(),
    };
    for (turn, frame) in [frame.clone(), frame].into_iter().enumerate() {
        let acks = publish(&broker, vec![frame]).await;
        let [PublishAck { runs, refused, .. }] = &acks[..] else {
            panic!("{acks:?}");
        };
        let code = refused[0].status.as_ref().unwrap().code();
        assert_eq!(
            (refused.len(), refused[0].index, code),
            (1, 2, Code::LiteTopicQuotaExceeded)
        );
        assert_eq!(runs.iter().map(|run| run.count).sum::<u32>(), 3);
        assert!(runs.iter().all(|run| run.duplicate == (turn == 1)));
    }
    assert_eq!(broker.bodies("orders$a", 0), ["1", "2", "3"]);
    assert_eq!(broker.bodies("orders$b", 0), ["3", "3"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_delayed_message_waits_and_is_recalled() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let client = broker.client().await;
    let (publisher, producer) = (
        client.publisher(PublisherOptions::default()),
        client.producer(),
    );
    let (now, wait) = tokio::join!(
        publisher.publish(order("now").deliver_at(SystemTime::UNIX_EPOCH)),
        publisher.publish(order("wait").deliver_at(later())),
    );
    let wait = wait.unwrap();
    let handle = wait.recall_handle.as_deref().unwrap();
    assert!(now.unwrap().recall_handle.is_some());
    let mut consumer = client.consumer("g", ["orders"], ConsumerOptions::default());
    let first = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
    assert_eq!(first.message().body(), b"now");
    let recalled = producer.recall("orders", handle).await.unwrap();
    assert_eq!(recalled, wait.message_id);
    let again = producer.recall("orders", handle).await;
    assert_eq!(code(again), Some(Code::MessageNotFound));
    let made_up = producer.recall("orders", "made up").await;
    assert_eq!(code(made_up), Some(Code::BadRequest));
    broker.stop().await;
}

/// A frame of a message of each kind, between plain ones.
fn mixed() -> PublishRequest {
    let body = |body: &str| NewMessage {
        body: body.as_bytes().to_vec().into(),
        ..NewMessage::default()
    };
    let due = SystemTime::UNIX_EPOCH.elapsed().unwrap() + HOUR;
    let delayed = |text| NewMessage {
        deliver_unix_ms: Some(due.as_millis() as u64),
        ..body(text)
    };
    let lite = NewMessage {
        lite_topic: Some("l".to_owned()),
        ..body("lite")
    };
    PublishRequest {
        producer_id: 77,
        sequence: 1,
        topic: "orders".into(),
        queue_id: None,
        messages: vec![
            body("first"),
            delayed("later"),
            lite,
            delayed("recalled"),
            body("last"),
        ],
    }
}

#[tokio::test]
async fn what_waits_and_what_is_in_a_lite_topic_is_not_stored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let frame = mixed();
    let mut handles = Vec::new();
    let mut check = |acks: &[PublishAck], duplicate| {
        let [ack] = acks else { panic!("{acks:?}") };
        assert_eq!(ack.status.as_ref().unwrap().code(), Code::Ok, "{ack:?}");
        assert_eq!(ack.runs.iter().map(|run| run.count).sum::<u32>(), 3);
        assert!(ack.runs.iter().all(|run| run.duplicate == duplicate));
        let delayed = ack.delayed.iter().map(|one| (one.index, one.duplicate));
        assert!(delayed.eq([(1, duplicate), (3, duplicate)]));
        let own = ack.delayed.iter().map(|one| one.recall_handle.clone());
        handles.push(own.collect::<Vec<_>>());
    };
    check(&publish(&broker, vec![frame.clone()]).await, false);
    check(&publish(&broker, vec![frame.clone()]).await, true);
    broker.stop().await;

    // Nothing in memory tells of it.
    let broker = Broker::start(dir.path()).await;
    check(&publish(&broker, vec![frame.clone()]).await, true);
    assert!(handles.iter().all(|again| *again == handles[0]));
    let producer = broker.client().await.producer();
    producer.recall("orders", &handles[0][1]).await.unwrap();
    let acks = publish(&broker, vec![frame]).await;
    assert_eq!(acks[0].delayed.len(), 2, "one that was recalled stays so");
    assert!(acks[0].delayed.iter().all(|one| one.duplicate));
    assert_eq!(broker.bodies("orders", 0), ["first", "last"]);
    assert_eq!(broker.bodies("orders$l", 0), ["lite"]);
    broker.stop().await;
}
