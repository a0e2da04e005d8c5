//! A stop: what waits is answered, what is open ends.

use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{Code, HeartbeatRequest};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::broker::{Broker, LIMIT, of, poll, publish};

#[tokio::test]
async fn a_stop_waits_for_nobody_who_has_nothing_to_say() {
    let broker = Broker::start().await;
    let mut client = broker.client().await;
    let (_commands, outgoing) = mpsc::channel(1);
    let telemetry = client.telemetry(of("c", "JAVA", ReceiverStream::new(outgoing)));
    let mut telemetry = telemetry.await.unwrap().into_inner();
    let beat = client.heartbeat(of("c", "JAVA", HeartbeatRequest::default()));
    beat.await.unwrap();
    // Neither of these says what it is.
    let _silent = TcpStream::connect(broker.address).await.unwrap();
    let sent = client
        .send_message(of("c", "JAVA", publish("kept", 1, 9)))
        .await
        .unwrap();
    assert_eq!(sent.into_inner().status.unwrap().code, Code::Ok as i32);

    let mut poller = client.clone();
    let waiting = tokio::spawn(async move {
        let response = poller
            .receive_message(of("c", "JAVA", poll("silent", 20)))
            .await;
        let first = response
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .unwrap();
        match first.content {
            Some(Content::Status(status)) => status.code,
            other => panic!("{other:?}"),
        }
    });
    // The topic is there once the poll has begun.
    let begun = async {
        let mut admin = foliomq_proto::v1::admin_client::AdminClient::new(broker.channel().await);
        let asked = || foliomq_proto::v1::DescribeTopicRequest {
            topic: "silent".to_owned(),
        };
        while admin.describe_topic(asked()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, begun).await.unwrap();

    broker.stop.send(()).unwrap();
    let served = timeout(LIMIT, broker.served).await;
    served
        .expect("before the grace for calls under way is over")
        .unwrap();
    assert_eq!(waiting.await.unwrap(), Code::MessageNotFound as i32);
    assert_eq!(telemetry.message().await.unwrap(), None);
    assert!(
        TcpStream::connect(broker.address).await.is_err(),
        "nobody listens"
    );
}
