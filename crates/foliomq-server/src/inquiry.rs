//! Questions of an operator that a connected client answers over its telemetry stream.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use foliomq_proto::v2::{
    Code, PrintThreadStackTraceCommand, Resource, Status, TelemetryCommand, VerifyMessageCommand,
    telemetry_command::Command,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::broker::{Broker, Handles};
use crate::caller::Caller;
use crate::properties::read_message;
use crate::settings::of_group;
use crate::status::{Refusal, ok};

/// How long a client may think about its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer leaves so long before the operator stops waiting.
const ANSWER_AHEAD: Duration = Duration::from_millis(200);
/// Questions without an answer at once.
const MAX_OPEN: usize = 1024;

/// The questions that are open, by nonce.
#[derive(Debug, Default)]
pub(crate) struct Inquiries(Mutex<HashMap<String, Open>>);

#[derive(Debug)]
struct Open {
    /// Nobody else's answer counts.
    client_id: String,
    answer: oneshot::Sender<TelemetryCommand>,
}

impl Inquiries {
    /// Takes what a client says, if it answers a question that it was asked.
    pub(crate) fn answered(&self, caller: &Caller, command: TelemetryCommand) {
        let nonce = match &command.command {
            Some(Command::ThreadStackTrace(trace)) => &trace.nonce,
            Some(Command::VerifyMessageResult(result)) => &result.nonce,
            _ => return,
        };
        let mut open = self.0.lock();
        if open
            .get(nonce)
            .is_some_and(|open| open.client_id == caller.client_id)
            && let Some(asked) = open.remove(nonce)
        {
            // Who asked may have gone.
            let _ = asked.answer.send(command);
        }
    }

    fn open(&self, client_id: &str) -> Result<Waiting<'_>, Refusal> {
        let mut open = self.0.lock();
        if open.len() >= MAX_OPEN {
            let what = format!("{MAX_OPEN} questions to clients are open");
            return Err(Refusal::new(Code::TooManyRequests, what));
        }
        // Not to be guessed by another client.
        let nonce = format!("{:016x}", RandomState::new().build_hasher().finish());
        let (answer, coming) = oneshot::channel();
        let client_id = client_id.to_owned();
        open.insert(nonce.clone(), Open { client_id, answer });
        Ok(Waiting {
            inquiries: self,
            nonce,
            coming,
        })
    }
}

/// A question that is open; it is forgotten with this.
struct Waiting<'a> {
    inquiries: &'a Inquiries,
    nonce: String,
    coming: oneshot::Receiver<TelemetryCommand>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inquiries.0.lock().remove(&self.nonce);
    }
}

/// A stored message that a client is to consume on trial. Names as the store has them.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) client_id: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) message_id: String,
}

/// Has a client consume a message on trial; the answer says how that went. The client is told the topic as `named`.
pub(crate) async fn verify(
    broker: &Broker,
    operator: &Caller,
    trial: Trial,
    named: Resource,
) -> Result<Status, Refusal> {
    let Trial {
        client_id,
        group,
        topic,
        message_id: id,
    } = trial;
    let in_group = broker.clients.look(&client_id, |client| {
        let declared = client.declared();
        declared.and_then(|(own, settings)| of_group(settings, own)) == Some(group.clone())
    });
    if in_group != Some(true) {
        let what = format!("no client {client_id} of group {group} is connected");
        return Err(Refusal::new(Code::NotFound, what));
    }
    let work = move |handles: &Handles| {
        let found = handles.store.find_by_id(&topic, &id, 1)?;
        let none = || Refusal::new(Code::MessageNotFound, format!("no message {id} in {topic}"));
        found.into_iter().next().ok_or_else(none)
    };
    let found = broker.blocking(work).await?;
    let mut message = read_message(&found, named, &broker.store_host);
    if let Some(system) = &mut message.system_properties {
        // Clients do not read a message without one.
        system.delivery_attempt = Some(1);
    }
    let command = |nonce| {
        let message = Some(message);
        Command::VerifyMessageCommand(VerifyMessageCommand { nonce, message })
    };
    let answer = ask(broker, operator, &client_id, command).await?;
    Ok(outcome(answer.status))
}

/// Asks a client what its threads do.
pub(crate) async fn stack_trace(
    broker: &Broker,
    operator: &Caller,
    client_id: &str,
) -> Result<(Status, Option<String>), Refusal> {
    let command =
        |nonce| Command::PrintThreadStackTraceCommand(PrintThreadStackTraceCommand { nonce });
    let answer = ask(broker, operator, client_id, command).await?;
    let trace = match answer.command {
        Some(Command::ThreadStackTrace(trace)) => trace.thread_stack_trace,
        _ => None,
    };
    Ok((outcome(answer.status), trace))
}

/// What a client says of it; one that gives no code has nothing to complain of.
fn outcome(status: Option<Status>) -> Status {
    let status = status.filter(|status| status.code != i32::from(Code::Unspecified));
    status.unwrap_or_else(ok)
}

async fn ask(
    broker: &Broker,
    operator: &Caller,
    client_id: &str,
    command: impl FnOnce(String) -> Command,
) -> Result<TelemetryCommand, Refusal> {
    let mut waiting = broker.inquiries.open(client_id)?;
    let question = TelemetryCommand {
        status: None,
        command: Some(command(waiting.nonce.clone())),
    };
    if !broker.clients.send_to(client_id, question) {
        let what = format!("no client {client_id} has its telemetry open and reads it");
        return Err(Refusal::new(Code::NotFound, what));
    }
    let patience = operator.timeout.map_or(PATIENCE, |limit| {
        limit.saturating_sub(ANSWER_AHEAD).min(PATIENCE)
    });
    match timeout(patience, &mut waiting.coming).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Refusal::new(
            Code::RequestTimeout,
            format!("client {client_id} did not answer within {patience:?}"),
        )),
    }
}
