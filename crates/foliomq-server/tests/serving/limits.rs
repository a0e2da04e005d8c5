//! What a client may make the broker remember.

use foliomq_proto::v2::{AckMessageEntry, AckMessageRequest, Code, HeartbeatRequest};

use crate::broker::{Broker, of, publish, resource};

#[tokio::test]
async fn requests_that_do_not_fit_together_are_refused_and_the_next_one_is_not() {
    let broker = Broker::start_with(|config| config.max_request_bytes = 100_000).await;
    let mut client = broker.client().await;
    let mut send = async |size| {
        let sent = client.send_message(of("c", "JAVA", publish("t", 1, size)));
        sent.await
            .map(|sent| sent.into_inner().status.unwrap().code)
    };
    assert_eq!(send(90_000).await.unwrap(), Code::Ok as i32);
    let refused = send(100_000).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.message().contains("max-request-bytes"), "{refused}");
    assert_eq!(send(90_000).await.unwrap(), Code::Ok as i32);
}

#[tokio::test]
async fn only_messages_make_a_large_request() {
    let broker = Broker::start().await;
    let mut client = broker.client().await;
    let sent = client.send_message(of("c", "JAVA", publish("t", 1, 4 << 20)));
    let status = sent.await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code, Code::Ok as i32, "{}", status.message);
    let ack = AckMessageRequest {
        group: Some(resource("g")),
        topic: Some(resource("t")),
        entries: vec![AckMessageEntry {
            receipt_handle: "x".repeat(2 << 20),
            ..AckMessageEntry::default()
        }],
    };
    assert!(client.ack_message(of("c", "JAVA", ack)).await.is_err());
}

#[tokio::test]
async fn a_client_id_is_no_longer_than_one_that_is_remembered() {
    let broker = Broker::start().await;
    let mut client = broker.client().await;
    for (len, code) in [(1024, Code::Ok), (1025, Code::BadRequest)] {
        let beat = of(&"c".repeat(len), "JAVA", HeartbeatRequest::default());
        let status = client.heartbeat(beat).await.unwrap().into_inner().status;
        assert_eq!(status.unwrap().code, code as i32);
    }
}

#[tokio::test]
async fn names_that_clients_think_up_make_no_topics_without_end() {
    let broker = Broker::start_with(|config| config.max_topics = 2).await;
    let mut client = broker.client().await;
    let expected = [
        ("a", Code::Ok),
        ("b", Code::Ok),
        ("c", Code::TooManyRequests),
        ("a", Code::Ok),
    ];
    for (topic, code) in expected {
        let sent = client.send_message(of("c", "JAVA", publish(topic, 1, 9)));
        let status = sent.await.unwrap().into_inner().status.unwrap();
        assert_eq!(status.code, code as i32, "{topic}: {}", status.message);
    }
}
