//! Clients that go away: what was on its way to them reaches others.

use std::collections::BTreeSet;

use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    ChangeInvisibleDurationRequest, Code, Message, NotifyClientTerminationRequest,
};
use tokio::time::timeout;

use crate::broker::{Broker, Client, LIMIT, of, poll, publish, resource};

/// The code and the messages of one receive.
async fn receive(client: &mut Client, id: &str, topic: &str, seconds: i64) -> (i32, Vec<Message>) {
    let response = client.receive_message(of(id, "JAVA", poll(topic, seconds)));
    let mut stream = response.await.unwrap().into_inner();
    let (mut code, mut messages) = (0, Vec::new());
    while let Some(response) = stream.message().await.unwrap() {
        match response.content.unwrap() {
            Content::Status(status) => code = status.code,
            Content::Message(message) => messages.push(message),
            Content::DeliveryTimestamp(_) => {}
        }
    }
    (code, messages)
}

#[tokio::test]
async fn what_a_client_left_half_read_goes_to_another() {
    let broker = Broker::start().await;
    let mut producer = broker.client().await;
    for id in 0..8 {
        let sent = producer.send_message(of("p", "JAVA", publish("half", id, 1 << 20)));
        assert_eq!(
            sent.await.unwrap().into_inner().status.unwrap().code,
            Code::Ok as i32
        );
    }
    let mut leaving = broker.client().await;
    let response = leaving.receive_message(of("leaving", "JAVA", poll("half", 0)));
    let mut stream = response.await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().content;
    assert!(matches!(first, Some(Content::Status(_))));
    // It goes away with 8 MiB on their way, of which the windows hold a small part.
    drop((stream, leaving));

    let mut staying = broker.client().await;
    let mut seen = BTreeSet::new();
    let all = async {
        while seen.len() < 7 {
            let (_, messages) = receive(&mut staying, "staying", "half", 1).await;
            for message in messages {
                let system = message.system_properties.unwrap();
                assert_eq!(
                    system.delivery_attempt,
                    Some(1),
                    "the lost delivery does not count"
                );
                seen.insert(system.message_id);
            }
        }
    };
    timeout(LIMIT, all)
        .await
        .expect("given back long before the invisible time is over");
}

#[tokio::test]
async fn a_termination_ends_the_client_s_polls() {
    let broker = Broker::start().await;
    let (mut client, mut same) = (broker.client().await, broker.client().await);
    let ends = async {
        loop {
            // Again and again: the first may come before the poll.
            let end = NotifyClientTerminationRequest { group: None };
            let ended = same
                .notify_client_termination(of("ending", "JAVA", end))
                .await;
            assert_eq!(
                ended.unwrap().into_inner().status.unwrap().code,
                Code::Ok as i32
            );
            tokio::task::yield_now().await;
        }
    };
    let polls = async {
        tokio::select! {
            answer = receive(&mut client, "ending", "silent", 20) => answer,
            () = ends => unreachable!(),
        }
    };
    let (code, _) = timeout(LIMIT, polls)
        .await
        .expect("long before the poll is over");
    assert_eq!(code, Code::MessageNotFound as i32);
}

#[tokio::test]
async fn a_refused_change_gives_the_handle_back() {
    let broker = Broker::start().await;
    let request = ChangeInvisibleDurationRequest {
        group: Some(resource("readers")),
        topic: Some(resource("t")),
        receipt_handle: "forged".to_owned(),
        invisible_duration: Some(prost_types::Duration {
            seconds: 10,
            nanos: 0,
        }),
        ..ChangeInvisibleDurationRequest::default()
    };
    let mut client = broker.client().await;
    let changed = client
        .change_invisible_duration(of("c", "PYTHON", request))
        .await;
    let changed = changed.unwrap().into_inner();
    assert_eq!(
        changed.status.unwrap().code,
        Code::InvalidReceiptHandle as i32
    );
    assert_eq!(changed.receipt_handle, "forged");
}
