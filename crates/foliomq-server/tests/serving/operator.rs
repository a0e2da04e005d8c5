//! What an operator asks: who is connected, what a consumer is known to do, lite topics, pages of messages, the log.

use std::sync::Mutex;

use foliomq_proto::v1::admin_client::AdminClient as NativeAdmin;
use foliomq_proto::v1::{ChangeLogRequest, DescribeClientRequest, ListClientsRequest};
use foliomq_proto::v2::admin_client::AdminClient;
use foliomq_proto::v2::change_log_level_request::Level;
use foliomq_proto::v2::list_message_request::SearchKey;
use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    ChangeLogLevelRequest, ClientType, Code, DescribeGroupAccumulationRequest, FilterExpression,
    GetConsumerRunningInfoRequest, ListConsumerConnectionRequest, ListMessageRequest,
    ListSubscriptionRequest, LiteSubscriptionAction, MessageModel, Settings, Subscription,
    SubscriptionEntry, SyncLiteSubscriptionRequest, TelemetryCommand,
};
use foliomq_server::LogControl;
use foliomq_store::{Message, TopicOptions, TopicType, lite_name};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::broker::{Broker, of, poll, resource};

/// A lite consumer of `readers` that declares the topic `t`, and its open telemetry.
async fn consumer(
    broker: &Broker,
    id: &str,
) -> (mpsc::Sender<TelemetryCommand>, Streaming<TelemetryCommand>) {
    let (commands, outgoing) = mpsc::channel(4);
    let request = of(id, "JAVA", ReceiverStream::new(outgoing));
    let stream = broker.client().await.telemetry(request).await;
    let mut stream = stream.unwrap().into_inner();
    let entry = SubscriptionEntry {
        topic: Some(resource("t")),
        expression: Some(FilterExpression {
            expression: "a || b".to_owned(),
            ..FilterExpression::default()
        }),
    };
    let settings = Settings {
        client_type: Some(ClientType::LitePushConsumer.into()),
        pub_sub: Some(PubSub::Subscription(Subscription {
            group: Some(resource("readers")),
            subscriptions: vec![entry],
            ..Subscription::default()
        })),
        ..Settings::default()
    };
    let command = TelemetryCommand {
        status: None,
        command: Some(Command::Settings(settings)),
    };
    commands.send(command).await.unwrap();
    stream.message().await.unwrap().unwrap();
    (commands, stream)
}

#[tokio::test]
async fn a_consumer_is_shown_with_what_it_declares_and_where_it_calls_from() {
    let broker = Broker::start().await;
    let (commands, _stream) = consumer(&broker, "c").await;
    let mut native = NativeAdmin::new(broker.channel().await);
    let listed = native.list_clients(ListClientsRequest::default()).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!((listed.clients.len(), listed.more), (1, false));
    let id = DescribeClientRequest {
        client_id: "c".to_owned(),
    };
    let client = native.describe_client(id).await.unwrap().into_inner();
    assert_eq!(client.client_id, listed.clients[0].client_id);
    assert_eq!(
        (client.language.as_str(), client.group.as_str()),
        ("JAVA", "readers")
    );
    assert_eq!(client.kind(), ClientType::LitePushConsumer);
    assert!(client.address.starts_with("127.0.0.1:") && client.telemetry);
    assert!(client.connected_since.is_some() && client.last_seen.is_some());
    assert_eq!(
        client.topics[0].filter.as_ref().unwrap().expression,
        "a || b"
    );

    let mut admin = AdminClient::new(broker.channel().await);
    let running = GetConsumerRunningInfoRequest {
        group: Some(resource("readers")),
        client_id: "c".to_owned(),
        ..GetConsumerRunningInfoRequest::default()
    };
    let info = admin.get_consumer_running_info(running.clone()).await;
    let info = info.unwrap().into_inner().consumer_running_info.unwrap();
    assert_eq!(info.subscriptions["t"].expression, "a || b");
    assert_eq!(info.properties["client_type"], "LITE_PUSH_CONSUMER");
    assert!(
        info.message_queue_table.is_empty(),
        "what is not known is not made up"
    );
    let other = GetConsumerRunningInfoRequest {
        group: Some(resource("others")),
        ..running
    };
    let none = admin.get_consumer_running_info(other).await.unwrap();
    assert_eq!(none.into_inner().status.unwrap().code(), Code::NotFound);

    let gone = DescribeClientRequest {
        client_id: "nobody".to_owned(),
    };
    let gone = native.describe_client(gone).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    drop(commands);
}

