//! What a group has yet to do: in all, by topic, and in one lite topic.

use std::collections::HashMap;

use foliomq_delivery::{DeliveryError, Group, GroupQueue, LiteProgress};
use foliomq_proto::v2::describe_group_accumulation_response::GroupAccumulation;
use foliomq_proto::v2::{Code, DescribeGroupAccumulationResponse};

use crate::broker::Handles;
use crate::status::{Refusal, ok};

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
        sum(queues, all.iter().filter(|lite| lite.topic == *topic))
    };
    let of_lite = lite.map(|lite| of_lite(handles, group, topics, lite));
    Ok(DescribeGroupAccumulationResponse {
        status: Some(ok()),
        accumulation: Some(sum(queues.iter(), all.iter())),
        topic_accumulation: topics
            .iter()
            .map(|topic| (topic.clone(), of_topic(topic)))
            .collect(),
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
    Ok([(lite.to_owned(), sum(states.iter(), [].iter()))].into())
}

fn sum<'a>(
    queues: impl Iterator<Item = &'a GroupQueue>,
    lite: impl Iterator<Item = &'a LiteProgress>,
) -> GroupAccumulation {
    let queues = queues.map(|queue| (queue.in_flight, queue.max_offset.saturating_sub(queue.next)));
    let parts = queues.chain(lite.map(|lite| (lite.in_flight, lite.ready)));
    parts.fold(
        GroupAccumulation::default(),
        |mut sum, (in_flight, ready)| {
            sum.inflight_messages += in_flight as i64;
            sum.ready_messages += ready as i64;
            sum.accumulation += (in_flight + ready) as i64;
            sum
        },
    )
}
