//! What keeps a client known: the stream with its settings, and its heartbeats.

use std::time::Duration;

use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{Publishing, Settings, Subscription, SubscriptionEntry, TelemetryCommand};
use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tonic::Streaming;

use super::calls::{broken, expect_ok, filter, group, heartbeat};
use super::connection::Connection;
use crate::driver::Failure;

/// The stream has no end of its own; no scenario takes so long.
const LIMIT: Duration = Duration::from_secs(600);
/// As often as most of the official clients.
const BEAT: Duration = Duration::from_secs(10);

/// Opens the stream; returns the settings that the broker sends back.
pub(super) async fn open(
    connection: &Connection,
) -> Result<(Settings, Streaming<TelemetryCommand>), Failure> {
    let declared = TelemetryCommand {
        command: Some(Command::Settings(settings(connection))),
        ..Default::default()
    };
    // The broker would take the end of our half for the end of the stream.
    let commands = stream::iter([declared]).chain(stream::pending());
    let request = connection.request(commands, LIMIT);
    let opened = connection.client.clone().telemetry(request).await;
    let mut answers = opened.map_err(broken)?.into_inner();
    let answer = answers.message().await.map_err(broken)?;
    let answer = answer.ok_or_else(|| Failure::local("protocol", "telemetry ended at once"))?;
    expect_ok(answer.status)?;
    match answer.command {
        Some(Command::Settings(settings)) => Ok((settings, answers)),
        _ => Err(Failure::local("protocol", "no settings came back")),
    }
}

/// Reads the stream to its end and does nothing about it, as a client does that has no use for a command.
pub(super) async fn ignore(mut commands: Streaming<TelemetryCommand>) {
    while let Ok(Some(_)) = commands.message().await {}
}

/// Beats until it is dropped. A broker that is away for a while is no reason to stop.
pub(super) async fn beat(connection: &Connection) {
    loop {
        sleep(BEAT).await;
        if let Err(failure) = heartbeat(connection).await
            && failure.code.is_some()
        {
            eprintln!("a heartbeat was refused: {failure}");
        }
    }
}

fn settings(connection: &Connection) -> Settings {
    let start = &connection.start;
    let pub_sub = match start.group.is_empty() {
        true => PubSub::Publishing(Publishing {
            topics: start
                .topics
                .iter()
                .filter_map(|topic| connection.resource(topic))
                .collect(),
            ..Default::default()
        }),
        false => PubSub::Subscription(Subscription {
            group: group(connection),
            subscriptions: start
                .subscriptions
                .iter()
                .map(|(topic, expression)| SubscriptionEntry {
                    topic: connection.resource(topic),
                    expression: Some(filter(expression)),
                })
                .collect(),
            ..Default::default()
        }),
    };
    Settings {
        client_type: Some(connection.kind.into()),
        pub_sub: Some(pub_sub),
        ..Default::default()
    }
}
