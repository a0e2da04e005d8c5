//! What clients do that a server might not expect, by hand where the client cannot be run here.

use std::time::Duration;

use foliomq_proto::v1::UpdateGroupRequest;
use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, ClientType, Code, Message,
    ReceiveMessageRequest, TelemetryCommand,
};
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::broker::{Broker, Client, LIMIT, of, poll, publish, resource};
use crate::settings::{Commands, answer, consumer, next, open, producer};

async fn receive(client: &mut Client, request: ReceiveMessageRequest) -> (Code, Vec<Message>) {
    let response = client.receive_message(of("c", "JAVA", request)).await;
    let mut stream = response.unwrap().into_inner();
    let (mut code, mut messages) = (Code::Unspecified, Vec::new());
    while let Some(response) = stream.message().await.unwrap() {
        match response.content.unwrap() {
            Content::Status(status) => code = status.code(),
            Content::Message(message) => messages.push(message),
            Content::DeliveryTimestamp(_) => {}
        }
    }
    (code, messages)
}

/// Clients send again what was not answered in time, and ids are not unique among hosts: no id makes a message a duplicate.
#[tokio::test]
async fn a_message_that_is_sent_again_is_another_message() {
    let broker = Broker::start().await;
    broker.create_topic("again", 1);
    let mut client = broker.client().await;
    for _ in 0..2 {
        let sent = client.send_message(of("p", "PYTHON", publish("again", 7, 100)));
        let sent = sent.await.unwrap().into_inner();
        assert_eq!(sent.status.unwrap().code(), Code::Ok);
        assert_eq!(sent.entries.len(), 1);
    }
    // A receive may come back with the first alone.
    broker.store.catch_up();
    let (_, messages) = receive(&mut client, poll("again", 5)).await;
    let system = messages
        .iter()
        .map(|one| one.system_properties.as_ref().unwrap());
    let places: Vec<_> = system
        .map(|one| (one.message_id.as_str(), one.queue_offset))
        .collect();
    assert_eq!(places, [("id-7", Some(0)), ("id-7", Some(1))]);
}

/// The Rust push consumer at its newest repeats an ack for ever that is refused, and holds up its queue.
#[tokio::test]
async fn a_push_consumers_stale_handle_is_refused_but_not_to_rust() {
    let broker = Broker::start().await;
    broker.create_topic("stale", 1);
    let mut client = broker.client().await;
    let sent = client.send_message(of("p", "JAVA", publish("stale", 1, 100)));
    sent.await.unwrap();
    let pushed = ReceiveMessageRequest {
        auto_renew: true,
        invisible_duration: None,
        ..poll("stale", 5)
    };
    let (_, messages) = receive(&mut client, pushed).await;
    let system = messages[0].system_properties.clone().unwrap();
    let stale = system.receipt_handle.unwrap();
    let moved = ChangeInvisibleDurationRequest {
        group: Some(resource("readers")),
        topic: Some(resource("stale")),
        receipt_handle: stale.clone(),
        invisible_duration: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..ChangeInvisibleDurationRequest::default()
    };
    let moved = client
        .change_invisible_duration(of("c", "JAVA", moved))
        .await;
    assert_eq!(moved.unwrap().into_inner().status.unwrap().code(), Code::Ok);
    let mut ack = async |language| {
        let entry = AckMessageEntry {
            receipt_handle: stale.clone(),
            ..AckMessageEntry::default()
        };
        let request = AckMessageRequest {
            group: Some(resource("readers")),
            topic: Some(resource("stale")),
            entries: vec![entry],
        };
        let response = client.ack_message(of("c", language, request)).await;
        response.unwrap().into_inner().status.unwrap().code()
    };
    assert_eq!(ack("JAVA").await, Code::InvalidReceiptHandle);
    assert_eq!(ack("HTTP").await, Code::InvalidReceiptHandle);
    assert_eq!(ack("RUST").await, Code::Ok);
}

/// The newest Java client says more of itself; what it says is its own affair.
#[tokio::test]
async fn what_a_client_says_of_itself_comes_back_unread() {
    let broker = Broker::start().await;
    let mut settings = producer();
    for name in ["zone", "rocketmq.reserved", "9 no name at all"] {
        let value = "x".repeat(300);
        settings.client_properties.insert(name.to_owned(), value);
    }
    let answered = answer(&broker, "JAVA", settings.clone()).await;
    assert_eq!(answered.client_properties, settings.client_properties);
}

/// C++ asks for a sign of life often, also when nothing is under way, and gives a connection up that is slow to answer.
#[tokio::test]
async fn a_client_that_pings_all_the_time_keeps_its_connection() {
    let broker = Broker::start().await;
    broker.create_topic("pinged", 1);
    let endpoint = Channel::from_shared(format!("http://{}", broker.address)).unwrap();
    let endpoint = endpoint
        .http2_keep_alive_interval(Duration::from_millis(20))
        .keep_alive_while_idle(true)
        .keep_alive_timeout(Duration::from_secs(60));
    let mut client = Client::new(endpoint.connect().await.unwrap());
    // Some hundred pings; a connection that ends takes the poll with it.
    let polled = receive(&mut client, poll("pinged", 4)).await;
    assert_eq!(polled, (Code::MessageNotFound, Vec::new()));
}

async fn declare(commands: &Commands) {
    let settings = Command::Settings(consumer(ClientType::PushConsumer));
    let command = TelemetryCommand {
        status: None,
        command: Some(settings),
    };
    commands.send(command).await.unwrap();
}

/// Telemetry streams of C++ end every hour, and a client may open one before its old one is known to be gone.
#[tokio::test]
async fn the_newest_telemetry_stream_of_a_client_counts() {
    let broker = Broker::start().await;
    let mut admin = AdminClient::new(broker.channel().await);
    let mut limit = async |max_attempts| {
        let update = UpdateGroupRequest {
            group: "readers".to_owned(),
            max_attempts,
            ..UpdateGroupRequest::default()
        };
        admin.update_group(update).await.unwrap();
    };
    let attempts =
        |settings: foliomq_proto::v2::Settings| settings.backoff_policy.unwrap().max_attempts;
    let (old_commands, mut old) = open(&broker, "CPP").await;
    declare(&old_commands).await;
    next(&mut old).await;
    let (commands, mut newest) = open(&broker, "CPP").await;
    declare(&commands).await;
    next(&mut newest).await;
    limit(4).await;
    assert_eq!(attempts(next(&mut newest).await), 4);
    // The old one ends without a word, and takes nothing from the new one.
    drop(old_commands);
    assert_eq!(timeout(LIMIT, old.message()).await.unwrap().unwrap(), None);
    limit(5).await;
    assert_eq!(attempts(next(&mut newest).await), 5);
}
