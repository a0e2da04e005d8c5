//! What a subscriber says of its deliveries.

use std::time::Duration;

use foliomq_delivery::DeliveryError;
use foliomq_proto::v1::{Settle, Settled, Settlement};
use foliomq_proto::v2::{Code, Status};

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::name;
use crate::properties::{duration, unix_ms};
use crate::receive::MAX_INVISIBLE;
use crate::status::{Refusal, ok};

/// Most handles of one request.
const MAX_HANDLES: usize = 4096;

/// Settles each; an error is one of the request itself.
pub(crate) fn settle(
    broker: &Broker,
    caller: &Caller,
    group: Option<&str>,
    settle: Settle,
) -> Result<Settled, Refusal> {
    let bad = |what: &str| Refusal::new(Code::BadRequest, what);
    let group = group.ok_or_else(|| bad("without a group there is nothing to settle"))?;
    if !(1..=MAX_HANDLES).contains(&settle.handles.len()) {
        return Err(bad(&format!(
            "a settlement names 1 to {MAX_HANDLES} handles"
        )));
    }
    let how = Settlement::try_from(settle.how).map_err(|_| bad("an unknown settlement"))?;
    let topic = name::topic(Some(&name::resource(&settle.topic)), caller)?;
    let after = settle.after.as_ref().map_or(Some(Duration::ZERO), duration);
    let Some(after) = after.filter(|after| *after <= MAX_INVISIBLE) else {
        // No reason to end a stream on which others settle.
        let what = "the time is not between 0 and 12 h";
        let refused = Refusal::new(Code::IllegalInvisibleTime, what).status(Language::Other);
        return Ok(Settled {
            id: settle.id,
            statuses: vec![refused; settle.handles.len()],
            handles: Vec::new(),
        });
    };
    let place = (group, &topic[..]);
    let (results, handles) = match how {
        Settlement::Ack => {
            // An extension may have been done whose answer nobody has heard.
            let acked = broker
                .groups
                .ack_all_again(group, &topic, &settle.handles, unix_ms());
            (acked, Vec::new())
        }
        Settlement::Extend => extend(broker, place, settle.handles, after),
        Settlement::Nack | Settlement::Release => {
            let one = |handle: &String| match how {
                Settlement::Nack => put_off(broker, place, handle, after).map(drop),
                _ => broker.groups.release(handle, unix_ms()),
            };
            (settle.handles.iter().map(one).collect(), Vec::new())
        }
    };
    Ok(Settled {
        id: settle.id,
        statuses: statuses(results),
        handles,
    })
}

/// The results, and the handles from now on.
fn extend(
    broker: &Broker,
    place: (&str, &str),
    handles: Vec<String>,
    after: Duration,
) -> (Vec<Result<(), DeliveryError>>, Vec<String>) {
    let one = |handle: String| match put_off(broker, place, &handle, after) {
        Ok(new) => (Ok(()), new),
        Err(error) => (Err(error), handle),
    };
    handles.into_iter().map(one).unzip()
}

fn put_off(
    broker: &Broker,
    (group, topic): (&str, &str),
    handle: &str,
    after: Duration,
) -> Result<String, DeliveryError> {
    let groups = &broker.groups;
    // A client whose stream broke says again what was not answered.
    groups.change_invisible_again(group, topic, handle, after, unix_ms())
}

/// None where all went well, as they nearly always do: else one for each.
fn statuses(results: Vec<Result<(), DeliveryError>>) -> Vec<Status> {
    if results.iter().all(Result::is_ok) {
        return Vec::new();
    }
    let status = |result: Result<(), DeliveryError>| {
        let refused = |error| Refusal::from(error).status(Language::Other);
        result.map_or_else(refused, |()| ok())
    };
    results.into_iter().map(status).collect()
}
