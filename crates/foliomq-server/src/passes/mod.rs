//! How often a body is copied on its way from the log to the socket, or to the cipher: by the addresses of what is written.
//!
//! Between our encoder and the socket lie a rope, HTTP/2's own buffers and, over TLS, the cipher. A copy that creeps in
//! anywhere before the socket (the cipher) writes other addresses than those of the log's pages, and a test here fails. What
//! HTTP/2 does copy is the beginning of each frame, to which it adds as much as makes its header worth a slice.

mod client;
mod spy;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use foliomq_proto::v1::Delivered;
use foliomq_store::TopicOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::client::{ask, group, pull, queue, receive, subscribe};
use self::spy::{Seen, Spy};
use crate::body::Body;
use crate::broker::Broker;
use crate::connection::Protocol;
use crate::encode::tests::{SMALL, broker, counted, publish, sent};
use crate::outgoing::{Outgoing, Patience};
use crate::rope::Rope;
use crate::router::Router;
use crate::wire::Wire;
use crate::{delivered, responses, tls};

const TOPIC: &str = "passes";
/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(9);
const MESSAGES: usize = 3;
/// Bytes of a body that HTTP/2 copies at most with the header of a frame, and of a frame.
const COPIED: usize = 256;
const FRAME: usize = 16 << 10;
const LARGE: usize = 5 * SMALL;
const RECEIVE: &str = "/apache.rocketmq.v2.MessagingService/ReceiveMessage";
const PULL: &str = "/apache.rocketmq.v2.MessagingService/PullMessage";
const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";

/// Serves one connection, and looks at what goes to the socket, or over TLS to the cipher.
async fn serve(broker: Arc<Broker>, listener: TcpListener, seen: Arc<Seen>, secret: bool) {
    let (store, tls) = (
        broker.store.clone(),
        tls::server_config(&broker.config).unwrap(),
    );
    let protocol = Protocol {
        stopping: broker.stopping.subscribe(),
        router: Router::new(broker).await.unwrap(),
        tls: tls.clone(),
    };
    let (stream, peer) = listener.accept().await.unwrap();
    let served = match secret {
        false => {
            let spy = Spy::of_pages(stream, store, seen);
            protocol.speak_http2(spy, peer).await
        }
        true => {
            let stream = TlsAcceptor::from(tls).accept(stream).await.unwrap();
            let spy = Spy::of_pages(stream, store, seen);
            protocol.speak_http2(spy, peer).await
        }
    };
    // The client goes away when it has what it wants.
    drop(served);
}

/// Messages of this size, in one queue.
fn store(broker: &Broker, size: usize) {
    let options = TopicOptions {
        queues: 1,
        ..TopicOptions::default()
    };
    broker.store.create_topic(TOPIC, options).unwrap();
    let message_of = |n: usize| sent(TOPIC, &n.to_string(), vec![n as u8; size]);
    let messages = (0..MESSAGES).map(message_of);
    publish(broker, messages.collect());
}

/// One answer of a fresh broker with messages of this size: bytes of pages that were written, and bytes by path.
fn answer(
    path: &str,
    message: &impl prost::Message,
    size: usize,
    secret: bool,
) -> (usize, [usize; 3]) {
    let (_dir, broker) = broker();
    store(&broker, size);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let seen = Arc::<Seen>::default();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(broker.clone(), listener, seen.clone(), secret));
        let stream = TcpStream::connect(address).await.unwrap();
        let asking = async {
            let message = message.encode_to_vec();
            if secret {
                let stream = foliomq_load::tls::connect(stream, Some("localhost"));
                ask(stream.await.unwrap(), path, message).await;
            } else {
                ask(stream, path, message).await;
            }
        };
        let all = async {
            asking.await;
            serving.await.unwrap();
            broker.tasks.ended().await;
        };
        timeout(LIMIT, all).await.expect("an answer");
    });
    assert!(seen.all.load(Ordering::Relaxed) >= MESSAGES * size);
    assert_eq!((broker.wire.pinned(), broker.wire.unread()), (0, 0));
    (seen.inside.load(Ordering::Relaxed), counted(&broker))
}

