//! The protocol's own administration.

use std::time::Duration;

use foliomq_proto::v2::admin_client::AdminClient;
use foliomq_proto::v2::list_message_request::SearchKey;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    AdminSendMessageRequest, ClientType, Code, DeleteSubscriptionRequest,
    DescribeGroupAccumulationRequest, DescribeTopicStatusRequest, GetProxyRuntimeStatsRequest,
    GetTopicRouteRequest, HeartbeatRequest, ListMessageRequest, NotifyClientTerminationRequest,
    PrintThreadStackTraceRequest, QueryTimeSpanRequest, ResetGroupOffsetRequest, Settings, Status,
    Subscription, TelemetryCommand, ThreadStackTrace, VerifyMessageRequest, VerifyMessageResult,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::broker::{Broker, LIMIT, of, poll, publish, resource};

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
    // The delay is in milliseconds: there is to be some.
    tokio::time::sleep(Duration::from_millis(5)).await;
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
    let delay = all.deliver_delay_time.unwrap();
    assert!(delay.seconds > 0 || delay.nanos > 0, "{delay:?}");
    assert_eq!(all.last_consume_timestamp, 0, "nothing is done");
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
    let trace = PrintThreadStackTraceRequest {
        client_id: "nobody".into(),
        ..PrintThreadStackTraceRequest::default()
    };
    let answer = admin.print_thread_stack_trace(trace).await.unwrap();
    assert_eq!(answer.into_inner().status.unwrap().code(), Code::NotFound);
}

/// A consumer of `readers` whose telemetry is open, and the commands that it gets after its settings.
async fn consumer(
    broker: &Broker,
) -> (mpsc::Sender<TelemetryCommand>, Streaming<TelemetryCommand>) {
    let (commands, outgoing) = mpsc::channel(4);
    let mut client = broker.client().await;
    let stream = client.telemetry(of("c", "JAVA", ReceiverStream::new(outgoing)));
    let mut stream = stream.await.unwrap().into_inner();
    let settings = Settings {
        client_type: Some(ClientType::PushConsumer.into()),
        pub_sub: Some(PubSub::Subscription(Subscription {
            group: Some(resource("readers")),
            ..Subscription::default()
        })),
        ..Settings::default()
    };
    say(&commands, None, Command::Settings(settings)).await;
    stream.message().await.unwrap().unwrap();
    (commands, stream)
}

async fn say(commands: &mpsc::Sender<TelemetryCommand>, code: Option<Code>, command: Command) {
    let status = code.map(|code| Status {
        code: code.into(),
        message: String::new(),
    });
    let command = Some(command);
    commands
        .send(TelemetryCommand { status, command })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_is_asked_and_its_answer_is_the_operators() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut admin = AdminClient::new(broker.channel().await);
    let send = AdminSendMessageRequest {
        topic: Some(resource("t")),
        body: b"try me".to_vec(),
        ..AdminSendMessageRequest::default()
    };
    let sent = admin.admin_send_message(send).await.unwrap().into_inner();
    let (commands, mut stream) = consumer(&broker).await;
    let verify = VerifyMessageRequest {
        client_id: "c".into(),
        group: Some(resource("readers")),
        topic: Some(resource("t")),
        message_id: sent.message_id,
        ..VerifyMessageRequest::default()
    };
    let mut other = admin.clone();
    let asked = tokio::spawn(async move { other.verify_message(verify).await });
    let question = stream.message().await.unwrap().unwrap().command;
    let Some(Command::VerifyMessageCommand(question)) = question else {
        panic!("{question:?}");
    };
    assert_eq!(question.message.unwrap().body, &b"try me"[..]);
    // Not the answer to this question.
    let made_up = VerifyMessageResult { nonce: "1".into() };
    let made_up = Command::VerifyMessageResult(made_up);
    say(&commands, Some(Code::Ok), made_up).await;
    let nonce = question.nonce;
    let result = Command::VerifyMessageResult(VerifyMessageResult { nonce });
    say(&commands, Some(Code::FailedToConsumeMessage), result).await;
    let status = asked.await.unwrap().unwrap().into_inner().status.unwrap();
    assert_eq!(status.code(), Code::FailedToConsumeMessage);

    let trace = PrintThreadStackTraceRequest {
        client_id: "c".into(),
        ..PrintThreadStackTraceRequest::default()
    };
    let mut other = admin.clone();
    let asked = tokio::spawn(async move { other.print_thread_stack_trace(trace).await });
    let question = stream.message().await.unwrap().unwrap().command;
    let Some(Command::PrintThreadStackTraceCommand(question)) = question else {
        panic!("{question:?}");
    };
    let trace = ThreadStackTrace {
        nonce: question.nonce,
        thread_stack_trace: Some("main: waits".into()),
    };
    say(&commands, Some(Code::Ok), Command::ThreadStackTrace(trace)).await;
    let answer = asked.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.thread_stack_trace.unwrap(), "main: waits");

    let stats = GetProxyRuntimeStatsRequest {};
    let stats = admin.get_proxy_runtime_stats(stats).await.unwrap();
    let stats = stats.into_inner();
    assert_eq!((stats.producers, stats.consumers), (0, 1));
}

