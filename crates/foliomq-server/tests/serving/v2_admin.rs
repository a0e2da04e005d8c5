//! The protocol's own administration.

use foliomq_proto::v2::admin_client::AdminClient;
use foliomq_proto::v2::list_message_request::SearchKey;
use foliomq_proto::v2::{
    AdminSendMessageRequest, Code, DescribeGroupAccumulationRequest, DescribeTopicStatusRequest,
    ListMessageRequest, ResetGroupOffsetRequest, VerifyMessageRequest,
};

use crate::broker::{Broker, of, poll, resource};

#[tokio::test]
async fn a_test_message_is_sent_found_counted_and_read_again() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut admin = AdminClient::new(broker.channel().await);
    let send = AdminSendMessageRequest {
        topic: Some(resource("t")),
        key: Some("k".to_owned()),
        body: b"hello".to_vec(),
        ..AdminSendMessageRequest::default()
    };
    let sent = admin.admin_send_message(send).await.unwrap().into_inner();
    assert_eq!(sent.status.unwrap().code(), Code::Ok);
    assert_eq!(sent.message_id.len(), 34);
    for key in [
        SearchKey::MessageId(sent.message_id.clone()),
        SearchKey::MessageKey("k".into()),
    ] {
        let query = ListMessageRequest {
            topic: Some(resource("t")),
            search_key: Some(key),
            ..ListMessageRequest::default()
        };
        let found = admin
            .query_message(query)
            .await
            .unwrap()
            .into_inner()
            .messages;
        assert_eq!((found.len(), &found[0].body[..]), (1, &b"hello"[..]));
    }

    let mut client = broker.client().await;
    let mut stream = client
        .receive_message(of("c", "JAVA", poll("t", 5)))
        .await
        .unwrap()
        .into_inner();
    while stream.message().await.unwrap().is_some() {}
    let count = DescribeGroupAccumulationRequest {
        group: Some(resource("readers")),
        topics: vec![resource("t")],
        ..DescribeGroupAccumulationRequest::default()
    };
    let before = admin
        .describe_group_accumulation(count.clone())
        .await
        .unwrap()
        .into_inner();
    let all = before.accumulation.unwrap();
    assert_eq!(
        (all.inflight_messages, all.ready_messages, all.accumulation),
        (1, 0, 1)
    );
    let reset = ResetGroupOffsetRequest {
        group: Some(resource("readers")),
        topic: Some(resource("t")),
        reset_timestamp: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        }),
        ..ResetGroupOffsetRequest::default()
    };
    let reset = admin.reset_group_offset(reset).await.unwrap().into_inner();
    assert_eq!(reset.status.unwrap().code(), Code::Ok);
    let after = admin
        .describe_group_accumulation(count)
        .await
        .unwrap()
        .into_inner();
    let of_topic = &after.topic_accumulation["t"];
    assert_eq!(
        (of_topic.inflight_messages, of_topic.ready_messages),
        (0, 1)
    );
}

#[tokio::test]
async fn what_is_not_there_has_its_code() {
    let broker = Broker::start().await;
    let mut admin = AdminClient::new(broker.channel().await);
    let topic = DescribeTopicStatusRequest {
        topic: Some(resource("nothing")),
        ..DescribeTopicStatusRequest::default()
    };
    let answer = admin
        .describe_topic_status(topic)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::TopicNotFound);
    let group = DescribeGroupAccumulationRequest {
        group: Some(resource("nobody")),
        ..DescribeGroupAccumulationRequest::default()
    };
    let answer = admin
        .describe_group_accumulation(group)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::ConsumerGroupNotFound);
    let verify = VerifyMessageRequest::default();
    let answer = admin.verify_message(verify).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::Unsupported);
}