#[tokio::test]
async fn connections_and_subscriptions_of_a_group() {
    let broker = Broker::start().await;
    let (_one, _first) = consumer(&broker, "c1").await;
    let (_two, _second) = consumer(&broker, "c2").await;
    let mut admin = AdminClient::new(broker.channel().await);
    let all = admin
        .list_subscription(ListSubscriptionRequest::default())
        .await;
    let all = all.unwrap().into_inner().subscription_info;
    assert_eq!(all.len(), 1, "the same of both");
    assert!(all[0].subscription_consistency);
    assert_eq!(all[0].message_model(), MessageModel::LiteSelective);
    for (topic, count) in [("t", 2), ("u", 0)] {
        let request = ListConsumerConnectionRequest {
            group: Some(resource("readers")),
            topic: Some(resource(topic)),
            ..ListConsumerConnectionRequest::default()
        };
        let found = admin.list_consumer_connection(request).await.unwrap();
        let found = found.into_inner().client_info;
        assert_eq!(found.len(), count, "{topic}");
        assert!(found.iter().all(|client| client.egress_ip == "127.0.0.1"));
    }
}

#[tokio::test]
async fn a_group_in_lite_topics() {
    let broker = Broker::start().await;
    let options = TopicOptions {
        queues: 1,
        kind: TopicType::Lite,
    };
    broker.store.create_topic("t", options).unwrap();
    let (_commands, _stream) = consumer(&broker, "c").await;
    let sync = SyncLiteSubscriptionRequest {
        action: LiteSubscriptionAction::PartialAdd.into(),
        topic: Some(resource("t")),
        group: Some(resource("readers")),
        lite_topic_set: vec!["l1".to_owned(), "l2".to_owned()],
        ..SyncLiteSubscriptionRequest::default()
    };
    let mut client = broker.client().await;
    client
        .sync_lite_subscription(of("c", "JAVA", sync))
        .await
        .unwrap();
    for lite in ["l1", "l1", "l2"] {
        let message = Message::new(b"x");
        broker
            .store
            .append(&lite_name("t", lite), &message)
            .unwrap();
    }
    broker.store.catch_up();
    let mut admin = AdminClient::new(broker.channel().await);
    let mut asked = DescribeGroupAccumulationRequest {
        group: Some(resource("readers")),
        topics: vec![resource("t")],
        lite_topic: Some("l1".to_owned()),
        ..DescribeGroupAccumulationRequest::default()
    };
    let answer = admin.describe_group_accumulation(asked.clone()).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.lite_topic_accumulation["l1"].ready_messages, 2);
    assert_eq!(answer.topic_accumulation["t"].ready_messages, 3);
    assert_eq!(answer.accumulation.unwrap().accumulation, 3);
    asked.lite_topic = Some("l9".to_owned());
    let answer = admin.describe_group_accumulation(asked).await.unwrap();
    assert_eq!(answer.into_inner().status.unwrap().code(), Code::NotFound);
    for (lite, count) in [("l1", 1), ("l9", 0)] {
        let readers = ListConsumerConnectionRequest {
            group: Some(resource("readers")),
            topic: Some(resource("t")),
            lite_topic: Some(lite.to_owned()),
            ..ListConsumerConnectionRequest::default()
        };
        let readers = admin.list_consumer_connection(readers).await.unwrap();
        assert_eq!(readers.into_inner().client_info.len(), count, "{lite}");
    }
    let query = ListMessageRequest {
        topic: Some(resource("t")),
        search_key: Some(SearchKey::LiteTopic("l1".to_owned())),
        ..ListMessageRequest::default()
    };
    assert_eq!(scrolled(&mut admin, query).await, [2]);
}

