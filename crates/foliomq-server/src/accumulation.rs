//! What a group has yet to do: in all, by topic, and in one lite topic.

use std::collections::HashMap;

use foliomq_delivery::{DeliveryError, Group, GroupQueue, LiteProgress};
use foliomq_proto::v2::describe_group_accumulation_response::GroupAccumulation;
use foliomq_proto::v2::{Code, DescribeGroupAccumulationResponse};
use foliomq_store::Store;

use crate::broker::Handles;
use crate::status::{Refusal, ok};
use crate::time_span::reached;

/// Names as the store has them. A lite topic is one of the topics that are named.
pub(crate) fn describe(
    handles: &Handles,
    group: &str,
    topics: &[String],
    lite: Option<&str>,
) -> Result<DescribeGroupAccumulationResponse, Refusal> {
    let unknown = || DeliveryError::UnknownGroup {
        group: group.to_owned(),
    };
    let Group { queues, .. } = handles.groups.group(group).ok_or_else(unknown)?;
    let all = handles.groups.lite_progress(group);
    let of_topic = |topic: &String| {
        let queues = queues.iter().filter(|queue| queue.topic == *topic);
        let lite = all.iter().filter(|lite| lite.topic == *topic);
        Ok((topic.clone(), sum(&handles.store, queues, lite)?))
    };
    let of_lite = lite.map(|lite| of_lite(handles, group, topics, lite));
    Ok(DescribeGroupAccumulationResponse {
        status: Some(ok()),
        accumulation: Some(sum(&handles.store, queues.iter(), all.iter())?),
        topic_accumulation: topics
            .iter()
            .map(of_topic)
            .collect::<Result<_, Refusal>>()?,
        lite_topic_accumulation: of_lite.transpose()?.unwrap_or_default(),
    })
}

/// Of the lite topic in whichever of the topics the group reads it.
fn of_lite(
    handles: &Handles,
    group: &str,
    topics: &[String],
    lite: &str,
) -> Result<HashMap<String, GroupAccumulation>, Refusal> {
    let states = topics
        .iter()
        .filter_map(|topic| handles.groups.lite_queue(group, topic, lite));
    let states: Vec<GroupQueue> = states.collect();
    if states.is_empty() {
        let what = format!("group {group} reads no lite topic {lite} of the topics named");
        return Err(Refusal::new(Code::NotFound, what));
    }
    let sum = sum(&handles.store, states.iter(), [].iter())?;
    Ok([(lite.to_owned(), sum)].into())
}

/// The times are those of the queues: what lags most, and what was done last. Lite topics are too many to look into each.
fn sum<'a>(
    store: &Store,
    queues: impl Iterator<Item = &'a GroupQueue>,
    lite: impl Iterator<Item = &'a LiteProgress>,
) -> Result<GroupAccumulation, Refusal> {
    let (mut sum, mut delay) = (GroupAccumulation::default(), 0);
    for queue in queues {
        let ready = queue.max_offset.saturating_sub(queue.next);
        add(&mut sum, queue.in_flight, ready);
        let reached = reached(store, queue)?;
        delay = reached.delay.max(delay);
        sum.last_consume_timestamp = reached.done.max(sum.last_consume_timestamp);
    }
    lite.for_each(|lite| add(&mut sum, lite.in_flight, lite.ready));
    sum.deliver_delay_time = Some(prost_types::Duration {
        seconds: delay / 1000,
        nanos: (delay % 1000) as i32 * 1_000_000,
    });
    Ok(sum)
}

fn add(sum: &mut GroupAccumulation, in_flight: u64, ready: u64) {
    sum.inflight_messages += in_flight as i64;
    sum.ready_messages += ready as i64;
    sum.accumulation += (in_flight + ready) as i64;
}
