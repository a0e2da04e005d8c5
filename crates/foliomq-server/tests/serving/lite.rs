//! Lite topics over the wire: what is refused, what a client gets, and what it is told.

use std::time::Duration;

use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    Code, LiteSubscriptionAction, NotifyClientTerminationRequest, SendMessageRequest,
    SyncLiteSubscriptionRequest, TelemetryCommand,
};
use foliomq_store::{Permission, Topic, TopicOptions, TopicType, lite_name};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::broker::{self, Broker, Client, of, poll, publish, resource};

const TOPIC: &str = "rooms";
/// The server looks for news of this kind every few seconds.
const LIMIT: Duration = Duration::from_secs(60);

async fn broker() -> Broker {
    let broker = Broker::start().await;
    let options = TopicOptions {
        queues: 1,
        kind: TopicType::Lite,
    };
    broker.store.create_topic(TOPIC, options).unwrap();
    broker
}

async fn sync(
    client: &mut Client,
    id: &str,
    action: LiteSubscriptionAction,
    names: &[&str],
) -> Code {
    let request = SyncLiteSubscriptionRequest {
        action: action.into(),
        topic: Some(resource(TOPIC)),
        group: Some(resource("readers")),
        lite_topic_set: names.iter().map(|name| (*name).to_owned()).collect(),
        ..SyncLiteSubscriptionRequest::default()
    };
    let response = client.sync_lite_subscription(of(id, "JAVA", request)).await;
    response.unwrap().into_inner().status.unwrap().code()
}

fn message(lite: Option<&str>, id: usize) -> SendMessageRequest {
    let mut request = publish(TOPIC, id, 1);
    let system = request.messages[0].system_properties.as_mut().unwrap();
    system.lite_topic = lite.map(str::to_owned);
    request
}

async fn send(client: &mut Client, lite: Option<&str>, id: usize) -> Code {
    let response = client
        .send_message(of("p", "JAVA", message(lite, id)))
        .await;
    response.unwrap().into_inner().status.unwrap().code()
}

/// Ids of the messages that one poll brings, and its code.
async fn receive(client: &mut Client, id: &str, seconds: i64) -> (Code, Vec<String>) {
    let response = client
        .receive_message(of(id, "JAVA", poll(TOPIC, seconds)))
        .await;
    let mut stream = response.unwrap().into_inner();
    let (mut code, mut ids) = (Code::Unspecified, Vec::new());
    while let Some(part) = stream.message().await.unwrap() {
        match part.content {
            Some(Content::Status(status)) => code = status.code(),
            Some(Content::Message(message)) => {
                let system = message.system_properties.unwrap();
                assert!(system.lite_topic.is_some());
                ids.push(system.message_id);
            }
            _ => {}
        }
    }
    (code, ids)
}

#[tokio::test]
async fn a_client_gets_its_lite_topics_and_another_one_nothing() {
    let broker = broker().await;
    let mut client = broker.client().await;
    let add = LiteSubscriptionAction::PartialAdd;
    assert_eq!(sync(&mut client, "a", add, &["one"]).await, Code::Ok);
    assert_eq!(sync(&mut client, "b", add, &["two"]).await, Code::Ok);
    let (mut first, mut second) = (broker.client().await, broker.client().await);
    let waiting = tokio::spawn(async move { receive(&mut first, "a", 20).await });
    let quiet = tokio::spawn(async move { receive(&mut second, "b", 2).await });
    assert_eq!(send(&mut client, Some("one"), 1).await, Code::Ok);
    let got = timeout(LIMIT, waiting).await.unwrap().unwrap();
    assert_eq!(got, (Code::Ok, vec!["id-1".to_owned()]));
    let nothing = timeout(LIMIT, quiet).await.unwrap().unwrap();
    assert_eq!(nothing, (Code::MessageNotFound, vec![]));
    // A client that is gone has no subscription when it comes again.
    let gone = NotifyClientTerminationRequest::default();
    client
        .notify_client_termination(of("b", "JAVA", gone))
        .await
        .unwrap();
    assert_eq!(send(&mut client, Some("two"), 2).await, Code::Ok);
    assert_eq!(
        receive(&mut client, "b", 1).await,
        (Code::MessageNotFound, vec![])
    );
    let complete = LiteSubscriptionAction::CompleteAdd;
    assert_eq!(sync(&mut client, "b", complete, &["two"]).await, Code::Ok);
    assert_eq!(receive(&mut client, "b", 20).await.1, ["id-2"]);
}

#[tokio::test]
async fn a_poll_of_lite_topics_ends_when_the_topic_may_no_longer_be_read() {
    let broker = broker().await;
    let (mut client, mut waiting) = (broker.client().await, broker.client().await);
    let add = LiteSubscriptionAction::PartialAdd;
    assert_eq!(sync(&mut client, "a", add, &["one"]).await, Code::Ok);
    let waiting = tokio::spawn(async move { receive(&mut waiting, "a", 20).await.0 });
    let forbid = |topic: &mut Topic| topic.settings.permission = Permission::Write;
    broker.store.update_topic(TOPIC, forbid).unwrap();
    let ended = timeout(broker::LIMIT, waiting).await.unwrap().unwrap();
    assert_eq!(ended, Code::Forbidden);
}

#[tokio::test]
async fn what_is_no_lite_topic_is_refused() {
    let broker = broker().await;
    let mut client = broker.client().await;
    let add = LiteSubscriptionAction::PartialAdd;
    for bad in ["", " ", "a\tb", &"x".repeat(65)] {
        assert_eq!(
            sync(&mut client, "a", add, &[bad]).await,
            Code::IllegalLiteTopic
        );
        assert_eq!(
            send(&mut client, Some(bad), 1).await,
            Code::IllegalLiteTopic
        );
    }
    let conflict = Code::MessagePropertyConflictWithType;
    assert_eq!(send(&mut client, None, 1).await, conflict);
    let many: Vec<String> = (0..2001).map(|number| format!("lite-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = sync(&mut client, "a", add, &many).await;
    assert_eq!(refused, Code::LiteSubscriptionQuotaExceeded);
    assert_eq!(
        broker.store.lite_count(TOPIC),
        0,
        "what is refused makes no lite topic"
    );
    let normal = TopicOptions {
        queues: 1,
        kind: TopicType::Normal,
    };
    broker.store.create_topic("plain", normal).unwrap();
    let request = SyncLiteSubscriptionRequest {
        topic: Some(resource("plain")),
        group: Some(resource("readers")),
        lite_topic_set: vec!["one".to_owned()],
        ..SyncLiteSubscriptionRequest::default()
    };
    let response = client
        .sync_lite_subscription(of("a", "JAVA", request))
        .await;
    let status = response.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code(), Code::IllegalTopic);
}

#[tokio::test]
async fn a_client_is_told_when_its_lite_topic_is_removed() {
    let broker = broker().await;
    let mut client = broker.client().await;
    let (_commands, outgoing) = mpsc::channel::<TelemetryCommand>(1);
    let stream = client
        .telemetry(of("a", "JAVA", ReceiverStream::new(outgoing)))
        .await;
    let mut stream = stream.unwrap().into_inner();
    let add = LiteSubscriptionAction::PartialAdd;
    assert_eq!(sync(&mut client, "a", add, &["one", "two"]).await, Code::Ok);
    broker
        .store
        .delete_topics(&[&lite_name(TOPIC, "one")])
        .unwrap();
    let command = timeout(LIMIT, stream.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let Some(Command::NotifyUnsubscribeLiteCommand(told)) = command.command else {
        panic!("{command:?}");
    };
    assert_eq!(told.lite_topic, "one");
}
