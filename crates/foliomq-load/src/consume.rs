//! Consumers: what they have in common, and ReceiveMessage calls side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foliomq_proto::v1::Queue;
use foliomq_proto::v2::{
    self, AckMessageEntry, AckMessageRequest, AckMessageResponse, ReceiveMessageRequest,
    ReceiveMessageResponse, receive_message_response::Content,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;

use crate::call::{Call, chunk};
use crate::connection::Connection;
use crate::encoded::{frame, resource};
use crate::error::{LoadError, check};
use crate::handed;
use crate::meter::Meter;
use crate::plan::{Api, Plan, STAMP, Workload};
use crate::receive;
use crate::walk::Walk;

const RECEIVE: &str = "/apache.rocketmq.v2.MessagingService/ReceiveMessage";
const ACK: &str = "/apache.rocketmq.v2.MessagingService/AckMessage";
/// Messages of one ReceiveMessage: the most that there are.
const BATCH: i32 = 32;
/// Field of a message in `ReceiveMessageResponse`.
const MESSAGE: u32 = 2;
/// How long a delivery stays with the load, seconds.
const INVISIBLE: i64 = 300;
/// How long a consumer of stored messages waits for more, milliseconds: there are none to come.
const SHORT: u64 = 50;
/// A round trip waits as long as the broker allows: a push-style consumer.
const LONG: u64 = 20_000;

/// One of the consumers of a load.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) plan: Arc<Plan>,
    pub(crate) connection: Connection,
    /// In whose hands the messages come, where they are decoded.
    pub(crate) client: Option<foliomq_client::Client>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) number: usize,
    /// Whose messages are shared out; each pass over stored messages has a group of its own.
    pub(crate) group: String,
    /// The topic's queues, with what they held when the load began.
    pub(crate) queues: Arc<[Queue]>,
    /// Over stored messages: from the start again once all were there.
    pub(crate) pass: AtomicU64,
    pub(crate) got: AtomicU64,
}

impl Consumer {
    /// Consumes until it is dropped, or the messages of the plan have come.
    pub(crate) async fn run(self) -> Result<(), LoadError> {
        if let Some(client) = &self.client {
            return handed::consume(&self, client).await;
        }
        if self.plan.api == Api::Native {
            return receive::subscribe(&self).await;
        }
        let calls = (0..self.plan.in_flight).map(|_| self.receive_all());
        let mut calls: FuturesUnordered<_> = calls.collect();
        while let Some(ended) = calls.next().await {
            ended?;
        }
        Ok(())
    }

    /// Notes messages, and that a pass is over; `false` once the plan's are all there.
    pub(crate) fn note(&self, pass: u64, messages: u64) -> bool {
        if self.plan.workload == Workload::Consume {
            self.meter.came(messages);
            if self.pass.load(Ordering::Relaxed) == pass {
                let got = self.got.fetch_add(messages, Ordering::Relaxed) + messages;
                if got >= self.held() {
                    self.got.store(0, Ordering::Relaxed);
                    self.pass.store(pass + 1, Ordering::Relaxed);
                }
            }
        }
        // The messages of a round trip are numbered where they leave.
        self.plan.workload == Workload::Roundtrip || self.meter.take(messages as usize)
    }

    /// Nothing more came: stored messages are all there, also if there are fewer than there were.
    pub(crate) fn exhausted(&self, pass: u64) {
        let next = self
            .pass
            .compare_exchange(pass, pass + 1, Ordering::Relaxed, Ordering::Relaxed);
        if next.is_ok() {
            self.got.store(0, Ordering::Relaxed);
        }
    }

    /// Takes the latency of a round trip from the stamp of its body.
    pub(crate) fn arrived(&self, body: &[u8]) {
        let stamp = body.first_chunk::<STAMP>().copied().map(u64::from_le_bytes);
        if let Some(stamp) = stamp.filter(|_| self.plan.workload == Workload::Roundtrip) {
            let intended = self.meter.epoch + Duration::from_nanos(stamp);
            if intended <= Instant::now() {
                self.meter.done(self.number, intended, 1);
            }
        }
    }

