//! What a subscriber says of its deliveries.

use std::time::Duration;

use foliomq_proto::v1::{Settle, Settled, Settlement};
use foliomq_proto::v2::Code;

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
    let after = after
        .filter(|after| *after <= MAX_INVISIBLE)
        .ok_or_else(|| {
            Refusal::new(
                Code::IllegalInvisibleTime,
                "the time is not between 0 and 12 h",
            )
        })?;
    let (mut statuses, mut handles) = (Vec::new(), Vec::new());
    for handle in settle.handles {
        let now = unix_ms();
        let done = match how {
            Settlement::Ack => broker.groups.ack(group, &topic, &handle, now),
            Settlement::Release => broker.groups.release(&handle, now),
            Settlement::Nack | Settlement::Extend => broker
                .groups
                .change_invisible(group, &topic, &handle, after, now)
                .map(|new| {
                    if how == Settlement::Extend {
                        handles.push(new);
                    }
                }),
        };
        if how == Settlement::Extend && done.is_err() {
            handles.push(handle);
        }
        let status = done.map(|()| ok());
        statuses.push(status.unwrap_or_else(|error| Refusal::from(error).status(Language::Other)));
    }
    Ok(Settled {
        id: settle.id,
        statuses,
        handles,
    })
}
