//! Settings of a topic, changed while clients use it.

use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v1::{self, UpdateTopicRequest};
use foliomq_proto::v2::pull_message_response::Content as Pulled;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    ClientType, Code, MessageQueue, Permission, PullMessageRequest, QueryAssignmentRequest,
    QueryRouteRequest, Settings, Subscription, SubscriptionEntry, TelemetryCommand,
};
use foliomq_store::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::broker::{Broker, Client, LIMIT, of, poll, publish, resource};

fn settings(change: impl FnOnce(&mut v1::TopicSettings)) -> UpdateTopicRequest {
    let mut settings = v1::TopicSettings::default();
    change(&mut settings);
    UpdateTopicRequest {
        topic: "t".to_owned(),
        settings: Some(settings),
        ..UpdateTopicRequest::default()
    }
}

fn permission(permission: v1::Permission) -> UpdateTopicRequest {
    settings(|settings| settings.permission = Some(permission.into()))
}

async fn admin(broker: &Broker) -> AdminClient<Channel> {
    AdminClient::new(broker.channel().await)
}

async fn send(client: &mut Client) -> Code {
    let sent = client.send_message(of("c", "JAVA", publish("t", 1, 9)));
    sent.await.unwrap().into_inner().status.unwrap().code()
}

async fn receive(client: &mut Client, seconds: i64) -> Code {
    let answer = client.receive_message(of("c", "JAVA", poll("t", seconds)));
    let mut answer = answer.await.unwrap().into_inner();
    // To its end: what is left half read goes to another.
    let mut code = None;
    while let Some(part) = answer.message().await.unwrap() {
        if let Some(Content::Status(status)) = part.content {
            code = Some(status.code());
        }
    }
    code.unwrap()
}

async fn pull(client: &mut Client) -> Code {
    let request = PullMessageRequest {
        group: Some(resource("readers")),
        message_queue: Some(MessageQueue {
            topic: Some(resource("t")),
            ..MessageQueue::default()
        }),
        long_polling_timeout: Some(prost_types::Duration::default()),
        batch_size: 1,
        ..PullMessageRequest::default()
    };
    let answer = client.pull_message(of("c", "JAVA", request)).await.unwrap();
    match answer
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap()
        .content
    {
        Some(Pulled::Status(status)) => status.code(),
        other => panic!("{other:?}"),
    }
}

async fn assignment(client: &mut Client) -> Code {
    let request = QueryAssignmentRequest {
        topic: Some(resource("t")),
        group: Some(resource("readers")),
        ..QueryAssignmentRequest::default()
    };
    let answer = client.query_assignment(of("c", "JAVA", request));
    answer.await.unwrap().into_inner().status.unwrap().code()
}

async fn route(client: &mut Client) -> Vec<Permission> {
    let request = QueryRouteRequest {
        topic: Some(resource("t")),
        ..QueryRouteRequest::default()
    };
    let route = client.query_route(of("c", "JAVA", request)).await.unwrap();
    let queues = route.into_inner().message_queues;
    queues.iter().map(|queue| queue.permission()).collect()
}

#[tokio::test]
async fn a_permission_holds_at_once_and_is_on_the_route() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let (mut client, mut admin) = (broker.client().await, admin(&broker).await);
    assert_eq!(send(&mut client).await, Code::Ok);
    admin
        .update_topic(permission(v1::Permission::Write))
        .await
        .unwrap();
    assert_eq!(receive(&mut client, 1).await, Code::Forbidden);
    assert_eq!(pull(&mut client).await, Code::Forbidden);
    assert_eq!(assignment(&mut client).await, Code::Forbidden);
    assert_eq!(send(&mut client).await, Code::Ok);
    assert_eq!(route(&mut client).await, [Permission::Write]);
    admin
        .update_topic(permission(v1::Permission::None))
        .await
        .unwrap();
    assert_eq!(send(&mut client).await, Code::Forbidden);
    assert_eq!(route(&mut client).await, [Permission::None]);
    let shown = admin
        .update_topic(permission(v1::Permission::Read))
        .await
        .unwrap()
        .into_inner();
    let shown = shown.settings.unwrap();
    assert_eq!(shown.permission(), v1::Permission::Read);
    assert_eq!(send(&mut client).await, Code::Forbidden);
    assert_eq!(pull(&mut client).await, Code::Ok);
    assert_eq!(assignment(&mut client).await, Code::Ok);
    assert_eq!(receive(&mut client, 1).await, Code::Ok);
    // A poll that waits ends at once, without a message.
    let mut waiting = broker.client().await;
    let waiting = tokio::spawn(async move { receive(&mut waiting, 20).await });
    admin
        .update_topic(permission(v1::Permission::Write))
        .await
        .unwrap();
    let ended = timeout(LIMIT, waiting).await.unwrap().unwrap();
    assert_eq!(ended, Code::Forbidden);
}

