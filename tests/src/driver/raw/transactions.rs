//! Half messages, their end, and the answers to the broker's questions about them.

use std::sync::Arc;
use std::time::Duration;

use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    ClientType, EndTransactionRequest, MessageType, Publishing, RecoverOrphanedTransactionCommand,
    SendMessageRequest, Settings, TelemetryCommand, TransactionResolution, TransactionSource,
};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::calls::{broken, expect_ok, send_request};
use super::connection::{CALL_LIMIT, Connection};
use super::message::{outgoing, questioned, resource};
use crate::driver::{Delivery, Failure, Outgoing, Reply};

/// A stream of telemetry has no end of its own; no scenario takes so long.
const TELEMETRY_LIMIT: Duration = Duration::from_secs(600);

pub(super) async fn send_half(
    connection: &Connection,
    message: Outgoing,
) -> Result<Reply, Failure> {
    let mut message = outgoing(message);
    let system = message.system_properties.get_or_insert_default();
    system.message_type = MessageType::Transaction.into();
    let messages = vec![message];
    let mut entries = send_request(connection, SendMessageRequest { messages }).await?;
    let entry = entries.remove(0);
    if entry.transaction_id.is_empty() {
        return Err(Failure::local("protocol", "no transaction id"));
    }
    Ok(Reply {
        ids: vec![entry.message_id],
        transaction: entry.transaction_id,
        ..Reply::default()
    })
}

pub(super) async fn end(
    connection: &Connection,
    transaction: String,
    commit: bool,
) -> Result<Reply, Failure> {
    let resolution = match commit {
        true => TransactionResolution::Commit,
        false => TransactionResolution::Rollback,
    };
    let topic = connection.start.topics.first();
    let request = EndTransactionRequest {
        topic: topic.and_then(|topic| resource(topic)),
        transaction_id: transaction,
        resolution: resolution.into(),
        source: TransactionSource::SourceClient.into(),
        ..Default::default()
    };
    finish(connection, request).await?;
    Ok(Reply::default())
}

async fn finish(connection: &Connection, request: EndTransactionRequest) -> Result<(), Failure> {
    let request = connection.request(request, CALL_LIMIT);
    let response = connection.client.clone().end_transaction(request).await;
    expect_ok(response.map_err(broken)?.into_inner().status)
}

/// Declares the producer's topics, and commits from then on whatever the broker asks about, until the stream ends.
pub(super) async fn answer_questions(
    connection: Arc<Connection>,
    reports: mpsc::UnboundedSender<Delivery>,
) -> Result<(), Failure> {
    let settings = TelemetryCommand {
        command: Some(Command::Settings(settings(&connection))),
        ..Default::default()
    };
    // The broker would take the end of our half for the end of the stream.
    let commands = stream::iter([settings]).chain(stream::pending());
    let request = connection.request(commands, TELEMETRY_LIMIT);
    let opened = connection.client.clone().telemetry(request).await;
    let mut answers = opened.map_err(broken)?.into_inner();
    // The settings that come back say that the broker knows the producer now.
    answers.message().await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(failure) = answer_all(&connection, &mut answers, &reports).await {
            eprintln!("a question about a transaction: {failure}");
        }
    });
    Ok(())
}

async fn answer_all(
    connection: &Connection,
    answers: &mut Streaming<TelemetryCommand>,
    reports: &mpsc::UnboundedSender<Delivery>,
) -> Result<(), Failure> {
    while !reports.is_closed() {
        let Ok(Some(command)) = answers.message().await else {
            return Ok(());
        };
        if let Some(Command::RecoverOrphanedTransactionCommand(question)) = command.command {
            answer(connection, question, reports).await?;
        }
    }
    Ok(())
}

async fn answer(
    connection: &Connection,
    question: RecoverOrphanedTransactionCommand,
    reports: &mpsc::UnboundedSender<Delivery>,
) -> Result<(), Failure> {
    let lacking = || Failure::local("protocol", "a question lacks its message");
    let message = question.message.ok_or_else(lacking)?;
    let topic = message.topic.clone();
    let message = questioned(message)?;
    let request = EndTransactionRequest {
        topic,
        message_id: message.id.clone(),
        transaction_id: question.transaction_id,
        resolution: TransactionResolution::Commit.into(),
        source: TransactionSource::SourceServerCheck.into(),
        ..Default::default()
    };
    let report = Delivery {
        message,
        name: connection.start.name.clone(),
        failed: false,
    };
    // A scenario that has seen enough has dropped its end.
    let _ = reports.send(report);
    finish(connection, request).await
}

fn settings(connection: &Connection) -> Settings {
    let topics = connection.start.topics.iter();
    let publishing = Publishing {
        topics: topics.filter_map(|topic| resource(topic)).collect(),
        ..Default::default()
    };
    Settings {
        client_type: Some(ClientType::Producer.into()),
        pub_sub: Some(PubSub::Publishing(publishing)),
        ..Default::default()
    }
}
