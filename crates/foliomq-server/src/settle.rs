//! What a consumer says of a delivery: AckMessage, ChangeInvisibleDuration, ForwardMessageToDeadLetterQueue.

use std::time::Duration;

use foliomq_delivery::DeliveryError;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, AckMessageResponse, AckMessageResultEntry,
    ChangeInvisibleDurationRequest, ChangeInvisibleDurationResponse, Code,
    ForwardMessageToDeadLetterQueueRequest, ForwardMessageToDeadLetterQueueResponse, Status,
};

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::name;
use crate::properties::{duration, unix_ms};
use crate::receive::MAX_INVISIBLE;
use crate::status::{Refusal, ok};

/// Most entries of one request.
const MAX_ENTRIES: usize = 4096;
/// The shortest time after which a push consumer gets a message again that it refused: a client that asks for none at
/// all would go in circles.
const MIN_BACKOFF: Duration = Duration::from_millis(100);

pub(crate) fn ack(
    broker: &Broker,
    caller: &Caller,
    request: AckMessageRequest,
) -> Result<AckMessageResponse, Refusal> {
    let group = name::group(request.group.as_ref(), caller)?;
    let topic = name::topic(request.topic.as_ref(), caller)?;
    if request.entries.is_empty() || request.entries.len() > MAX_ENTRIES {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("an ack holds 1 to {MAX_ENTRIES} entries"),
        ));
    }
    let handles = request
        .entries
        .iter()
        .map(|entry| &entry.receipt_handle[..]);
    let handles: Vec<&str> = handles.collect();
    for handle in &handles {
        broker.renewals.remove(&caller.client_id, handle);
    }
    let acked = broker.groups.ack_all(&group, &topic, &handles, unix_ms());
    let settled = |(entry, acked): (AckMessageEntry, Result<(), DeliveryError>)| {
        let acked = tolerate(
            broker,
            caller,
            &entry.receipt_handle,
            acked.map_err(Refusal::from),
        );
        let status = acked.map_or_else(|refusal| refusal.status(caller.language), |()| ok());
        AckMessageResultEntry {
            message_id: entry.message_id,
            receipt_handle: entry.receipt_handle,
            status: Some(status),
        }
    };
    let entries: Vec<_> = request
        .entries
        .into_iter()
        .zip(acked)
        .map(settled)
        .collect();
    Ok(AckMessageResponse {
        status: Some(summary(&entries)),
        entries,
    })
}

/// The status that all entries share, or that they do not.
fn summary(entries: &[AckMessageResultEntry]) -> Status {
    let mut statuses = entries.iter().filter_map(|entry| entry.status.as_ref());
    let first = statuses.next().cloned().unwrap_or_else(ok);
    if statuses.all(|status| status.code == first.code) {
        return first;
    }
    Status {
        code: Code::MultipleResults.into(),
        message: "the entries have different results".to_owned(),
    }
}

pub(crate) fn change_invisible(
    broker: &Broker,
    caller: &Caller,
    request: ChangeInvisibleDurationRequest,
) -> Result<ChangeInvisibleDurationResponse, Refusal> {
    let handle = request.receipt_handle.clone();
    // The handle is in the answer in any case: a client takes it over before it looks at the status.
    Ok(match new_handle(broker, caller, request) {
        Ok(receipt_handle) => ChangeInvisibleDurationResponse {
            status: Some(ok()),
            receipt_handle,
        },
        Err(refusal) => ChangeInvisibleDurationResponse {
            status: Some(refusal.status(caller.language)),
            receipt_handle: handle,
        },
    })
}

fn new_handle(
    broker: &Broker,
    caller: &Caller,
    request: ChangeInvisibleDurationRequest,
) -> Result<String, Refusal> {
    let group = name::group(request.group.as_ref(), caller)?;
    let topic = name::topic(request.topic.as_ref(), caller)?;
    let invisible = request
        .invisible_duration
        .as_ref()
        .and_then(duration)
        .filter(|asked| *asked <= MAX_INVISIBLE);
    let Some(invisible) = invisible else {
        return Err(Refusal::new(
            Code::IllegalInvisibleTime,
            "the invisible time is not between 0 and 12 h",
        ));
    };
    let handle = request.receipt_handle;
    let is_push = broker.groups.is_auto_renewed(&handle) == Some(true);
    let invisible = if is_push {
        invisible.max(MIN_BACKOFF)
    } else {
        invisible
    };
    broker.renewals.remove(&caller.client_id, &handle);
    let now = unix_ms();
    let changed = if request.suspend == Some(true) {
        broker
            .groups
            .suspend(&group, &topic, &handle, invisible, now)
    } else {
        broker
            .groups
            .change_invisible(&group, &topic, &handle, invisible, now)
    };
    match changed.map_err(Refusal::from) {
        Ok(new) => Ok(new),
        Err(refusal) => tolerate(broker, caller, &handle, Err(refusal)).map(|()| handle),
    }
}

pub(crate) async fn dead_letter(
    broker: &Broker,
    caller: &Caller,
    request: ForwardMessageToDeadLetterQueueRequest,
) -> Result<ForwardMessageToDeadLetterQueueResponse, Refusal> {
    let group = name::group(request.group.as_ref(), caller)?;
    let topic = name::topic(request.topic.as_ref(), caller)?;
    let handle = request.receipt_handle;
    broker.renewals.remove(&caller.client_id, &handle);
    let sent = handle.clone();
    let done = broker
        .blocking(move |handles| {
            Ok(handles
                .groups
                .dead_letter(&group, &topic, &sent, unix_ms())?)
        })
        .await;
    tolerate(broker, caller, &handle, done)?;
    Ok(ForwardMessageToDeadLetterQueueResponse { status: Some(ok()) })
}

/// The Rust push consumer repeats a failed call for ever, and holds up its queue meanwhile; what is settled otherwise is
/// as good as done for it.
fn tolerate(
    broker: &Broker,
    caller: &Caller,
    handle: &str,
    result: Result<(), Refusal>,
) -> Result<(), Refusal> {
    match result {
        Err(refusal)
            if refusal.code == Code::InvalidReceiptHandle
                && caller.language == Language::Rust
                && broker.groups.is_auto_renewed(handle) == Some(true) =>
        {
            Ok(())
        }
        other => other,
    }
}