#[tokio::test]
async fn what_comes_and_goes_has_a_rate_and_a_topic_its_permission() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let (mut client, mut admin) = (
        broker.client().await,
        AdminClient::new(broker.channel().await),
    );
    client
        .send_message(of("p", "JAVA", publish("t", 1, 9)))
        .await
        .unwrap();
    let answer = client.receive_message(of("c", "JAVA", poll("t", 5)));
    let mut answer = answer.await.unwrap().into_inner();
    while answer.message().await.unwrap().is_some() {}
    let rates = async {
        loop {
            let stats = admin.get_proxy_runtime_stats(GetProxyRuntimeStatsRequest {});
            let stats = stats.await.unwrap().into_inner();
            if stats.in_tps > 0.0 && stats.out_tps > 0.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, rates).await.expect("rates");
    let topic = DescribeTopicStatusRequest {
        topic: Some(resource("t")),
        ..DescribeTopicStatusRequest::default()
    };
    let status = admin.describe_topic_status(topic).await.unwrap();
    let tags = status.into_inner().tags;
    assert_eq!(
        (&*tags["queues"], &*tags["permission"]),
        ("1", "READ_WRITE")
    );
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let broker = Broker::start().await;
    let mut admin = AdminClient::new(broker.channel().await);
    let (_commands, _stream) = consumer(&broker).await;
    let trace = PrintThreadStackTraceRequest {
        client_id: "c".into(),
        ..PrintThreadStackTraceRequest::default()
    };
    let answer = admin.print_thread_stack_trace(trace).await.unwrap();
    let status = answer.into_inner().status.unwrap();
    assert_eq!(status.code(), Code::RequestTimeout);
}

#[tokio::test]
async fn times_of_a_groups_queues() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut admin = AdminClient::new(broker.channel().await);
    let spans = QueryTimeSpanRequest {
        group: Some(resource("readers")),
        ..QueryTimeSpanRequest::default()
    };
    let none = admin.query_time_span(spans.clone()).await.unwrap();
    let status = none.into_inner().status.unwrap();
    assert_eq!(status.code(), Code::ConsumerGroupNotFound);
    let send = AdminSendMessageRequest {
        topic: Some(resource("t")),
        body: b"x".to_vec(),
        ..AdminSendMessageRequest::default()
    };
    admin.admin_send_message(send).await.unwrap();
    let poll = of("c", "JAVA", poll("t", 5));
    let mut client = broker.client().await;
    let mut stream = client.receive_message(poll).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    let spans = admin.query_time_span(spans).await.unwrap().into_inner();
    let [span] = &spans.queue_time_span_list[..] else {
        panic!("{spans:?}");
    };
    assert!(span.min_timestamp > 0 && span.min_timestamp == span.max_timestamp);
    assert_eq!(span.consume_timestamp, 0, "nothing is done");
}

