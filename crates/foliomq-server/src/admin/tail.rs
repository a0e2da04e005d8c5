//! A topic as it is stored, message by message, for one caller.

use std::sync::Arc;

use foliomq_proto::{v1, v2};
use foliomq_store::StoredMessage;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;

use crate::broker::Broker;
use crate::properties::{timestamp, unix_ms_of};
use crate::status::{Refusal, grpc_status};

/// Messages that a tail reads at once, and that wait for a slow reader.
pub(super) const TAIL_BATCH: usize = 64;

/// Follows all queues of a topic for one caller.
pub(super) struct Tail {
    pub(super) broker: Arc<Broker>,
    pub(super) topic: String,
    pub(super) queues: u32,
    pub(super) sender: mpsc::Sender<Result<v1::TailedMessage, Status>>,
}

impl Tail {
    pub(super) async fn run(self, request: v1::TailRequest) {
        if let Err(refusal) = self.follow(&request).await {
            // The caller is gone if this does not arrive.
            let _ = self.sender.send(Err(grpc_status(refusal))).await;
        }
    }

    async fn follow(&self, request: &v1::TailRequest) -> Result<(), Refusal> {
        let mut stopping = self.broker.stopping.subscribe();
        let mut offsets = (0..self.queues)
            .map(|queue| self.first(queue, request.from))
            .collect::<Result<Vec<_>, _>>()?;
        loop {
            let arrival = self.broker.store.listen(&self.topic)?;
            self.add_queues(&mut offsets);
            let mut found = false;
            for (queue, offset) in offsets.iter_mut().enumerate() {
                let (messages, next) = self.read(queue as u32, *offset).await?;
                found |= next > *offset;
                *offset = next;
                for message in messages {
                    // A caller that does not read must not hold up a stop.
                    let sent = tokio::select! {
                        sent = self.sender.send(Ok(tailed(&message))) => sent.is_ok(),
                        _ = stopping.wait_for(|stop| *stop) => false,
                    };
                    if !sent {
                        return Ok(());
                    }
                }
            }
            if found {
                continue;
            }
            if !request.follow {
                return Ok(());
            }
            tokio::select! {
                () = arrival => {}
                () = self.sender.closed() => return Ok(()),
                _ = stopping.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Queues that the topic has got meanwhile are followed from their beginning.
    fn add_queues(&self, offsets: &mut Vec<u64>) {
        let topic = self.broker.store.topic(&self.topic);
        let queues = topic.map_or(0, |topic| topic.queues as usize);
        offsets.resize(queues.max(offsets.len()), 0);
    }

    /// Messages from `offset` on, and where to go on after them.
    async fn read(&self, queue: u32, offset: u64) -> Result<(Vec<StoredMessage>, u64), Refusal> {
        let topic = self.topic.clone();
        self.broker
            .blocking(move |handles| {
                let end = handles.store.offsets(&topic, queue)?.end;
                let messages = handles.store.read_many(&topic, queue, offset, TAIL_BATCH)?;
                // A whole batch that a salvage gave up is passed over: nothing else is missing below the end.
                let passed = end
                    .min(offset.saturating_add(TAIL_BATCH as u64))
                    .max(offset);
                let next = messages
                    .last()
                    .map_or(passed, |last| last.queue_offset() + 1);
                Ok((messages, next))
            })
            .await
    }

    fn first(&self, queue: u32, from: Option<v1::tail_request::From>) -> Result<u64, Refusal> {
        let offsets = self.broker.store.offsets(&self.topic, queue)?;
        Ok(match from {
            Some(v1::tail_request::From::Edge(edge)) if edge == v1::Edge::Latest as i32 => {
                offsets.end
            }
            Some(v1::tail_request::From::Time(time)) => {
                self.broker
                    .store
                    .offset_at(&self.topic, queue, unix_ms_of(&time))?
            }
            Some(v1::tail_request::From::Last(last)) => {
                offsets.end.saturating_sub(last.into()).max(offsets.start)
            }
            Some(v1::tail_request::From::Edge(_)) | None => offsets.start,
        })
    }
}

/// A message as it is stored, without what a delivery adds.
pub(super) fn tailed(message: &StoredMessage) -> v1::TailedMessage {
    let properties = v2::Message::decode(message.encoded_user_properties()).unwrap_or_default();
    let mut system =
        v2::SystemProperties::decode(message.encoded_system_properties()).unwrap_or_default();
    system.message_id = message.id().into_owned();
    system.store_timestamp = Some(timestamp(message.store_time()));
    system.queue_id = message.queue_id() as i32;
    system.queue_offset = Some(message.queue_offset() as i64);
    let topic = v2::Resource {
        name: message.topic().to_owned(),
        ..Default::default()
    };
    v1::TailedMessage {
        queue_id: message.queue_id(),
        queue_offset: message.queue_offset(),
        message: Some(v2::Message {
            topic: Some(topic),
            user_properties: properties.user_properties,
            system_properties: Some(system),
            body: message.body_bytes(),
        }),
    }
}
