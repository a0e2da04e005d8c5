//! Mapped delivery: the broker's own pages while they are in reach, and the connection when they are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use foliomq_client::{
    Client, ConsumerOptions, Message, MessageView, PublisherOptions, QueuePlace, QueueReader,
    ReaderOptions,
};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};
use crate::proxy::Proxy;

/// Below and above what a response would pack.
const SIZES: [usize; 3] = [100, 1024, 100 << 10];

fn body(n: usize, size: usize) -> Vec<u8> {
    n.to_string()
        .into_bytes()
        .into_iter()
        .cycle()
        .take(size)
        .collect()
}

async fn publish(broker: &Broker, count: usize, size: impl Fn(usize) -> usize) {
    let publisher = broker.client().await.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for n in 0..count {
        let message = Message::new("orders", body(n, size(n)))
            .tag("hot")
            .property("n", n.to_string());
        answers.push(publisher.send_to(message, Some(0)).await.unwrap());
    }
    for answer in answers {
        timeout(LIMIT, answer).await.unwrap().unwrap();
    }
}

fn consumer() -> ConsumerOptions {
    ConsumerOptions {
        mapped: true,
        invisible: Duration::from_secs(600),
        ..ConsumerOptions::default()
    }
}

fn reader(client: &Client, messages: u32) -> QueueReader {
    let place = QueuePlace {
        topic: "orders".into(),
        queue_id: 0,
        queue_offset: 0,
    };
    let options = ReaderOptions {
        mapped: true,
        messages,
        ..ReaderOptions::default()
    };
    client.queue_reader([place], options)
}

async fn next(reader: &mut QueueReader) -> MessageView {
    timeout(LIMIT, reader.next()).await.unwrap().unwrap()
}

/// Bytes of bodies that the broker has sent, whichever way.
async fn sent(client: &Client) -> u64 {
    let broker = client.admin().broker().await.unwrap();
    broker.body_bytes_by_reference + broker.body_bytes_packed + broker.body_bytes_copied
}

/// Whether a slice lies in a shared, read-only mapping of a file in this folder.
fn is_in_mapping_of(bytes: &[u8], folder: &Path) -> bool {
    let range = bytes.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let folder = folder.canonicalize().unwrap();
    maps.lines().any(|line| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        let is_read_only = words.next() == Some("r--s");
        is_read_only
            && line.contains(folder.to_str().unwrap())
            && address(from) <= start
            && end <= address(to)
    })
}

#[tokio::test]
async fn neither_side_copies_a_byte_of_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    publish(&broker, 90, |n| SIZES[n % 3]).await;
    let client = broker.client().await;
    let mut group = client.consumer("g", ["orders"], consumer());
    let mut reader = reader(&client, 1000);
    for n in 0..90 {
        let lease = timeout(LIMIT, group.next()).await.unwrap().unwrap();
        for message in [lease.message(), &next(&mut reader).await] {
            assert!(message.is_mapped());
            assert_eq!(message.body(), body(n, SIZES[n % 3]));
            assert!(is_in_mapping_of(message.body(), dir.path()));
            assert_eq!(message.body_bytes().as_ptr(), message.body().as_ptr());
            assert_eq!(
                (message.topic(), message.queue_offset()),
                ("orders", n as u64)
            );
            assert_eq!(
                (message.tag(), message.property("n")),
                (Some("hot"), Some(&*n.to_string()))
            );
        }
        let stored = lease.message().to_stored().unwrap();
        assert_eq!(
            (stored.id.as_str(), stored.queue_offset),
            (&*lease.message().id(), n as u64)
        );
        lease.ack().await.unwrap();
    }
    assert_eq!(sent(&client).await, 0, "the broker has sent none either");
    broker.stop().await;
}

