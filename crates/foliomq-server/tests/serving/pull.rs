//! Pulling by offset, and a group's offsets.

use std::time::Instant;

use foliomq_proto::v2::pull_message_response::Content;
use foliomq_proto::v2::{
    Code, FilterExpression, FilterType, GetOffsetRequest, Message, MessageQueue,
    PullMessageRequest, QueryOffsetPolicy, QueryOffsetRequest, SendMessageRequest,
    SystemProperties, UpdateOffsetRequest,
};

use crate::broker::{Broker, Client, of, poll, resource};

const ALL: i32 = 1000;

fn queue(id: i32) -> Option<MessageQueue> {
    Some(MessageQueue {
        topic: Some(resource("t")),
        id,
        ..MessageQueue::default()
    })
}

fn pull(offset: i64, expression: &str) -> PullMessageRequest {
    PullMessageRequest {
        group: Some(resource("readers")),
        message_queue: queue(0),
        offset,
        batch_size: ALL,
        filter_expression: Some(FilterExpression {
            r#type: FilterType::Sql.into(),
            expression: expression.to_owned(),
        }),
        long_polling_timeout: Some(prost_types::Duration::default()),
    }
}

/// Messages with the properties `n` = 0.. in one queue of topic `t`, in one request so that they share it.
async fn publish(broker: &Broker, client: &mut Client, count: usize) {
    let message = |n: usize| Message {
        topic: Some(resource("t")),
        user_properties: [("n".to_owned(), n.to_string())].into(),
        system_properties: Some(SystemProperties {
            message_id: format!("id-{n}"),
            ..SystemProperties::default()
        }),
        body: format!("body {n}").into(),
    };
    let messages = (0..count).map(message).collect();
    let sent = client.send_message(of("p", "JAVA", SendMessageRequest { messages }));
    let status = sent.await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code, Code::Ok as i32, "{}", status.message);
    loop {
        let arrival = broker.store.listen("t").unwrap();
        if broker.store.offsets("t", 0).unwrap().end == count as u64 {
            return;
        }
        arrival.await;
    }
}

/// A broker with one topic of one queue.
async fn broker() -> (Broker, Client) {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let client = broker.client().await;
    (broker, client)
}

/// The answer's code, messages and next offset, which must come in this order.
async fn pulled(
    client: &mut Client,
    request: PullMessageRequest,
) -> (Code, Vec<Message>, Option<i64>) {
    let mut stream = client
        .pull_message(of("c", "JAVA", request))
        .await
        .unwrap()
        .into_inner();
    let mut contents = Vec::new();
    while let Some(part) = stream.message().await.unwrap() {
        contents.push(part.content.unwrap());
    }
    let Content::Status(status) = contents.remove(0) else {
        panic!("{contents:?}")
    };
    let next = match contents.last() {
        Some(&Content::NextOffset(next)) => contents.pop().map(|_| next),
        _ => None,
    };
    let message = |content| match content {
        Content::Message(message) => message,
        other => panic!("{other:?}"),
    };
    (
        status.code(),
        contents.into_iter().map(message).collect(),
        next,
    )
}

#[tokio::test]
async fn everybody_who_pulls_gets_everything() {
    let (broker, mut client) = broker().await;
    publish(&broker, &mut client, 40).await;
    for _consumer in 0..2 {
        let (code, first, next) = pulled(&mut client, pull(0, "TRUE")).await;
        assert_eq!((code, first.len(), next), (Code::Ok, 32, Some(32)));
        let (_, second, next) = pulled(&mut client, pull(32, "TRUE")).await;
        assert_eq!((second.len(), next), (8, Some(40)));
        let bodies: Vec<_> = first
            .iter()
            .chain(&second)
            .map(|m| m.body.clone())
            .collect();
        let expected: Vec<_> = (0..40).map(|n| format!("body {n}").into_bytes()).collect();
        assert_eq!(bodies, expected);
        let system = second[7].system_properties.clone().unwrap();
        assert_eq!(
            (system.message_id.as_str(), system.queue_offset),
            ("id-39", Some(39))
        );
        assert!(system.body_digest.is_some() && system.store_timestamp.is_some());
        assert_eq!(
            (system.receipt_handle, system.delivery_attempt),
            (None, None)
        );
    }
}

