//! Delayed and half messages over the wire.

use std::time::{Duration, SystemTime};

use foliomq_proto::v1::DescribeBrokerRequest;
use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    Code, EndTransactionRequest, Message, MessageType, Publishing, RecallMessageRequest,
    SendMessageRequest, SendResultEntry, Settings, TelemetryCommand, TransactionResolution,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::broker::{Broker, Client, LIMIT, of, poll, publish, resource};

async fn send(client: &mut Client, request: SendMessageRequest) -> Result<SendResultEntry, Code> {
    let response = client.send_message(of("p", "JAVA", request)).await;
    let mut response = response.unwrap().into_inner();
    match response.status.unwrap().code() {
        Code::Ok => Ok(response.entries.remove(0)),
        refused => Err(refused),
    }
}

/// A message that is due so long from now, before now if `past`.
fn delayed(id: usize, delay: Duration, past: bool) -> SendMessageRequest {
    let now = SystemTime::now();
    let due = if past { now - delay } else { now + delay };
    let mut request = publish("t", id, 100);
    let system = request.messages[0].system_properties.as_mut().unwrap();
    system.delivery_timestamp = Some(due.into());
    request
}

fn half(id: usize) -> SendMessageRequest {
    let mut request = publish("t", id, 100);
    let system = request.messages[0].system_properties.as_mut().unwrap();
    system.message_type = MessageType::Transaction.into();
    let soon = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    system.orphaned_transaction_recovery_duration = Some(soon);
    request
}

/// What a poll of so many seconds brings.
async fn receive(client: &mut Client, seconds: i64) -> Vec<Message> {
    let responses = client.receive_message(of("c", "JAVA", poll("t", seconds)));
    let mut responses = responses.await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        if let Some(Content::Message(message)) = response.content {
            messages.push(message);
        }
    }
    messages
}

async fn recall(client: &mut Client, handle: &str) -> (Code, String) {
    recall_in(client, "JAVA", handle).await
}

async fn recall_in(client: &mut Client, language: &str, handle: &str) -> (Code, String) {
    let request = RecallMessageRequest {
        topic: Some(resource("t")),
        recall_handle: handle.to_owned(),
    };
    let response = client.recall_message(of("p", language, request)).await;
    let response = response.unwrap().into_inner();
    (response.status.unwrap().code(), response.message_id)
}

async fn end(client: &mut Client, id: &str, resolution: TransactionResolution) -> Code {
    let request = EndTransactionRequest {
        topic: Some(resource("t")),
        message_id: "any".to_owned(),
        transaction_id: id.to_owned(),
        resolution: resolution.into(),
        ..EndTransactionRequest::default()
    };
    let response = client.end_transaction(of("p", "JAVA", request)).await;
    response.unwrap().into_inner().status.unwrap().code()
}

fn id(message: &Message) -> &str {
    &message.system_properties.as_ref().unwrap().message_id
}

#[tokio::test]
async fn a_delayed_message_comes_at_its_time_with_its_time() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    send(&mut client, delayed(2, Duration::from_secs(9), true))
        .await
        .unwrap();
    let first = receive(&mut client, 9).await;
    assert_eq!(
        (first.len(), id(&first[0])),
        (1, "id-2"),
        "a past time is now"
    );
    let sent_at = SystemTime::now();
    let later = delayed(1, Duration::from_secs(2), false);
    let due = later.messages[0].system_properties.clone().unwrap();
    let sent = send(&mut client, later).await.unwrap();
    assert!(!sent.recall_handle.is_empty());
    let second = receive(&mut client, 9).await;
    assert_eq!((second.len(), id(&second[0])), (1, "id-1"));
    assert!(sent_at.elapsed().unwrap() >= Duration::from_secs(2));
    let system = second[0].system_properties.as_ref().unwrap();
    assert_eq!(system.message_type(), MessageType::Delay);
    assert_eq!(system.delivery_timestamp, due.delivery_timestamp);
    assert_eq!(
        (system.delivery_attempt, system.queue_offset),
        (Some(1), Some(1))
    );
    let too_far = delayed(3, Duration::from_secs(41 * 24 * 3600), false);
    assert_eq!(
        send(&mut client, too_far).await,
        Err(Code::IllegalDeliveryTime)
    );
}

#[tokio::test]
async fn a_recalled_message_does_not_come() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    let hour = Duration::from_secs(3600);
    let sent = send(&mut client, delayed(1, hour, false)).await.unwrap();
    let handle = sent.recall_handle;
    assert_eq!(
        recall(&mut client, &handle).await,
        (Code::Ok, "id-1".into())
    );
    assert_eq!(recall(&mut client, &handle).await.0, Code::MessageNotFound);
    let (code, _) = recall_in(&mut client, "PYTHON", &handle).await;
    assert_eq!(code, Code::BadRequest, "the other is success to it");
    assert_eq!(recall(&mut client, "no handle").await.0, Code::BadRequest);
    until_hidden(&broker, 0, 0).await;
    assert!(receive(&mut client, 1).await.is_empty());
}