#[tokio::test]
async fn where_the_folder_is_out_of_reach_messages_come_over_the_connection() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let broker = Broker::start(&dir).await;
    broker.topic("orders", 1);
    publish(&broker, 30, |_| 5000).await;
    let client = broker.client().await;
    // The broker needs its folder for a new group, and not after that.
    let mut known = client.consumer("g", ["orders"], ConsumerOptions::default());
    let lease = timeout(LIMIT, known.next()).await.unwrap().unwrap();
    let mut leased = BTreeSet::from([lease.message().queue_offset()]);
    lease.ack().await.unwrap();
    drop(known);
    fs::rename(&dir, parent.path().join("elsewhere")).unwrap();
    let before = sent(&client).await;
    let mut group = client.consumer("g", ["orders"], consumer());
    while leased.len() < 30 {
        let lease = timeout(LIMIT, group.next()).await.unwrap().unwrap();
        assert!(!lease.message().is_mapped());
        assert!(leased.insert(lease.message().queue_offset()));
        lease.ack().await.unwrap();
    }
    let mut reader = reader(&client, 1000);
    for n in 0..30 {
        let message = next(&mut reader).await;
        assert!(!message.is_mapped());
        assert_eq!(message.body(), body(n, 5000));
    }
    assert!(sent(&client).await >= before + (29 + 30) * 5000);
    fs::rename(parent.path().join("elsewhere"), &dir).unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn a_segment_that_is_gone_costs_neither_a_message_nor_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    // Three segments of 16 MiB.
    publish(&broker, 400, |_| 100 << 10).await;
    let client = broker.client().await;
    let mut group = client.consumer(
        "g",
        ["orders"],
        ConsumerOptions {
            messages: 8,
            ..consumer()
        },
    );
    let mut reader = reader(&client, 8);
    let (mut ways, mut leased) = (BTreeMap::new(), BTreeSet::new());
    for n in 0..400 {
        if n == 20 {
            // The broker has it open, and can send what is in it.
            let segments = fs::read_dir(dir.path().join("commitlog")).unwrap();
            let is_segment =
                |name: &str| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
            let mut segments: Vec<_> = segments
                .map(|entry| entry.unwrap().path())
                .filter(|path| is_segment(path.file_name().unwrap().to_str().unwrap()))
                .collect();
            segments.sort();
            fs::rename(&segments[1], dir.path().join("taken-away")).unwrap();
        }
        let message = next(&mut reader).await;
        assert_eq!(
            (message.queue_offset(), message.body()),
            (n as u64, &*body(n, 100 << 10))
        );
        let lease = timeout(LIMIT, group.next()).await.unwrap().unwrap();
        // What could not be read is given back, and comes behind what came meanwhile.
        let offset = lease.message().queue_offset();
        assert!(
            leased.insert(offset) && lease.attempt() == 1,
            "{offset} came again"
        );
        assert_eq!(lease.message().body(), body(offset as usize, 100 << 10));
        *ways
            .entry((message.is_mapped(), lease.message().is_mapped()))
            .or_insert(0) += 1;
        lease.ack().await.unwrap();
    }
    assert!(
        ways[&(true, true)] >= 20 && ways[&(false, false)] >= 20,
        "{ways:?}"
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_behind_an_unreadable_message_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    // Three segments of 16 MiB.
    publish(&broker, 4000, |_| 10 << 10).await;
    let segments = dir.path().join("commitlog");
    fs::rename(
        segments.join(format!("{:020}", 16 << 20)),
        dir.path().join("taken-away"),
    )
    .unwrap();
    let client = broker.client().await;
    // All at once, in responses of about a thousand: what fails has others behind it.
    let wide = ConsumerOptions {
        messages: 4000,
        bytes: 1 << 30,
        ..consumer()
    };
    let mut group = client.consumer("g", ["orders"], wide);
    let mut leased = BTreeSet::new();
    while leased.len() < 4000 {
        let lease = timeout(LIMIT, group.next()).await.unwrap().unwrap();
        let offset = lease.message().queue_offset();
        assert!(leased.insert(offset), "{offset} came again");
        assert_eq!(lease.attempt(), 1);
        lease.ack().await.unwrap();
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_is_passed_over_and_pages_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path()).await;
    broker.topic("orders", 1);
    publish(&broker, 300, |_| 1024).await;
    let proxy = Proxy::start(&broker.endpoint, 0, 1).await;
    let client = Client::connect(&proxy.endpoint).await.unwrap();
    let mut reader = reader(&client, 32);
    let mut kept = Vec::new();
    for n in 0..300 {
        if n % 100 == 50 {
            broker.stop().await;
            broker = Broker::start(dir.path()).await;
            proxy.redirect(&broker.endpoint);
        }
        let message = next(&mut reader).await;
        assert_eq!(message.queue_offset(), n as u64);
        kept.push(message);
    }
    assert!(kept[299].is_mapped(), "mapped again after the restart");
    // What is held stays whole.
    for (n, message) in kept.iter().enumerate() {
        assert_eq!(message.body(), body(n, 1024));
    }
    broker.stop().await;
}
