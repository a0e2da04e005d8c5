//! Delayed and half messages on the wire: sending, recalling, ending a transaction, and asking about one.

use std::sync::Arc;
use std::time::Duration;

use foliomq_delivery::{Groups, Question, Resolution};
use foliomq_proto::v2::{
    Code, EndTransactionRequest, EndTransactionResponse, RecallMessageRequest,
    RecallMessageResponse, RecoverOrphanedTransactionCommand, Resource, SendResultEntry,
    TelemetryCommand, TransactionResolution, telemetry_command::Command,
};
use foliomq_store::Appended;
use tokio::time::{Instant, sleep_until};

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::name;
use crate::prepared::Completed;
use crate::properties::{duration, read_message, unix_ms, unix_ms_of};
use crate::status::{Refusal, ok};

/// What new messages come to meanwhile is delivered together: without a pause each would cost a look.
const PAUSE: Duration = Duration::from_millis(10);
/// After an error, and at the latest: the clock of the machine may have been set.
const LONGEST: Duration = Duration::from_secs(1);
/// How often open transactions are looked at.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Appends delayed messages; returns what to answer once the position is committed.
pub(crate) fn submit_delayed(
    groups: &Groups,
    topic: &str,
    queue: Option<u32>,
    completed: &mut Completed,
) -> Result<(Vec<SendResultEntry>, u64), Refusal> {
    let messages = completed.prepared(|one| {
        let due = one.system.delivery_timestamp.as_ref().map_or(0, unix_ms_of);
        (due, one.stored)
    })?;
    let delayed = groups.submit_delayed(topic, queue, &messages, unix_ms())?;
    let end = delayed.last().map_or(0, |one| one.appended.end());
    let entry = |one: foliomq_delivery::Delayed| SendResultEntry {
        recall_handle: one.recall_handle,
        ..SendResultEntry::default()
    };
    Ok((delayed.into_iter().map(entry).collect(), end))
}

/// Appends half messages; returns what to answer once the position is committed.
pub(crate) fn submit_half(
    groups: &Groups,
    topic: &str,
    queue: Option<u32>,
    completed: &mut Completed,
) -> Result<(Vec<SendResultEntry>, u64), Refusal> {
    let messages = completed.prepared(|one| {
        let after = one.system.orphaned_transaction_recovery_duration.as_ref();
        let after = after.and_then(duration).filter(|after| !after.is_zero());
        (after, one.stored)
    })?;
    let halves = groups.submit_half(topic, queue, &messages, unix_ms())?;
    let end = halves.last().map_or(0, |one| Appended::end(&one.appended));
    let entry = |one: foliomq_delivery::HalfMessage| SendResultEntry {
        transaction_id: one.transaction_id,
        ..SendResultEntry::default()
    };
    Ok((halves.into_iter().map(entry).collect(), end))
}

/// RecallMessage.
pub(crate) async fn recall(
    broker: &Broker,
    caller: &Caller,
    request: RecallMessageRequest,
) -> Result<RecallMessageResponse, Refusal> {
    let topic = name::topic(request.topic.as_ref(), caller)?;
    let handle = request.recall_handle;
    let recall = move |handles: &crate::broker::Handles| {
        Ok(handles.groups.recall(&topic, &handle, unix_ms())?)
    };
    let recalled = broker.blocking(recall).await;
    Ok(RecallMessageResponse {
        message_id: recalled.map_err(|refusal| heard(refusal, caller.language))?,
        status: Some(ok()),
    })
}

/// The Python client takes MESSAGE_NOT_FOUND for success in every call, as it is where a receive brings nothing.
fn heard(refusal: Refusal, language: Language) -> Refusal {
    match (language, refusal.code) {
        (Language::Python, Code::MessageNotFound) => Refusal {
            code: Code::BadRequest,
            ..refusal
        },
        _ => refusal,
    }
}

/// EndTransaction.
pub(crate) async fn end_transaction(
    broker: &Broker,
    caller: &Caller,
    request: EndTransactionRequest,
) -> Result<EndTransactionResponse, Refusal> {
    let topic = name::topic(request.topic.as_ref(), caller)?;
    if request.transaction_id.trim().is_empty() {
        let what = "the transaction id is blank";
        return Err(Refusal::new(Code::InvalidTransactionId, what));
    }
    let resolution = match request.resolution() {
        TransactionResolution::Commit => Some(Resolution::Commit),
        TransactionResolution::Rollback => Some(Resolution::Rollback),
        // The sender does not know yet: he is asked again.
        TransactionResolution::Unspecified => None,
    };
    if let Some(resolution) = resolution {
        let id = request.transaction_id;
        let end = move |handles: &crate::broker::Handles| {
            Ok(handles.groups.end_transaction(&topic, &id, resolution)?)
        };
        broker.blocking(end).await?;
    }
    Ok(EndTransactionResponse { status: Some(ok()) })
}

/// Delivers what is due, until the server stops. Asleep while nothing is.
pub(crate) async fn deliver_due(broker: Arc<Broker>) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        let news = broker.store.listen_ledger();
        let due = broker.blocking(|handles| Ok(handles.groups.deliver_due(unix_ms())?));
        let wait = match due.await {
            Ok(due) => due.next.map(until),
            Err(refusal) => {
                let message = refusal.message;
                tracing::warn!(%message, "delayed messages could not be delivered; it is tried again");
                Some(LONGEST)
            }
        };
        let next = Instant::now() + wait.unwrap_or(LONGEST).min(LONGEST);
        tokio::select! {
            () = sleep_until(next), if wait.is_some() => {}
            () = news => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn until(time: u64) -> Duration {
    Duration::from_millis(time.saturating_sub(unix_ms()))
}

/// Asks about transactions without an end, until the server stops.
pub(crate) async fn ask(broker: Arc<Broker>) {
    let mut stopping = broker.stopping.subscribe();
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let asker = broker.clone();
        let asked = broker.blocking(move |handles| {
            let ask = |question: Question| ask_one(&asker, &question);
            Ok(handles.groups.ask(unix_ms(), ask)?)
        });
        if let Err(Refusal { message, .. }) = asked.await {
            tracing::warn!(%message, "open transactions could not be looked at; it is tried again");
        }
    }
}

/// Asks a producer of the topic; `false`: there is none that can be reached.
fn ask_one(broker: &Broker, question: &Question) -> bool {
    let topic = question.message.topic();
    let named = |resource: &Resource, caller: &Caller| {
        name::topic(Some(resource), caller).is_ok_and(|name| name == topic)
    };
    broker.clients.ask(named, |resource| {
        let message = read_message(&question.message, resource.clone(), &broker.store_host);
        let command = RecoverOrphanedTransactionCommand {
            message: Some(message),
            transaction_id: question.transaction_id.clone(),
        };
        TelemetryCommand {
            status: None,
            command: Some(Command::RecoverOrphanedTransactionCommand(command)),
        }
    })
}
