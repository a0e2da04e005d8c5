//! UpdateOffset, GetOffset and QueryOffset: a group's place in a queue, and a queue's own bounds.

use foliomq_delivery::{DeliveryError, ResetTo};
use foliomq_proto::v2::{
    Code, GetOffsetRequest, GetOffsetResponse, MessageQueue, QueryOffsetPolicy, QueryOffsetRequest,
    QueryOffsetResponse, UpdateOffsetRequest, UpdateOffsetResponse,
};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::name;
use crate::properties::unix_ms_of;
use crate::status::{Refusal, ok};

/// Moves the group in a queue: everything below the offset is done. What receives hold there is forgotten.
pub(crate) async fn update_offset(
    broker: &Broker,
    caller: &Caller,
    request: UpdateOffsetRequest,
) -> Result<UpdateOffsetResponse, Refusal> {
    let group = name::group(request.group.as_ref(), caller)?;
    let (topic, queue) = queue(broker, caller, request.message_queue.as_ref()).await?;
    let offset = offset(request.offset)?;
    let end = broker.store.offsets(&topic, queue)?.end;
    if offset > end {
        let what = format!("queue {queue} ends at {end}, before {offset}");
        return Err(Refusal::new(Code::IllegalOffset, what));
    }
    if !broker.config.auto_create && broker.groups.group(&group).is_none() {
        return Err(DeliveryError::UnknownGroup { group }.into());
    }
    let to = ResetTo::Offset(offset);
    let work = move |handles: &crate::broker::Handles| {
        Ok(handles.groups.seek(&group, &topic, queue, to)?)
    };
    broker.blocking(work).await?;
    Ok(UpdateOffsetResponse { status: Some(ok()) })
}

/// Below which offset the group is done with every message.
pub(crate) async fn get_offset(
    broker: &Broker,
    caller: &Caller,
    request: GetOffsetRequest,
) -> Result<GetOffsetResponse, Refusal> {
    let group = name::group(request.group.as_ref(), caller)?;
    let (topic, queue) = queue(broker, caller, request.message_queue.as_ref()).await?;
    let Some(offset) = broker.groups.offset(&group, &topic, queue)? else {
        let what = format!("group {group} has no offset in topic {topic}");
        return Err(Refusal::new(Code::OffsetNotFound, what));
    };
    Ok(GetOffsetResponse {
        status: Some(ok()),
        offset: offset as i64,
    })
}

/// The queue's first offset, the one that its next message gets, or the first stored at a time or after it.
pub(crate) async fn query_offset(
    broker: &Broker,
    caller: &Caller,
    request: QueryOffsetRequest,
) -> Result<QueryOffsetResponse, Refusal> {
    let (topic, queue) = queue(broker, caller, request.message_queue.as_ref()).await?;
    let held = broker.store.offsets(&topic, queue)?;
    let policy = QueryOffsetPolicy::try_from(request.query_offset_policy);
    let offset = match (policy, request.timestamp) {
        (Ok(QueryOffsetPolicy::Beginning), _) => held.start,
        (Ok(QueryOffsetPolicy::End), _) => held.end,
        (Ok(QueryOffsetPolicy::Timestamp), Some(time)) => {
            let time = unix_ms_of(&time);
            let work = move |handles: &crate::broker::Handles| {
                Ok(handles.store.offset_at(&topic, queue, time)?)
            };
            broker.blocking(work).await?
        }
        (Ok(QueryOffsetPolicy::Timestamp), None) => {
            return Err(Refusal::new(
                Code::BadRequest,
                "the policy TIMESTAMP needs a timestamp",
            ));
        }
        (Err(_), _) => {
            let what = format!("there is no offset policy {}", request.query_offset_policy);
            return Err(Refusal::new(Code::BadRequest, what));
        }
    };
    Ok(QueryOffsetResponse {
        status: Some(ok()),
        offset: offset as i64,
    })
}

/// The store's name of the topic, and the number of the one queue that is meant.
pub(crate) async fn queue(
    broker: &Broker,
    caller: &Caller,
    queue: Option<&MessageQueue>,
) -> Result<(String, u32), Refusal> {
    let name = name::topic(queue.and_then(|queue| queue.topic.as_ref()), caller)?;
    let number = queue.map_or(0, |queue| queue.id);
    let topic = broker.topic(&name).await?;
    let number = u32::try_from(number)
        .ok()
        .filter(|number| *number < topic.queues);
    let number = number.ok_or_else(|| {
        let what = format!("topic {name} has the queues 0 to {}", topic.queues - 1);
        Refusal::new(Code::BadRequest, what)
    })?;
    Ok((name, number))
}

/// An offset from the wire.
pub(crate) fn offset(offset: i64) -> Result<u64, Refusal> {
    let refused = |_| Refusal::new(Code::IllegalOffset, format!("{offset} is not an offset"));
    u64::try_from(offset).map_err(refused)
}