#[tokio::test]
async fn messages_are_listed_by_pages_with_numbers() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2);
    let mut client = broker.client().await;
    for id in 0..7 {
        client
            .send_message(of("c", "JAVA", publish("t", id, 4)))
            .await
            .unwrap();
    }
    broker.store.catch_up();
    let mut admin = AdminClient::new(broker.channel().await);
    let mut page = async |number, key| {
        let query = ListMessageRequest {
            topic: Some(resource("t")),
            page_num: Some(number),
            page_size: Some(3),
            search_key: key,
            ..ListMessageRequest::default()
        };
        let answer = admin.query_message(query).await.unwrap().into_inner();
        assert_eq!(answer.status.unwrap().code(), Code::Ok);
        let ids = answer.messages.into_iter();
        let ids = ids.map(|message| message.system_properties.unwrap().message_id);
        ids.collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for (number, count) in [(1, 3), (2, 3), (3, 1), (4, 0), (i32::MAX, 0)] {
        let found = page(number, None).await;
        assert_eq!(found.len(), count, "{number}: {found:?}");
        all.extend(found);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 7);
    let id = || Some(SearchKey::MessageId("id-3".to_owned()));
    assert_eq!(page(1, id()).await, ["id-3"]);
    assert!(page(2, id()).await.is_empty());
}

#[tokio::test]
async fn a_route_is_told_in_the_words_of_the_older_protocol() {
    let broker = Broker::start().await;
    broker.create_topic("t", 3);
    let read = |topic: &mut foliomq_store::Topic| {
        topic.settings.permission = foliomq_store::Permission::Read;
    };
    broker.store.update_topic("t", read).unwrap();
    let mut admin = AdminClient::new(broker.channel().await);
    let mut route = async |topic: &str| {
        let request = GetTopicRouteRequest {
            topic: Some(resource(topic)),
            ..GetTopicRouteRequest::default()
        };
        let answer = admin.get_topic_route(request).await.unwrap().into_inner();
        (answer.status.unwrap().code(), answer.topic_route_data)
    };
    let (code, data) = route("t").await;
    assert_eq!(code, Code::Ok);
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    let queues = &data["queueDatas"][0];
    assert_eq!(
        (&queues["readQueueNums"], &queues["perm"]),
        (&3.into(), &4.into())
    );
    let address = &data["brokerDatas"][0]["brokerAddrs"]["0"];
    assert_eq!(address, &broker.address.to_string());
    assert_eq!(route("nowhere").await.0, Code::TopicNotFound);
    assert!(broker.store.topic("nowhere").is_none());
}

#[tokio::test]
async fn a_subscription_is_deleted_once_its_consumers_are_gone() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    let sent = client.send_message(of("p", "JAVA", publish("t", 1, 4)));
    sent.await.unwrap();
    broker.store.catch_up();
    let mut received = async || {
        let poll = of("c", "JAVA", poll("t", 1));
        let mut stream = client.receive_message(poll).await.unwrap().into_inner();
        let mut messages = 0;
        while let Some(part) = stream.message().await.unwrap() {
            messages += usize::from(matches!(part.content, Some(Content::Message(_))));
        }
        messages
    };
    assert_eq!((received().await, received().await), (1, 0));
    let mut other = broker.client().await;
    let beat = HeartbeatRequest {
        group: Some(resource("readers")),
        ..HeartbeatRequest::default()
    };
    other.heartbeat(of("c", "JAVA", beat)).await.unwrap();
    let mut admin = AdminClient::new(broker.channel().await);
    let mut delete = async |group: &str| {
        let request = DeleteSubscriptionRequest {
            group: Some(resource(group)),
            topic: Some(resource("t")),
            ..DeleteSubscriptionRequest::default()
        };
        let answer = admin.delete_subscription(request).await.unwrap();
        answer.into_inner().status.unwrap()
    };
    let refused = delete("readers").await;
    assert_eq!(refused.code(), Code::BadRequest);
    assert!(refused.message.contains("such as c"), "{refused:?}");
    let end = NotifyClientTerminationRequest {
        group: Some(resource("readers")),
    };
    other
        .notify_client_termination(of("c", "JAVA", end))
        .await
        .unwrap();
    assert_eq!(delete("readers").await.code(), Code::Ok);
    assert_eq!(received().await, 1, "it begins anew");
    assert_eq!(delete("nobody").await.code(), Code::ConsumerGroupNotFound);
}
