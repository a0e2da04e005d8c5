//! Clients that stop reading: they keep little, not for long, and hold up nobody.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v1::messaging_client::MessagingClient;
use foliomq_proto::v1::{
    DescribeBrokerRequest, GroupSource, Open, SubscribeRequest, open::From,
    subscribe_request::Request,
};
use foliomq_proto::v2::Code;
use h2::client::{Builder, SendRequest};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::broker::{Broker, LIMIT, of, poll, publish};

const SIZE: usize = 100 << 10;

/// For how long pages are kept, and for how long anything is.
type Ages = (Duration, Duration);

/// Longer than a test.
const NEVER: Duration = Duration::from_secs(3600);
/// Both pass.
const SHORT: Ages = (Duration::from_millis(300), Duration::from_millis(1500));

async fn broker((pin_age, unread_age): Ages, messages: usize, size: usize) -> Broker {
    let broker = Broker::start_with(|config| {
        config.pin_age = pin_age;
        config.unread_age = unread_age;
    })
    .await;
    let mut client = broker.client().await;
    for id in 0..messages {
        let sent = client.send_message(of("c", "JAVA", publish("t", id, size)));
        let status = sent.await.unwrap().into_inner().status.unwrap();
        assert_eq!(status.code, Code::Ok as i32, "{}", status.message);
    }
    broker
}

/// Bytes that wait for readers, and those of them that are pages of the log.
async fn waiting(broker: &Broker) -> (u64, u64) {
    let mut admin = AdminClient::new(broker.channel().await);
    let described = admin.describe_broker(DescribeBrokerRequest {}).await;
    let described = described.unwrap().into_inner();
    (described.unread_bytes, described.pinned_bytes)
}

async fn until(broker: &Broker, what: &str, holds: impl Fn((u64, u64)) -> bool) {
    let looking = async {
        while !holds(waiting(broker).await) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(LIMIT, looking).await;
    assert!(found.is_ok(), "never {what}: {:?}", waiting(broker).await);
}

fn open() -> SubscribeRequest {
    let group = GroupSource {
        group: "readers".into(),
        topics: vec!["t".into()],
        invisible: None,
    };
    SubscribeRequest {
        request: Some(Request::Open(Open {
            from: Some(From::Group(group)),
            credit: 1000,
            ..Open::default()
        })),
    }
}

fn framed(message: &impl prost::Message) -> Bytes {
    let mut frame = vec![0];
    frame.extend((message.encoded_len() as u32).to_be_bytes());
    frame.extend(message.encode_to_vec());
    frame.into()
}

/// A call that goes on: its answer, of which nothing is read, and its side that stays open.
async fn call(
    requests: &mut SendRequest<Bytes>,
    path: &str,
    message: Bytes,
) -> (h2::RecvStream, h2::SendStream<Bytes>) {
    poll_fn(|context| requests.poll_ready(context))
        .await
        .unwrap();
    let request = http::Request::post(format!("http://broker{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-mq-client-id", "raw");
    let (response, mut stream) = requests
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    stream.send_data(message, path.contains("Receive")).unwrap();
    (response.await.unwrap().into_body(), stream)
}

const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";

/// Takes messages of the group until `wanted` have come, and returns their first bytes.
async fn take(broker: &Broker, wanted: usize) -> BTreeSet<u8> {
    let (requests, stream) = mpsc::channel(1);
    requests.send(open()).await.unwrap();
    let mut client = MessagingClient::new(broker.channel().await);
    let opened = client.subscribe(ReceiverStream::new(stream)).await;
    let (mut responses, mut seen) = (opened.unwrap().into_inner(), BTreeSet::new());
    let taking = async {
        while seen.len() < wanted {
            for delivered in responses.message().await.unwrap().unwrap().deliveries {
                assert_eq!(delivered.attempt, 1, "what nobody got does not count");
                seen.insert(delivered.message.unwrap().body[0]);
            }
        }
    };
    timeout(LIMIT, taking)
        .await
        .expect("the others come at once");
    seen
}

/// A connection whose streams hold 64 KiB of a message of 100 KiB; it has room for others.
async fn narrow(broker: &Broker) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(broker.address).await.unwrap();
    let handshake = Builder::new()
        .initial_connection_window_size(8 << 20)
        .handshake::<_, Bytes>(socket);
    let (requests, connection) = handshake.await.unwrap();
    (requests, tokio::spawn(connection))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_window_keeps_few_pages_and_then_copies() {
    let broker = broker((NEVER, NEVER), 40, SIZE).await;
    let (mut requests, _connection) = narrow(&broker).await;
    let _one = call(&mut requests, SUBSCRIBE, framed(&open())).await;
    let _two = call(&mut requests, SUBSCRIBE, framed(&open())).await;
    until(&broker, "pages kept", |(_, pinned)| pinned > 0).await;
    // Whatever it does not read: two streams, each with a message under way and two responses behind it.
    let (unread, pinned) = waiting(&broker).await;
    assert!(pinned <= unread && unread < 16 * SIZE as u64, "{unread}");

    let broker = self::broker((Duration::from_millis(1), NEVER), 40, SIZE).await;
    let (mut requests, _connection) = narrow(&broker).await;
    let _one = call(&mut requests, SUBSCRIBE, framed(&open())).await;
    until(&broker, "copies only", |(unread, pinned)| {
        unread > 0 && pinned == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_window_keeps_nothing_in_the_end_and_the_group_gets_all() {
    let broker = broker(SHORT, 40, SIZE).await;
    let (mut requests, connection) = narrow(&broker).await;
    let (mut one, _one) = call(&mut requests, SUBSCRIBE, framed(&open())).await;
    let (_two, _other) = call(&mut requests, SUBSCRIBE, framed(&open())).await;
    // The stream is reset, and only the stream.
    let mut end = None;
    while let Some(data) = one.data().await {
        if let Err(error) = data {
            end = error.reason();
            break;
        }
    }
    assert_eq!(end, Some(h2::Reason::CANCEL));
    assert!(!connection.is_finished(), "the connection goes on");
    until(&broker, "nothing", |(unread, pinned)| {
        (unread, pinned) == (0, 0)
    })
    .await;
    assert_eq!(take(&broker, 40).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_is_not_read_gives_back_what_was_not_under_way() {
    let broker = broker(SHORT, 16, SIZE).await;
    let socket = TcpStream::connect(broker.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let receive = "/apache.rocketmq.v2.MessagingService/ReceiveMessage";
    let (_unread, _stream) = call(&mut requests, receive, framed(&poll("t", 0))).await;
    assert_eq!(take(&broker, 16).await.len(), 16);
    until(&broker, "nothing", |(unread, pinned)| {
        (unread, pinned) == (0, 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_not_read_is_closed_and_others_go_on() {
    let broker = broker(SHORT, 48, 1 << 20).await;
    let socket = TcpStream::connect(broker.address).await.unwrap();
    let handshake = Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, Bytes>(socket);
    let (mut requests, connection) = handshake.await.unwrap();
    let mut connection = Box::pin(connection);
    {
        // Until the answer begins; from then on nobody looks at the socket.
        let calling = call(&mut requests, SUBSCRIBE, framed(&open()));
        tokio::select! {
            _ = &mut connection => panic!("the connection ended"),
            called = calling => std::mem::forget(called),
        }
    }
    // The socket's own buffers have taken some; most are there for another.
    assert!(take(&broker, 24).await.len() >= 24);
    until(&broker, "nothing", |(unread, pinned)| {
        (unread, pinned) == (0, 0)
    })
    .await;
    drop(connection);
}
