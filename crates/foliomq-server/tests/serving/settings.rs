//! Telemetry: what each kind of client gets as its settings.

use foliomq_proto::v1::admin_client::AdminClient;
use foliomq_proto::v1::{Backoff, InvisibleBounds, UpdateGroupRequest};
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::retry_policy::Strategy;
use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    ClientType, Code, HeartbeatRequest, Publishing, RetryPolicy, Settings, Subscription,
    TelemetryCommand,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::broker::{Broker, LIMIT, of, poll, resource};

pub fn producer() -> Settings {
    Settings {
        client_type: Some(ClientType::Producer.into()),
        pub_sub: Some(PubSub::Publishing(Publishing {
            topics: vec![resource("orders")],
            // As the Python client has it; it must not come back.
            max_body_size: 128 << 20,
            ..Publishing::default()
        })),
        ..Settings::default()
    }
}

pub fn consumer(client_type: ClientType) -> Settings {
    Settings {
        client_type: Some(client_type.into()),
        pub_sub: Some(PubSub::Subscription(Subscription {
            group: Some(resource("readers")),
            ..Subscription::default()
        })),
        ..Settings::default()
    }
}

pub type Commands = mpsc::Sender<TelemetryCommand>;

/// An open stream: its headers come before the client has said anything.
pub async fn open(broker: &Broker, language: &str) -> (Commands, Streaming<TelemetryCommand>) {
    let (commands, outgoing) = mpsc::channel(4);
    let mut client = broker.client().await;
    let stream = client.telemetry(of("c", language, ReceiverStream::new(outgoing)));
    let stream = timeout(LIMIT, stream).await.expect("headers at once");
    (commands, stream.unwrap().into_inner())
}

pub async fn next(stream: &mut Streaming<TelemetryCommand>) -> Settings {
    let command = timeout(LIMIT, stream.message()).await.expect("an answer");
    let command = command.unwrap().unwrap();
    assert_eq!(command.status.unwrap().code, Code::Ok as i32);
    let Some(Command::Settings(settings)) = command.command else {
        panic!("{:?}", command.command);
    };
    settings
}

pub async fn answer(broker: &Broker, language: &str, settings: Settings) -> Settings {
    let (commands, mut stream) = open(broker, language).await;
    let command = Some(Command::Settings(settings));
    commands
        .send(TelemetryCommand {
            status: None,
            command,
        })
        .await
        .unwrap();
    next(&mut stream).await
}

#[tokio::test]
async fn a_producer_gets_limits_and_an_exponential_backoff() {
    let broker = Broker::start().await;
    for language in ["PYTHON", "HTTP", "RUST", "JAVA"] {
        let settings = answer(&broker, language, producer()).await;
        let policy = settings.backoff_policy.unwrap();
        assert_eq!(policy.max_attempts, 3);
        let Some(Strategy::ExponentialBackoff(backoff)) = policy.strategy else {
            panic!()
        };
        assert_eq!(backoff.initial.unwrap().nanos, 10_000_000);
        assert!(!settings.metric.unwrap().on);
        let Some(PubSub::Publishing(publishing)) = settings.pub_sub else {
            panic!()
        };
        assert_eq!(
            (publishing.max_body_size, publishing.validate_message_type),
            (4 << 20, true)
        );
        assert_eq!(publishing.topics, [resource("orders")]);
    }
}