#[tokio::test]
async fn queues_grow_and_do_not_shrink_and_senseless_changes_are_refused() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2);
    let (mut client, mut admin) = (broker.client().await, admin(&broker).await);
    let queues = |queues| UpdateTopicRequest {
        topic: "t".to_owned(),
        queues,
        ..UpdateTopicRequest::default()
    };
    admin.update_topic(queues(5)).await.unwrap();
    assert_eq!(route(&mut client).await, [Permission::ReadWrite; 5]);
    let fewer = admin.update_topic(queues(4)).await.unwrap_err();
    assert_eq!(fewer.code(), tonic::Code::InvalidArgument);
    assert!(fewer.message().contains("keeps its 5 queues"), "{fewer}");
    let kind = |kind| UpdateTopicRequest {
        topic: "t".to_owned(),
        r#type: Some(kind),
        ..UpdateTopicRequest::default()
    };
    for bad in [kind(v1::TopicType::Lite.into()), kind(99)] {
        let refused = admin.update_topic(bad).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
    let changed = admin.update_topic(kind(v1::TopicType::Delay.into()));
    let changed = changed.await.unwrap().into_inner();
    assert_eq!(changed.r#type(), v1::TopicType::Delay);
    assert_eq!(
        send(&mut client).await,
        Code::MessagePropertyConflictWithType
    );
    let unknown = UpdateTopicRequest {
        topic: "nowhere".to_owned(),
        ..UpdateTopicRequest::default()
    };
    let unknown = admin.update_topic(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn whoever_tails_a_topic_gets_what_comes_into_new_queues() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut admin = admin(&broker).await;
    let request = v1::TailRequest {
        topic: "t".to_owned(),
        follow: true,
        ..v1::TailRequest::default()
    };
    let mut tail = admin.tail(request).await.unwrap().into_inner();
    let queues = UpdateTopicRequest {
        topic: "t".to_owned(),
        queues: 3,
        ..UpdateTopicRequest::default()
    };
    admin.update_topic(queues).await.unwrap();
    let message = Message::new(b"new");
    broker.store.append_to("t", 2, &message).unwrap();
    let tailed = timeout(LIMIT, tail.message()).await.unwrap().unwrap();
    assert_eq!(
        tailed.map(|one| (one.queue_id, one.queue_offset)),
        Some((2, 0))
    );
}

/// What a consumer of the topic declares over its telemetry.
fn declared() -> TelemetryCommand {
    let own = Settings {
        client_type: Some(ClientType::LitePushConsumer.into()),
        pub_sub: Some(PubSub::Subscription(Subscription {
            group: Some(resource("readers")),
            subscriptions: vec![SubscriptionEntry {
                topic: Some(resource("t")),
                ..SubscriptionEntry::default()
            }],
            ..Subscription::default()
        })),
        ..Settings::default()
    };
    TelemetryCommand {
        command: Some(Command::Settings(own)),
        ..TelemetryCommand::default()
    }
}

#[tokio::test]
async fn a_consumer_that_is_connected_is_told_of_another_quota_and_type() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let (commands, outgoing) = mpsc::channel(4);
    commands.send(declared()).await.unwrap();
    let mut client = broker.client().await;
    let stream = client.telemetry(of("c", "JAVA", ReceiverStream::new(outgoing)));
    let mut stream = stream.await.unwrap().into_inner();
    let mut told = async || {
        let command = timeout(LIMIT, stream.message()).await.unwrap();
        match command.unwrap().unwrap().command {
            Some(Command::Settings(Settings {
                pub_sub: Some(PubSub::Subscription(told)),
                ..
            })) => (told.lite_subscription_quota, told.fifo),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told().await, (Some(2000), Some(false)));
    let mut admin = admin(&broker).await;
    let three = settings(|settings| settings.lite_subscriptions = Some(3));
    admin.update_topic(three).await.unwrap();
    assert_eq!(told().await, (Some(3), Some(false)));
    let fifo = UpdateTopicRequest {
        topic: "t".to_owned(),
        r#type: Some(v1::TopicType::Fifo.into()),
        ..UpdateTopicRequest::default()
    };
    admin.update_topic(fifo).await.unwrap();
    assert_eq!(told().await, (Some(3), Some(true)));
}