#[tokio::test]
async fn a_transaction_is_committed_or_rolled_back() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let sent = send(&mut client, half(n)).await.unwrap();
        assert!(!sent.transaction_id.is_empty());
        ids.push(sent.transaction_id);
    }
    assert!(receive(&mut client, 1).await.is_empty());
    use TransactionResolution::{Commit, Rollback, Unspecified};
    assert_eq!(end(&mut client, &ids[0], Commit).await, Code::Ok);
    assert_eq!(end(&mut client, &ids[0], Commit).await, Code::Ok);
    assert_eq!(end(&mut client, &ids[1], Rollback).await, Code::Ok);
    assert_eq!(end(&mut client, &ids[2], Unspecified).await, Code::Ok);
    assert_eq!(
        end(&mut client, &ids[1], Commit).await,
        Code::InvalidTransactionId
    );
    for none in ["", " ", "none"] {
        assert_eq!(
            end(&mut client, none, Commit).await,
            Code::InvalidTransactionId
        );
    }
    let received = receive(&mut client, 9).await;
    assert_eq!((received.len(), id(&received[0])), (1, "id-0"));
    let system = received[0].system_properties.as_ref().unwrap();
    assert_eq!(system.message_type(), MessageType::Transaction);
}

/// Until so many messages wait for their time, and so many transactions are open.
async fn until_hidden(broker: &Broker, delayed: u64, open: u64) {
    let mut admin = AdminClient::new(broker.channel().await);
    let looking = async {
        loop {
            let described = admin.describe_broker(DescribeBrokerRequest {}).await;
            let described = described.unwrap().into_inner();
            if (described.delayed_messages, described.open_transactions) == (delayed, open) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, looking).await.unwrap();
}

#[tokio::test]
async fn what_is_hidden_is_counted() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    let hour = Duration::from_secs(3600);
    let waits = send(&mut client, delayed(0, hour, false)).await.unwrap();
    let open = send(&mut client, half(1)).await.unwrap();
    until_hidden(&broker, 1, 1).await;
    let (code, _) = recall(&mut client, &waits.recall_handle).await;
    assert_eq!(code, Code::Ok);
    let rolled_back = TransactionResolution::Rollback;
    let code = end(&mut client, &open.transaction_id, rolled_back).await;
    assert_eq!(code, Code::Ok);
    until_hidden(&broker, 0, 0).await;
}

/// The telemetry of a producer of the topic.
async fn telemetry(
    client: &mut Client,
) -> (mpsc::Sender<TelemetryCommand>, Streaming<TelemetryCommand>) {
    let (commands, stream) = mpsc::channel(4);
    let publishing = Publishing {
        topics: vec![resource("t")],
        ..Publishing::default()
    };
    let settings = Settings {
        client_type: Some(foliomq_proto::v2::ClientType::Producer.into()),
        pub_sub: Some(PubSub::Publishing(publishing)),
        ..Settings::default()
    };
    let command = Some(Command::Settings(settings));
    let command = TelemetryCommand {
        command,
        ..TelemetryCommand::default()
    };
    commands.send(command).await.unwrap();
    let opened = client.telemetry(of("p", "JAVA", ReceiverStream::new(stream)));
    (commands, opened.await.unwrap().into_inner())
}

#[tokio::test]
async fn a_producer_is_asked_about_a_transaction_without_an_end() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    let mut client = broker.client().await;
    let (_commands, mut telemetry) = telemetry(&mut client).await;
    let sent = send(&mut client, half(7)).await.unwrap();
    let question = loop {
        let command = timeout(LIMIT, telemetry.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Some(Command::RecoverOrphanedTransactionCommand(question)) = command.command {
            assert_eq!(command.status, None);
            break question;
        }
    };
    assert_eq!(question.transaction_id, sent.transaction_id);
    let message = question.message.unwrap();
    assert_eq!((id(&message), &message.body[..]), ("id-7", &[7; 100][..]));
    assert_eq!(message.topic, Some(resource("t")));
    let system = message.system_properties.unwrap();
    assert!(system.body_digest.is_some() && system.born_timestamp.is_some());
    let commit = TransactionResolution::Commit;
    assert_eq!(
        end(&mut client, &question.transaction_id, commit).await,
        Code::Ok
    );
    assert_eq!(receive(&mut client, 9).await.len(), 1);
}
