//! Half messages, their end, and the answers to the broker's questions about them.

use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    EndTransactionRequest, MessageType, RecoverOrphanedTransactionCommand, SendMessageRequest,
    TelemetryCommand, TransactionResolution, TransactionSource,
};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::calls::{broken, expect_ok, send_request};
use super::connection::{CALL_LIMIT, Connection};
use super::message::{outgoing, questioned};
use crate::driver::{Delivery, Failure, Outgoing, Reply};

pub(super) async fn send_half(
    connection: &Connection,
    message: Outgoing,
) -> Result<Reply, Failure> {
    let mut message = outgoing(&connection.start.namespace, message);
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
        topic: topic.and_then(|topic| connection.resource(topic)),
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

/// Commits whatever the broker asks about, until the stream ends.
pub(super) async fn answer_all(
    connection: &Connection,
    commands: &mut Streaming<TelemetryCommand>,
    reports: &mpsc::UnboundedSender<Delivery>,
) -> Result<(), Failure> {
    while !reports.is_closed() {
        let Ok(Some(command)) = commands.message().await else {
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
