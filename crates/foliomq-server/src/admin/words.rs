//! What topics and groups are in the words of `foliomq.v1`, and back.

use foliomq_delivery::{Backoff, LiteProgress, Order};
use foliomq_proto::v1::query_messages_request::By;
use foliomq_proto::{v1, v2};
use foliomq_store::TopicType;

use crate::listing::{MAX_FOUND, Place, Query, Search};
use crate::properties::unix_ms_of;
use crate::rules;
use crate::status::Refusal;

pub(super) fn backoff(backoff: &Backoff) -> v1::Backoff {
    match backoff {
        Backoff::Steps(seconds) => v1::Backoff {
            seconds: seconds.clone(),
            factor: None,
        },
        Backoff::Exponential { initial, max, .. } => v1::Backoff {
            seconds: vec![*initial, *max],
            factor: Some(backoff.exponential().2),
        },
    }
}

pub(super) fn backoff_of(backoff: v1::Backoff) -> Result<Backoff, Refusal> {
    let made = match (backoff.factor, &backoff.seconds[..]) {
        (None, _) => Backoff::Steps(backoff.seconds),
        (Some(factor), &[initial, max]) => Backoff::Exponential {
            initial,
            max,
            // What does not fit becomes a bound, and is refused.
            thousandths: (factor * 1000.0).round() as u32,
        },
        (Some(_), _) => {
            let what = "an exponential back-off has a first and a longest pause";
            return Err(Refusal::new(v2::Code::BadRequest, what));
        }
    };
    made.check()?;
    Ok(made)
}

pub(super) fn order_of(code: i32) -> Result<Order, Refusal> {
    match v1::Order::try_from(code) {
        Ok(v1::Order::Auto) => Ok(Order::Auto),
        Ok(v1::Order::Free) => Ok(Order::Free),
        Ok(v1::Order::Queue) => Ok(Order::Queue),
        Ok(v1::Order::MessageGroup) => Ok(Order::MessageGroup),
        Err(_) => Err(Refusal::new(
            v2::Code::BadRequest,
            format!("{code} is not an order of a group"),
        )),
    }
}

pub(super) fn order_code(order: Order) -> v1::Order {
    match order {
        Order::Auto => v1::Order::Auto,
        Order::Free => v1::Order::Free,
        Order::Queue => v1::Order::Queue,
        Order::MessageGroup => v1::Order::MessageGroup,
    }
}

pub(super) fn group(group: foliomq_delivery::Group) -> v1::Group {
    let progress = group.queues.into_iter().map(|queue| v1::GroupQueue {
        topic: queue.topic,
        queue_id: queue.queue,
        committed: queue.committed,
        next: queue.next,
        max_offset: queue.max_offset,
        in_flight: queue.in_flight,
    });
    v1::Group {
        group: group.name,
        max_attempts: group.max_attempts,
        backoff: Some(backoff(&group.backoff)),
        order: order_code(group.order).into(),
        start: Some(rules::start(group.rules.start)),
        invisible: Some(rules::bounds(&group.rules)),
        progress: progress.collect(),
        lite: Vec::new(),
    }
}

/// Which messages are asked for.
pub(super) fn query(request: v1::QueryMessagesRequest) -> Result<Query, Refusal> {
    let from = match request.page.as_str() {
        "" => None,
        page => Some(Place::parse(page)?),
    };
    let begin = request.from.as_ref().map_or(0, unix_ms_of);
    let end = request.to.as_ref().map_or(u64::MAX, unix_ms_of);
    Ok(Query {
        topic: request.topic,
        search: match request.by {
            Some(By::MessageId(id)) => Search::Id(id),
            Some(By::Key(key)) => Search::Key(key),
            None => Search::All(from),
        },
        queue: request.queue_id,
        times: begin..=end,
        most: match request.limit {
            0 => MAX_FOUND,
            limit => limit as usize,
        },
        skip: 0,
    })
}

pub(super) fn group_lite(lite: LiteProgress) -> v1::GroupLite {
    v1::GroupLite {
        topic: lite.topic,
        lite_topics: lite.lite_topics,
        in_flight: lite.in_flight,
        ready: lite.ready,
    }
}

pub(crate) fn topic_kind(kind: v1::TopicType) -> TopicType {
    match kind {
        v1::TopicType::Any => TopicType::Any,
        v1::TopicType::Normal => TopicType::Normal,
        v1::TopicType::Fifo => TopicType::Fifo,
        v1::TopicType::Delay => TopicType::Delay,
        v1::TopicType::Transaction => TopicType::Transaction,
        v1::TopicType::Lite => TopicType::Lite,
        v1::TopicType::Priority => TopicType::Priority,
    }
}

pub(super) fn topic_type(kind: TopicType) -> v1::TopicType {
    match kind {
        TopicType::Any => v1::TopicType::Any,
        TopicType::Normal => v1::TopicType::Normal,
        TopicType::Fifo => v1::TopicType::Fifo,
        TopicType::Delay => v1::TopicType::Delay,
        TopicType::Transaction => v1::TopicType::Transaction,
        TopicType::Lite => v1::TopicType::Lite,
        TopicType::Priority => v1::TopicType::Priority,
    }
}