#[tokio::test]
async fn a_consumer_gets_polls_and_a_backoff_of_its_language() {
    let broker = Broker::start().await;
    let settings = answer(&broker, "PYTHON", consumer(ClientType::PushConsumer)).await;
    let policy = settings.backoff_policy.unwrap();
    assert_eq!(policy.max_attempts, 17);
    let Some(Strategy::CustomizedBackoff(backoff)) = policy.strategy else {
        panic!()
    };
    let seconds: Vec<_> = backoff.next.iter().map(|step| step.seconds).collect();
    assert_eq!((seconds.len(), seconds[0], seconds[17]), (18, 1, 7200));
    let Some(PubSub::Subscription(subscription)) = settings.pub_sub else {
        panic!()
    };
    assert_eq!(subscription.receive_batch_size, Some(32));
    assert_eq!(subscription.long_polling_timeout.unwrap().seconds, 20);
    assert_eq!(subscription.lite_subscription_quota, None);

    let settings = answer(&broker, "HTTP", consumer(ClientType::PushConsumer)).await;
    let Some(Strategy::ExponentialBackoff(backoff)) = settings.backoff_policy.unwrap().strategy
    else {
        panic!("the Node.js client knows no other for push")
    };
    assert_eq!(
        backoff.initial.unwrap().seconds,
        1000,
        "it takes them for milliseconds"
    );

    let settings = answer(&broker, "JAVA", consumer(ClientType::LitePushConsumer)).await;
    let Some(PubSub::Subscription(subscription)) = settings.pub_sub else {
        panic!()
    };
    assert!(subscription.lite_subscription_quota > Some(0));
}

#[tokio::test]
async fn node_gets_its_settings_again_after_a_while_and_with_its_first_heartbeat() {
    let broker = Broker::start().await;
    let (commands, mut stream) = open(&broker, "HTTP").await;
    let command = Some(Command::Settings(producer()));
    commands
        .send(TelemetryCommand {
            status: None,
            command,
        })
        .await
        .unwrap();
    let first = next(&mut stream).await;
    assert_eq!(next(&mut stream).await, first);
    let mut client = broker.client().await;
    for _ in 0..2 {
        let heartbeat = of("c", "HTTP", HeartbeatRequest::default());
        let beat = client.heartbeat(heartbeat).await.unwrap().into_inner();
        assert_eq!(beat.status.unwrap().code, Code::Ok as i32);
    }
    assert_eq!(next(&mut stream).await, first);
    // The end of what the client says ends the stream: there was no fourth.
    drop(commands);
    assert_eq!(
        timeout(LIMIT, stream.message()).await.unwrap().unwrap(),
        None
    );
}

/// What is repeated to a Node.js client is what holds by then.
#[tokio::test]
async fn a_change_before_the_settings_are_repeated_is_not_undone() {
    let broker = Broker::start().await;
    let (commands, mut stream) = open(&broker, "HTTP").await;
    let command = Some(Command::Settings(consumer(ClientType::PushConsumer)));
    let declared = TelemetryCommand {
        status: None,
        command,
    };
    commands.send(declared).await.unwrap();
    let mut told = async || next(&mut stream).await.backoff_policy.unwrap().max_attempts;
    assert_eq!(told().await, 17);
    let update = UpdateGroupRequest {
        group: "readers".to_owned(),
        max_attempts: 4,
        ..UpdateGroupRequest::default()
    };
    let mut admin = AdminClient::new(broker.channel().await);
    admin.update_group(update).await.unwrap();
    // The change and the repetition; on a busy machine the other way round.
    let both = [told().await, told().await];
    assert!(both == [4, 4] || both == [17, 4], "{both:?}");
    let heartbeat = of("c", "HTTP", HeartbeatRequest::default());
    let mut client = broker.client().await;
    client.heartbeat(heartbeat).await.unwrap();
    assert_eq!(told().await, 4);
}

#[tokio::test]
async fn clients_of_a_group_that_is_not_there_yet_are_told_what_it_will_have() {
    let broker = Broker::start_with(|config| config.max_attempts = 5).await;
    let settings = answer(&broker, "JAVA", consumer(ClientType::PushConsumer)).await;
    assert_eq!(settings.backoff_policy.unwrap().max_attempts, 5);
}