/// Sizes of the pages of a query, each of which names the next.
async fn scrolled(admin: &mut AdminClient<Channel>, mut query: ListMessageRequest) -> Vec<usize> {
    let mut pages = Vec::new();
    loop {
        let page = admin
            .query_message(query.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.status.unwrap().code(), Code::Ok);
        pages.push(page.messages.len());
        if page.scroll_id.is_empty() {
            return pages;
        }
        query.scroll_id = Some(page.scroll_id);
        assert!(pages.len() < 100, "it has no end: {pages:?}");
    }
}

#[tokio::test]
async fn a_topic_is_listed_page_by_page_within_times() {
    let broker = Broker::start().await;
    broker.create_topic("t", 3);
    for number in 0..10_u8 {
        let queue = if number < 7 { 0 } else { 2 };
        let body = vec![number; 3 << 20 >> (number / 2 * 4)];
        broker
            .store
            .append_to("t", queue, &Message::new(&body))
            .unwrap();
    }
    broker.store.catch_up();
    let mut admin = AdminClient::new(broker.channel().await).max_decoding_message_size(64 << 20);
    let all = ListMessageRequest {
        topic: Some(resource("t")),
        ..ListMessageRequest::default()
    };
    // The first two are too large for one page; else a page goes on with the next queue.
    assert_eq!(scrolled(&mut admin, all.clone()).await, [1, 9]);
    let small = ListMessageRequest {
        page_size: Some(3),
        ..all.clone()
    };
    assert_eq!(scrolled(&mut admin, small).await, [1, 3, 3, 3]);
    let of_queue = ListMessageRequest {
        queue_id: Some(2),
        ..all.clone()
    };
    assert_eq!(scrolled(&mut admin, of_queue).await, [3]);
    let past = ListMessageRequest {
        end_timestamp: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        }),
        ..all.clone()
    };
    assert_eq!(scrolled(&mut admin, past).await, [0]);
    for bad in [
        ListMessageRequest {
            scroll_id: Some("x".to_owned()),
            ..all.clone()
        },
        ListMessageRequest {
            queue_id: Some(9),
            ..all
        },
    ] {
        let answer = admin.query_message(bad).await.unwrap().into_inner();
        assert_eq!(answer.status.unwrap().code(), Code::BadRequest);
    }
}

#[tokio::test]
async fn calls_are_signs_of_life() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    let polled = client.receive_message(of("c", "FOLIOMQ", poll("t", 1)));
    let mut stream = polled.await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    let mut native = NativeAdmin::new(broker.channel().await);
    let listed = native.list_clients(ListClientsRequest::default()).await;
    let listed = listed.unwrap().into_inner().clients;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].language, "FOLIOMQ");
}

#[tokio::test]
async fn the_log_s_filter_is_changed_where_that_is_possible() {
    let broker = Broker::start().await;
    let mut admin = AdminClient::new(broker.channel().await);
    let debug = ChangeLogLevelRequest {
        level: Level::Debug.into(),
    };
    let refused = admin.change_log_level(debug).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);

    let filter = Mutex::new("warn".to_owned());
    let control = LogControl::new(move |text| {
        let mut filter = filter.lock().unwrap();
        let before = filter.clone();
        match text {
            "" => {}
            "loud" => return Err("loud is no level".to_owned()),
            text => text.clone_into(&mut filter),
        }
        Ok((before, filter.clone()))
    });
    let broker = Broker::start_with(|config| config.log = Some(control)).await;
    let mut admin = AdminClient::new(broker.channel().await);
    let changed = admin.change_log_level(debug).await.unwrap().into_inner();
    assert!(changed.remark.contains("warn,foliomq=debug"), "{changed:?}");
    let wrong = admin
        .change_log_level(ChangeLogLevelRequest { level: 77 })
        .await;
    assert_eq!(wrong.unwrap_err().code(), tonic::Code::InvalidArgument);

    let mut native = NativeAdmin::new(broker.channel().await);
    let change = |filter: &str| ChangeLogRequest {
        filter: filter.to_owned(),
    };
    let now = native.change_log(change("")).await.unwrap().into_inner();
    assert_eq!(now.now, "warn,foliomq=debug");
    let wrong = native.change_log(change("loud")).await.unwrap_err();
    assert_eq!(
        (wrong.code(), wrong.message()),
        (tonic::Code::InvalidArgument, "loud is no level")
    );
}