    pub(crate) fn group_of(&self, pass: u64) -> String {
        match self.plan.workload {
            Workload::Roundtrip => self.group.clone(),
            _ => format!("{}-{}-{pass}", self.group, self.number),
        }
    }

    fn held(&self) -> u64 {
        let held = |queue: &Queue| queue.max_offset - queue.min_offset;
        self.queues.iter().map(held).sum()
    }

    async fn receive_all(&self) -> Result<(), LoadError> {
        loop {
            let pass = self.pass.load(Ordering::Relaxed);
            let messages = if self.plan.acknowledge {
                self.receive_and_acknowledge(pass).await?
            } else {
                self.receive_and_count(pass).await?
            };
            if messages == 0 && self.plan.workload == Workload::Consume {
                self.exhausted(pass);
            }
            if !self.note(pass, messages) {
                return Ok(());
            }
        }
    }

    async fn receive_and_count(&self, pass: u64) -> Result<u64, LoadError> {
        let uri = self.connection.uri(RECEIVE)?;
        let mut body = self.connection.call(&uri, self.request(pass)).await?;
        let mut walk = Walk::new(MESSAGE);
        while let Some(chunk) = chunk(&mut body).await? {
            walk.feed(&chunk);
        }
        Ok(walk.found())
    }

    async fn receive_and_acknowledge(&self, pass: u64) -> Result<u64, LoadError> {
        let uri = self.connection.uri(RECEIVE)?;
        let body = self.connection.call(&uri, self.request(pass)).await?;
        let (mut call, mut entries) = (Call::new(body), Vec::new());
        while let Some(response) = call.next().await? {
            match ReceiveMessageResponse::decode(response)?.content {
                Some(Content::Message(message)) => {
                    self.arrived(&message.body);
                    let system = message.system_properties.unwrap_or_default();
                    entries.push(AckMessageEntry {
                        message_id: system.message_id,
                        receipt_handle: system.receipt_handle.unwrap_or_default(),
                        ..AckMessageEntry::default()
                    });
                }
                Some(Content::Status(status)) if !is_empty(&status) => check(Some(&status))?,
                _ => {}
            }
        }
        let messages = entries.len() as u64;
        if messages > 0 {
            self.acknowledge(pass, entries).await?;
        }
        Ok(messages)
    }

    async fn acknowledge(&self, pass: u64, entries: Vec<AckMessageEntry>) -> Result<(), LoadError> {
        let uri = self.connection.uri(ACK)?;
        let request = AckMessageRequest {
            group: Some(resource(&self.group_of(pass))),
            topic: Some(resource(&self.plan.topic)),
            entries,
        };
        let answer = self.connection.unary(&uri, frame(&request)).await?;
        check(AckMessageResponse::decode(answer)?.status.as_ref())
    }

    fn request(&self, pass: u64) -> bytes::Bytes {
        let wait = match self.plan.workload {
            Workload::Roundtrip => LONG,
            _ => SHORT,
        };
        frame(&ReceiveMessageRequest {
            group: Some(resource(&self.group_of(pass))),
            message_queue: Some(v2::MessageQueue {
                topic: Some(resource(&self.plan.topic)),
                id: -1,
                ..v2::MessageQueue::default()
            }),
            batch_size: BATCH,
            invisible_duration: Some(prost_types::Duration {
                seconds: INVISIBLE,
                nanos: 0,
            }),
            long_polling_timeout: prost_types::Duration::try_from(Duration::from_millis(wait)).ok(),
            ..ReceiveMessageRequest::default()
        })
    }
}

/// Nothing came in time.
fn is_empty(status: &v2::Status) -> bool {
    status.code == i32::from(v2::Code::MessageNotFound)
}