#[tokio::test]
async fn settings_of_nobody_end_the_stream_with_a_reason() {
    let broker = Broker::start().await;
    let (commands, mut stream) = open(&broker, "JAVA").await;
    let command = Some(Command::Settings(Settings::default()));
    commands
        .send(TelemetryCommand {
            status: None,
            command,
        })
        .await
        .unwrap();
    let error = timeout(LIMIT, stream.message()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_group_that_changes_is_told_to_its_clients_at_once() {
    let broker = Broker::start().await;
    let mut open_streams = Vec::new();
    for (id, language) in [("java", "JAVA"), ("node", "HTTP"), ("python", "PYTHON")] {
        let (commands, outgoing) = mpsc::channel(4);
        let mut client = broker.client().await;
        let stream = client.telemetry(of(id, language, ReceiverStream::new(outgoing)));
        let mut stream = stream.await.unwrap().into_inner();
        let settings = Some(Command::Settings(consumer(ClientType::PushConsumer)));
        let command = TelemetryCommand {
            status: None,
            command: settings,
        };
        commands.send(command).await.unwrap();
        let first = next(&mut stream).await;
        assert_eq!(first.backoff_policy.unwrap().max_attempts, 17);
        if language == "HTTP" {
            next(&mut stream).await;
        }
        open_streams.push((commands, stream));
    }
    let update = UpdateGroupRequest {
        group: "readers".to_owned(),
        max_attempts: 4,
        backoff: Some(Backoff {
            seconds: vec![2, 8],
            factor: Some(2.0),
        }),
        ..UpdateGroupRequest::default()
    };
    let mut admin = AdminClient::new(broker.channel().await);
    admin.update_group(update).await.unwrap();
    let mut policies = Vec::new();
    for (_, stream) in &mut open_streams {
        policies.push(next(stream).await.backoff_policy.unwrap());
    }
    assert!(policies.iter().all(|policy| policy.max_attempts == 4));
    let exponential = |policy: &RetryPolicy| match policy.strategy.clone().unwrap() {
        Strategy::ExponentialBackoff(backoff) => {
            let seconds = |time: Option<prost_types::Duration>| time.unwrap().seconds;
            (seconds(backoff.initial), seconds(backoff.max))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(exponential(&policies[0]), (2, 8));
    assert_eq!(exponential(&policies[1]), (2000, 8000));
    let Some(Strategy::CustomizedBackoff(steps)) = policies[2].strategy.clone() else {
        panic!("{:?}", policies[2])
    };
    let seconds: Vec<i64> = steps.next.iter().map(|pause| pause.seconds).collect();
    assert_eq!(seconds, [2, 4, 8]);
}

#[tokio::test]
async fn a_groups_own_bounds_of_the_invisible_time_hold_at_once() {
    let broker = Broker::start().await;
    let mut client = broker.client().await;
    let mut admin = AdminClient::connect(format!("http://{}", broker.address))
        .await
        .unwrap();
    let mut ask = async |seconds| {
        let mut poll = poll("orders", 1);
        poll.group = Some(resource("readers"));
        poll.long_polling_timeout = Some(prost_types::Duration::default());
        poll.invisible_duration = Some(prost_types::Duration { seconds, nanos: 0 });
        let answer = client.receive_message(of("c", "JAVA", poll)).await.unwrap();
        let first = answer.into_inner().message().await.unwrap().unwrap();
        match first.content {
            Some(Content::Status(status)) => status.code(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(2).await, Code::IllegalInvisibleTime);
    let bounds = |shortest, longest| UpdateGroupRequest {
        group: "readers".into(),
        invisible: Some(InvisibleBounds { shortest, longest }),
        ..UpdateGroupRequest::default()
    };
    let group = admin
        .update_group(bounds(1, 60))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(group.invisible.unwrap().longest, 60);
    assert_eq!(ask(2).await, Code::MessageNotFound);
    assert_eq!(ask(61).await, Code::IllegalInvisibleTime);
    let refused = admin.update_group(bounds(60, 1)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
