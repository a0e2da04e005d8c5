//! What a load does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::LoadError;

/// Bytes at the head of a body that tell when its message was meant to leave.
pub(crate) const STAMP: usize = 8;
/// What the broker takes in one request.
const MAX_BATCH: usize = 4096;
/// Calls of one connection at once: what the broker lets a connection have.
const MAX_IN_FLIGHT: usize = 1 << 20;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// From a message's intended departure to its acknowledgement.
    Produce,
    /// How fast stored messages come.
    Consume,
    /// From a message's intended departure to the consumer's hands, which acknowledge it.
    Roundtrip,
}

/// Which of the broker's APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `apache.rocketmq.v2`: SendMessage, ReceiveMessage, AckMessage.
    V2,
    /// `foliomq.v1`: Publish and Subscribe.
    Native,
}

/// How stored messages come to a consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Over the connection, where they are counted without being decoded.
    #[default]
    Bodies,
    /// Over the connection, into the hands of the native client, which decodes them.
    Decoded,
    /// As the broker's own pages, in the hands of the native client on the broker's host.
    Mapped,
}

/// When it ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// So long, the warm-up not counted.
    Time(Duration),
    /// So many messages, without a warm-up.
    Messages(u64),
}

/// A load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is measured.
    pub workload: Workload,
    /// Over which API.
    pub api: Api,
    /// The topic, which exists.
    pub topic: String,
    /// Bytes of a body.
    pub body: usize,
    /// Messages of one request or frame.
    pub batch: usize,
    /// Connections.
    pub connections: usize,
    /// Streams of each connection, for the native API.
    pub streams: usize,
    /// Messages that a connection (v2: calls; native: each stream, messages) has in flight at most.
    pub in_flight: usize,
    /// Messages per second of all connections together; `None`: as fast as they are acknowledged.
    pub rate: Option<f64>,
    /// When it ends.
    pub until: Until,
    /// Not measured.
    pub warmup: Duration,
    /// Whether consumers acknowledge, as members of a group. Without, the native API reads queues; v2 leaves its leases.
    pub acknowledge: bool,
    /// How a consumer of stored messages gets them over the native API.
    #[serde(default)]
    pub delivery: Delivery,
}

impl Default for Plan {
    /// Produce over the native API: bodies of 1 KiB, one a frame, one connection with one stream of 1,024 in flight, for
    /// 10 s after 1 s.
    fn default() -> Self {
        Self {
            workload: Workload::Produce,
            api: Api::Native,
            topic: "bench".to_owned(),
            body: 1024,
            batch: 1,
            connections: 1,
            streams: 1,
            in_flight: 1024,
            rate: None,
            until: Until::Time(Duration::from_secs(10)),
            warmup: Duration::from_secs(1),
            acknowledge: true,
            delivery: Delivery::default(),
        }
    }
}

impl Plan {
    /// Whether it can be carried out.
    ///
    /// # Errors
    /// [`LoadError::Plan`] with what cannot be.
    pub fn check(&self) -> Result<(), LoadError> {
        let no = |what: &str| Err(LoadError::Plan(what.to_owned()));
        if self.body == 0 || self.connections == 0 || self.streams == 0 {
            return no("a load has at least one byte, one connection and one stream");
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return no("a batch holds 1 to 4096 messages");
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.in_flight) {
            return no("1 to 1048576 messages are in flight");
        }
        if self.api == Api::Native && self.in_flight < self.batch {
            return no("fewer messages in flight than in a batch");
        }
        if self
            .rate
            .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
        {
            return no("a rate is more than 0 messages per second");
        }
        let stored = (self.workload, self.api) == (Workload::Consume, Api::Native);
        if self.delivery != Delivery::Bodies && !stored {
            return no("a delivery is chosen for stored messages over the native API");
        }
        if self.workload == Workload::Roundtrip && self.rate.is_none() {
            return no("a round trip has a rate");
        }
        if self.workload == Workload::Roundtrip && self.body < STAMP {
            return no("the bodies of a round trip have at least 8 bytes");
        }
        Ok(())
    }

    /// Requests or frames per second of one of so many senders.
    pub(crate) fn share_of_rate(&self, senders: usize) -> Option<f64> {
        let rate = self.rate?;
        Some(rate / self.batch as f64 / senders as f64)
    }
}