/// Large bodies go to the socket from the log's pages; small ones are copied once, into the buffer around them; over TLS both
/// come as such to the cipher, whose pass is its own.
fn is_passed_on_as_it_should_be(path: &str, message: &impl prost::Message) {
    for secret in [false, true] {
        let (mapped, counters) = answer(path, message, LARGE, secret);
        assert_eq!(counters, [MESSAGES * LARGE, 0, 0], "{path}, TLS {secret}");
        let frames = (MESSAGES * LARGE).div_ceil(FRAME) + 1;
        let most = MESSAGES * LARGE - frames * COPIED..=MESSAGES * LARGE;
        assert!(
            most.contains(&mapped),
            "{path}, TLS {secret}: {mapped} bytes come from pages"
        );
        let (mapped, counters) = answer(path, message, SMALL - 1, secret);
        assert_eq!(
            counters,
            [0, MESSAGES * (SMALL - 1), 0],
            "{path}, TLS {secret}"
        );
        assert_eq!(mapped, 0, "{path}, TLS {secret}: they are packed");
    }
}

#[test]
fn what_is_received_is_copied_by_nothing_but_the_cipher() {
    is_passed_on_as_it_should_be(RECEIVE, &receive());
}

#[test]
fn what_is_pulled_is_copied_by_nothing_but_the_cipher() {
    is_passed_on_as_it_should_be(PULL, &pull());
}

#[test]
fn what_a_group_subscribes_to_is_copied_by_nothing_but_the_cipher() {
    is_passed_on_as_it_should_be(SUBSCRIBE, &subscribe(group()));
}

#[test]
fn what_is_subscribed_to_by_queue_is_copied_by_nothing_but_the_cipher() {
    is_passed_on_as_it_should_be(SUBSCRIBE, &subscribe(queue()));
}

/// Answers one call with this response, and looks for `buffer` in what is written.
async fn respond(
    listener: TcpListener,
    wire: Arc<Wire>,
    response: delivered::Outgoing,
    buffer: Range<usize>,
    seen: Arc<Seen>,
) {
    let (stream, _) = listener.accept().await.unwrap();
    let spy = Spy {
        stream,
        inside: Box::new(move |bytes: &[u8]| buffer.contains(&bytes.as_ptr().addr())),
        seen,
    };
    let builder = h2::server::Builder::new();
    let mut connection = builder.handshake::<_, Rope>(spy).await.unwrap();
    let (_request, mut answer) = connection.accept().await.unwrap().unwrap();
    let driving = tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let stream = answer
        .send_response(http::Response::new(()), false)
        .unwrap();
    let (sender, responses) = responses::channel();
    sender.room().await.unwrap().send(response);
    drop(sender);
    let patience = Patience {
        pin: LIMIT,
        unread: LIMIT,
    };
    let body = Body::Subscribe(responses);
    let sent = Outgoing::new(stream, body, patience, wire).send().await;
    // The client has what it wants, and goes away.
    drop((sent, driving.await));
}

/// From the buffer into which small bodies are packed nothing is copied once more.
#[test]
fn what_is_packed_leaves_from_the_buffer_that_it_was_packed_into() {
    let (_dir, broker) = broker();
    store(&broker, SMALL - 1);
    let messages = broker.store.read_many(TOPIC, 0, 0, MESSAGES).unwrap();
    let items = messages
        .into_iter()
        .map(|message| (Delivered::default(), message));
    let response = delivered::Outgoing::deliveries(&broker, items.collect(), None);
    let delivered::Outgoing::Rope(rope) = &response else {
        panic!("our own encoding");
    };
    let pieces: Vec<Bytes> = rope.pieces().cloned().collect();
    assert_eq!(pieces.len(), 1, "one buffer for all of them");
    let (start, len) = (pieces[0].as_ptr().addr(), pieces[0].len());
    let seen = Arc::<Seen>::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let buffer = start..start + len;
        let wire = broker.wire.clone();
        let serving = tokio::spawn(respond(listener, wire, response, buffer, seen.clone()));
        let stream = TcpStream::connect(address).await.unwrap();
        let all = async {
            ask(stream, SUBSCRIBE, Vec::new()).await;
            serving.await.unwrap();
        };
        timeout(LIMIT, all).await.expect("an answer");
    });
    let copied = len - seen.inside.load(Ordering::Relaxed);
    assert!(copied <= COPIED, "{copied} of {len} bytes");
}