#[tokio::test]
async fn a_filter_passes_over_what_it_does_not_want() {
    let (broker, mut client) = broker().await;
    publish(&broker, &mut client, 40).await;
    let (code, found, next) = pulled(&mut client, pull(5, "n IN ('3', '7', '39')")).await;
    assert_eq!((code, found.len(), next), (Code::Ok, 2, Some(40)));
    let (code, found, next) = pulled(&mut client, pull(0, "n > 40")).await;
    assert_eq!(
        (code, found.len(), next),
        (Code::MessageNotFound, 0, Some(40))
    );
    let (code, ..) = pulled(&mut client, pull(0, "n >")).await;
    assert_eq!(code, Code::IllegalFilterExpression);
}

#[tokio::test]
async fn an_offset_that_is_not_there_is_answered_with_the_nearest() {
    let (broker, mut client) = broker().await;
    publish(&broker, &mut client, 3).await;
    for (offset, nearest) in [(-1, 0), (4, 3), (i64::MIN, 0), (i64::MAX, 3)] {
        let (code, found, next) = pulled(&mut client, pull(offset, "TRUE")).await;
        assert_eq!(
            (code, found.len(), next),
            (Code::IllegalOffset, 0, Some(nearest))
        );
    }
    let (code, ..) = pulled(
        &mut client,
        PullMessageRequest {
            message_queue: queue(1),
            ..pull(0, "TRUE")
        },
    )
    .await;
    assert_eq!(code, Code::BadRequest);
}

#[tokio::test]
async fn a_pull_at_the_end_waits_for_the_next_message() {
    let (broker, mut client) = broker().await;
    let mut waiting = broker.client().await;
    let request = PullMessageRequest {
        long_polling_timeout: Some(prost_types::Duration {
            seconds: 20,
            nanos: 0,
        }),
        ..pull(0, "TRUE")
    };
    let started = Instant::now();
    let (answer, ()) = tokio::join!(pulled(&mut waiting, request), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        publish(&broker, &mut client, 1).await;
    });
    assert_eq!((answer.0, answer.1.len(), answer.2), (Code::Ok, 1, Some(1)));
    assert!(
        started.elapsed() < crate::broker::LIMIT,
        "it did not wait for the time to be over"
    );
}

#[tokio::test]
async fn offsets_of_a_group_are_set_and_found_and_receives_follow_them() {
    let (broker, mut client) = broker().await;
    publish(&broker, &mut client, 10).await;
    let get = GetOffsetRequest {
        group: Some(resource("readers")),
        message_queue: queue(0),
    };
    let set = |offset| UpdateOffsetRequest {
        group: Some(resource("readers")),
        message_queue: queue(0),
        offset,
    };
    let answer = client
        .get_offset(of("c", "JAVA", get.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::OffsetNotFound);
    for (offset, code) in [
        (7, Code::Ok),
        (11, Code::IllegalOffset),
        (-1, Code::IllegalOffset),
    ] {
        let answer = client
            .update_offset(of("c", "JAVA", set(offset)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.status.unwrap().code(), code, "{offset}");
    }
    let answer = client
        .get_offset(of("c", "JAVA", get))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (answer.status.unwrap().code(), answer.offset),
        (Code::Ok, 7)
    );
    let mut stream = client
        .receive_message(of("c", "JAVA", poll("t", 5)))
        .await
        .unwrap()
        .into_inner();
    let mut parts = 0;
    while stream.message().await.unwrap().is_some() {
        parts += 1;
    }
    assert_eq!(parts, 5, "status, the messages 7, 8 and 9, and the time");
}

#[tokio::test]
async fn bounds_of_a_queue() {
    let (broker, mut client) = broker().await;
    publish(&broker, &mut client, 10).await;
    let mut ask = async |policy: i32, seconds: Option<i64>| {
        let request = QueryOffsetRequest {
            message_queue: queue(0),
            query_offset_policy: policy,
            timestamp: seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        };
        let answer = client
            .query_offset(of("c", "JAVA", request))
            .await
            .unwrap()
            .into_inner();
        (answer.status.unwrap().code(), answer.offset)
    };
    assert_eq!(
        ask(QueryOffsetPolicy::Beginning as i32, None).await,
        (Code::Ok, 0)
    );
    assert_eq!(
        ask(QueryOffsetPolicy::End as i32, None).await,
        (Code::Ok, 10)
    );
    let time = QueryOffsetPolicy::Timestamp as i32;
    assert_eq!(ask(time, Some(1)).await, (Code::Ok, 0));
    assert_eq!(ask(time, Some(1 << 40)).await, (Code::Ok, 10));
    assert_eq!(ask(time, None).await.0, Code::BadRequest);
    assert_eq!(ask(77, None).await.0, Code::BadRequest);
}
