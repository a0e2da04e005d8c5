//! A Subscribe stream: credit and settlements out, messages in.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use foliomq_proto::v1::{
    GroupSource, Open, QueueSource, QueueStart, Settle, Settlement, SubscribeRequest, open::From,
    subscribe_request::Request,
};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::time::timeout;

use crate::call::{Call, chunk, send};
use crate::connection::answer;
use crate::consume::Consumer;
use crate::encoded::frame;
use crate::error::{LoadError, check};
use crate::light::Response;
use crate::plan::Workload;
use crate::walk::Walk;

/// Stored messages come without pauses; after one of this length there are no more.
const LULL: Duration = Duration::from_secs(1);

const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";
/// Field of the deliveries in `SubscribeResponse`.
const DELIVERIES: u32 = 1;
/// Messages that may be under way; half of it is given again when half is used.
const CREDIT: u32 = 1 << 16;

/// Subscribes again and again: each time, over stored messages, from the start.
pub(crate) async fn subscribe(consumer: &Consumer) -> Result<(), LoadError> {
    let uri = consumer.connection.uri(SUBSCRIBE)?;
    loop {
        let pass = consumer.pass.load(Ordering::Relaxed);
        let (mut stream, response) = consumer.connection.stream(&uri).await?;
        send(&mut stream, open(consumer, pass)).await?;
        let body = answer(response).await?;
        let more = if consumer.plan.acknowledge {
            settle(consumer, pass, stream, Call::new(body)).await?
        } else {
            count(consumer, pass, stream, body).await?
        };
        if !more {
            return Ok(());
        }
    }
}

/// Counts until the pass is over (`true`), or all messages of the plan have come.
async fn count(
    consumer: &Consumer,
    pass: u64,
    mut stream: SendStream<Bytes>,
    mut body: RecvStream,
) -> Result<bool, LoadError> {
    let (mut walk, mut counted, mut given) = (Walk::new(DELIVERIES), 0, 0);
    while let Ok(next) = timeout(LULL, chunk(&mut body)).await {
        let Some(chunk) = next? else {
            return Err(ended());
        };
        walk.feed(&chunk);
        let new = walk.found() - counted;
        counted += new;
        if new > 0 && !consumer.note(pass, new) {
            return Ok(false);
        }
        if consumer.pass.load(Ordering::Relaxed) != pass {
            return Ok(true);
        }
        given += credit(&mut stream, counted - given).await?;
    }
    consumer.exhausted(pass);
    Ok(true)
}

fn ended() -> LoadError {
    LoadError::Protocol("the subscription ended".to_owned())
}

/// Acknowledges each response on the same stream.
async fn settle(
    consumer: &Consumer,
    pass: u64,
    mut stream: SendStream<Bytes>,
    mut call: Call,
) -> Result<bool, LoadError> {
    let (mut counted, mut given, mut id) = (0, 0, 0);
    while let Some(response) = call.next().await? {
        let response = Response::decode(response)?;
        if response.status.is_some() {
            check(response.status.as_ref())?;
        }
        let settled = response
            .settled
            .iter()
            .flat_map(|settled| &settled.statuses);
        settled.map(Some).try_for_each(check)?;
        let new = response.deliveries.len() as u64;
        if new == 0 {
            continue;
        }
        for delivery in &response.deliveries {
            consumer.arrived(delivery.body());
        }
        let handles = response
            .deliveries
            .into_iter()
            .map(|delivery| delivery.handle);
        id += 1;
        let request = Request::Settle(Settle {
            id,
            topic: consumer.plan.topic.clone(),
            handles: handles.collect(),
            how: Settlement::Ack.into(),
            after: None,
        });
        send(&mut stream, request_frame(request)).await?;
        counted += new;
        if !consumer.note(pass, new) {
            return Ok(false);
        }
        if consumer.pass.load(Ordering::Relaxed) != pass {
            return Ok(true);
        }
        given += credit(&mut stream, counted - given).await?;
    }
    Err(ended())
}

/// Gives back what was used, if that is much; returns how much.
async fn credit(stream: &mut SendStream<Bytes>, used: u64) -> Result<u64, LoadError> {
    if used < u64::from(CREDIT) / 2 {
        return Ok(0);
    }
    send(stream, request_frame(Request::Credit(used as u32))).await?;
    Ok(used)
}

fn open(consumer: &Consumer, pass: u64) -> Bytes {
    let topic = consumer.plan.topic.clone();
    let grouped = consumer.plan.acknowledge || consumer.plan.workload == Workload::Roundtrip;
    let from = if grouped {
        From::Group(GroupSource {
            group: consumer.group_of(pass),
            topics: vec![topic],
            invisible: None,
        })
    } else {
        let start = |queue: &foliomq_proto::v1::Queue| QueueStart {
            topic: topic.clone(),
            queue_id: queue.id,
            queue_offset: queue.min_offset,
        };
        let queues = consumer.queues.iter().map(start).collect();
        From::Queues(QueueSource { queues })
    };
    request_frame(Request::Open(Open {
        from: Some(from),
        credit: CREDIT,
        ..Open::default()
    }))
}

fn request_frame(request: Request) -> Bytes {
    frame(&SubscribeRequest {
        request: Some(request),
    })
}
