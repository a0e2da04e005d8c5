//! Every message is stored exactly once, and in order, whatever breaks on the way.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use foliomq_client::{Client, Code, Message, PublisherOptions};
use foliomq_proto::v1::messaging_client::MessagingClient;
use foliomq_proto::v1::{NewMessage, PublishAck, PublishRequest};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};
use crate::meddler::{Meddler, POISON};
use crate::proxy::Proxy;

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("message {n}")).collect()
}

/// Small batches, so that many of them are under way when a connection breaks.
fn options() -> PublisherOptions {
    PublisherOptions {
        batch_bytes: 1500,
        ..PublisherOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_makes_no_duplicates_and_no_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    for seed in 1..=4 {
        let proxy = Proxy::start(&broker.endpoint, 12, seed).await;
        let client = loop {
            // The first connections may break while they are made.
            match Client::connect(&proxy.endpoint).await {
                Ok(client) => break client,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let publisher = client.publisher(options());
        let before = broker.bodies("orders", 0).len();
        let mut answers = Vec::new();
        for body in numbered(3000) {
            answers.push(publisher.send(Message::new("orders", body)).await.unwrap());
        }
        for (n, answer) in answers.into_iter().enumerate() {
            let published = timeout(LIMIT, answer).await.unwrap().unwrap();
            assert_eq!(published.queue_offset as usize, before + n);
        }
        assert!(proxy.cuts.load(Ordering::Relaxed) >= 3, "nothing broke");
        assert_eq!(broker.bodies("orders", 0)[before..], numbered(3000));
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_restarted_stores_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path()).await;
    broker.topic("orders", 2);
    let proxy = Proxy::start(&broker.endpoint, 0, 1).await;
    let client = Client::connect(&proxy.endpoint).await.unwrap();
    let publisher = client.publisher(options());
    let mut answers = Vec::new();
    for (n, body) in numbered(2000).into_iter().enumerate() {
        if n % 500 == 250 {
            broker.stop().await;
            broker = Broker::start(dir.path()).await;
            proxy.redirect(&broker.endpoint);
        }
        let sent = publisher
            .send_to(Message::new("orders", body), Some(1))
            .await;
        answers.push(sent.unwrap());
    }
    for (n, answer) in answers.into_iter().enumerate() {
        let published = timeout(LIMIT, answer).await.unwrap().unwrap();
        assert_eq!((published.queue_id, published.queue_offset), (1, n as u64));
    }
    assert_eq!(broker.bodies("orders", 1), numbered(2000));
    broker.stop().await;
}

/// Queues by number and by message group, queues in turn, two topics: whatever is said twice, broken off, not answered, or cut by
/// a restart of the broker, each queue holds each message once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_drops_and_restarts_leave_each_message_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path()).await;
    broker.topic("orders", 3);
    broker.topic("bills", 2);
    let meddler = Meddler::start(&broker.endpoint, 11).await;
    let client = Client::connect(&meddler.endpoint).await.unwrap();
    // What a broken stream makes it say again is not more than the next one can carry.
    let options = PublisherOptions {
        in_flight_bytes: 40_000,
        ..options()
    };
    let publisher = client.publisher(options);
    let mut answers = Vec::new();
    for (n, body) in numbered(6000).into_iter().enumerate() {
        if n % 2500 == 2000 {
            broker.stop().await;
            broker = Broker::start(dir.path()).await;
            meddler.redirect(&broker.endpoint);
        }
        let sent = match n % 4 {
            0 => {
                publisher
                    .send_to(Message::new("bills", body), Some(1))
                    .await
            }
            1 => publisher.send(Message::new("bills", body)).await,
            n => {
                let group = format!("guest-{n}");
                publisher
                    .send(Message::new("orders", body).message_group(group))
                    .await
            }
        };
        answers.push((if n % 4 < 2 { "bills" } else { "orders" }, sent.unwrap()));
    }
    let mut expected: BTreeMap<(&str, u32), BTreeMap<u64, String>> = BTreeMap::new();
    for (n, (topic, answer)) in answers.into_iter().enumerate() {
        let published = timeout(LIMIT, answer).await.unwrap().unwrap();
        let queue = expected.entry((topic, published.queue_id)).or_default();
        let taken = queue.insert(published.queue_offset, format!("message {n}"));
        assert_eq!(taken, None, "two messages were told the same place");
    }
    for ((topic, queue), messages) in expected {
        assert!(
            messages.keys().copied().eq(0..messages.len() as u64),
            "{topic}/{queue}"
        );
        let bodies: Vec<_> = messages.into_values().collect();
        assert_eq!(broker.bodies(topic, queue), bodies, "{topic}/{queue}");
        let numbers = bodies
            .iter()
            .map(|body| body[8..].parse::<usize>().unwrap());
        for way in 0..4 {
            // One way of sending keeps its order, whatever the others do.
            assert!(
                numbers
                    .clone()
                    .filter(|number| number % 4 == way)
                    .is_sorted()
            );
        }
    }
    let deeds = &meddler.deeds;
    for deed in [&deeds.duplicates, &deeds.breaks, &deeds.swallowed] {
        assert!(deed.load(Ordering::Relaxed) > 0, "{deeds:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_can_never_be_taken_is_told_so_and_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let meddler = Meddler::start(&broker.endpoint, 5).await;
    let client = Client::connect(&meddler.endpoint).await.unwrap();
    // Each message is a frame.
    let options = PublisherOptions {
        batch_bytes: 1,
        ..PublisherOptions::default()
    };
    let publisher = client.publisher(options);
    let mut answers = Vec::new();
    for (n, body) in numbered(60).into_iter().enumerate() {
        if n % 20 == 10 {
            let poison = Message::new("orders", POISON);
            answers.push((None, publisher.send(poison).await.unwrap()));
        }
        let sent = publisher.send(Message::new("orders", body)).await.unwrap();
        answers.push((Some(n), sent));
    }
    for (n, answer) in answers {
        let answer = timeout(LIMIT, answer).await.unwrap();
        match n {
            Some(n) => assert_eq!(answer.unwrap().queue_offset as usize, n),
            None => assert_eq!(answer.unwrap_err().code(), Some(Code::BadRequest)),
        }
    }
    assert_eq!(broker.bodies("orders", 0), numbered(60));
    let refusals = meddler.deeds.poisoned.load(Ordering::Relaxed);
    assert!((3..=6).contains(&refusals), "{refusals}");
    let large = Message::new("orders", vec![0; 64 << 20]);
    let refused = publisher.send(large).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::MessageBodyTooLarge));
    broker.stop().await;
}

fn frame(sequence: u64, bodies: &[&str]) -> PublishRequest {
    let message = |body: &&str| NewMessage {
        body: body.as_bytes().to_vec().into(),
        ..NewMessage::default()
    };
    PublishRequest {
        producer_id: 77,
        sequence,
        topic: "orders".into(),
        queue_id: None,
        messages: bodies.iter().map(message).collect(),
    }
}

/// Sends frames over a stream of their own.
pub async fn publish(broker: &Broker, frames: Vec<PublishRequest>) -> Vec<PublishAck> {
    let endpoint = format!("http://{}", broker.endpoint);
    let mut client = MessagingClient::connect(endpoint).await.unwrap();
    let stream = client.publish(tokio_stream::iter(frames)).await.unwrap();
    let (mut stream, mut acks) = (stream.into_inner(), Vec::new());
    while let Some(response) = timeout(LIMIT, stream.message()).await.unwrap().unwrap() {
        acks.extend(response.acks);
    }
    acks
}

#[tokio::test]
async fn a_frame_that_comes_again_is_answered_with_the_places_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let first = publish(&broker, vec![frame(1, &["a", "b"]), frame(1, &["a", "b"])]).await;
    assert_eq!(first[0].runs[0].queue_offset, first[1].runs[0].queue_offset);
    assert!(!first[0].runs[0].duplicate && first[1].runs[0].duplicate);
    broker.stop().await;

    // Cut in another way, after a restart: what is new of it is stored.
    let broker = Broker::start(dir.path()).await;
    let again = publish(&broker, vec![frame(2, &["b", "c"]), frame(4, &["d"])]).await;
    let runs: Vec<_> = again.iter().flat_map(|ack| &ack.runs).collect();
    let runs: Vec<_> = runs
        .iter()
        .map(|run| (run.queue_offset, run.count, run.duplicate))
        .collect();
    assert_eq!(runs, [(1, 1, true), (2, 1, false), (3, 1, false)]);
    assert_eq!(broker.bodies("orders", 0), ["a", "b", "c", "d"]);
    broker.stop().await;
}

/// They are stored on another thread, where one that follows the last is not looked for in the log.
#[tokio::test]
async fn large_frames_are_stored_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let bodies: Vec<String> = (0..900).map(|n| format!("{n:01000}")).collect();
    let part = |range: std::ops::Range<usize>| {
        let bodies: Vec<&str> = bodies[range.clone()].iter().map(String::as_str).collect();
        frame(range.start as u64 + 1, &bodies)
    };
    // Behind a small one, so that what follows is known to be new; the third overlaps.
    let parts = [0..1, 1..400, 400..800, 300..900, 1..400];
    let acks = publish(&broker, parts.clone().map(part).to_vec()).await;
    for (ack, range) in acks.iter().zip(parts) {
        let offsets = ack.runs.iter().flat_map(|run| {
            let first = run.queue_offset as usize;
            first..first + run.count as usize
        });
        assert!(offsets.eq(range), "{ack:?}");
    }
    let fresh = |ack: &PublishAck| ack.runs.iter().filter(|run| !run.duplicate).count();
    assert_eq!(acks.iter().map(fresh).collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
    assert_eq!(broker.bodies("orders", 0), bodies);
    broker.stop().await;
}

/// The first frame that comes again tells nothing of those after it: the log may hold them too.
#[tokio::test]
async fn all_frames_that_come_again_after_a_restart_have_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let frames = || vec![frame(1, &["a", "b"]), frame(3, &["c"]), frame(4, &["d"])];
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    publish(&broker, frames()).await;
    broker.stop().await;

    let broker = Broker::start(dir.path()).await;
    let again = publish(&broker, [frames(), vec![frame(5, &["e"])]].concat()).await;
    let runs: Vec<_> = again
        .iter()
        .flat_map(|ack| &ack.runs)
        .map(|run| (run.queue_offset, run.count, run.duplicate))
        .collect();
    assert_eq!(
        runs,
        [(0, 2, true), (2, 1, true), (3, 1, true), (4, 1, false)]
    );
    assert_eq!(broker.bodies("orders", 0), ["a", "b", "c", "d", "e"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_message_that_is_refused_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    let publisher = broker.client().await.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for body in ["a", "", "c"] {
        answers.push(publisher.send(Message::new("orders", body)).await.unwrap());
    }
    let last = answers.pop().unwrap().await.unwrap();
    let refused = answers.pop().unwrap().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::MessageBodyEmpty));
    assert_eq!(last.queue_offset, 1);
    let unknown = publisher.publish(Message::new("not allowed", "x")).await;
    assert_eq!(unknown.unwrap_err().code(), Some(Code::IllegalTopic));
    assert_eq!(broker.bodies("orders", 0), ["a", "c"]);
    broker.stop().await;
}

#[tokio::test]
async fn nobody_there_is_an_error_once_the_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let options = PublisherOptions {
        retry_for: std::time::Duration::from_millis(300),
        ..PublisherOptions::default()
    };
    let publisher = broker.client().await.publisher(options);
    broker.stop().await;
    let sent = publisher.publish(Message::new("orders", "x"));
    let error = timeout(LIMIT, sent).await.unwrap().unwrap_err();
    assert!(
        matches!(error, foliomq_client::Error::Transport { .. }),
        "{error}"
    );
}
