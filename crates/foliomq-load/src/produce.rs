//! Producers: SendMessage calls side by side, or frames of a Publish stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use foliomq_proto::v2::SendMessageResponse;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Uri;
use prost::Message;

use crate::connection::Connection;
use crate::encoded::Send;
use crate::error::{LoadError, check};
use crate::meter::Meter;
use crate::native;
use crate::pace::Pace;
use crate::plan::{Api, Plan};

const SEND: &str = "/apache.rocketmq.v2.MessagingService/SendMessage";

/// One of the senders of a load.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) plan: Arc<Plan>,
    pub(crate) connection: Connection,
    pub(crate) meter: Arc<Meter>,
    /// Which of how many.
    pub(crate) number: usize,
    pub(crate) senders: usize,
    /// Whether acknowledgements are what is measured; otherwise the consumers count.
    pub(crate) measured: bool,
    /// Messages of all senders that were due, once they have ended.
    pub(crate) due: Arc<AtomicU64>,
}

impl Sender {
    /// Sends until the messages of the plan are sent; without such a number, until it is dropped.
    pub(crate) async fn run(self) -> Result<(), LoadError> {
        match self.plan.api {
            Api::Native => native::publish(self).await,
            Api::V2 => {
                let send = Send::new(&self.plan, !self.measured);
                let uri = self.connection.uri(SEND)?;
                match self.pace()? {
                    Some(pace) => self.at_a_rate(&send, &uri, pace).await,
                    None => self.in_a_loop(&send, &uri).await,
                }
            }
        }
    }

    /// The moments at which this sender's requests are meant to leave; those of all senders are evenly spread.
    pub(crate) fn pace(&self) -> Result<Option<Due<'_>>, LoadError> {
        let Some(rate) = self.plan.share_of_rate(self.senders) else {
            return Ok(None);
        };
        let shift = self.number as f64 / self.senders as f64 / rate;
        let begin = Instant::now() + std::time::Duration::from_secs_f64(shift);
        let pace = Pace::new(rate, begin).map_err(|source| LoadError::Process {
            what: "no timer".to_owned(),
            source,
        })?;
        let sender = self;
        Ok(Some(Due { sender, pace }))
    }

    /// What a body says of a moment: nanoseconds since the load began.
    pub(crate) fn stamp(&self, moment: Instant) -> u64 {
        moment
            .saturating_duration_since(self.meter.epoch)
            .as_nanos() as u64
    }

    /// A request had no answer when the load ended. Of a round trip the consumers would know.
    pub(crate) fn unanswered(&self, intended: Instant) {
        if self.measured {
            self.meter.unanswered(intended, self.plan.batch as u64);
        }
    }

    pub(crate) fn done(&self, intended: Instant, messages: u64) {
        if self.measured {
            self.meter.done(self.number, intended, messages);
        }
    }

    async fn in_a_loop(&self, send: &Send, uri: &Uri) -> Result<(), LoadError> {
        let lane = async || {
            while self.meter.take(self.plan.batch) {
                self.call(send, uri, self.waiting(Instant::now())).await?;
            }
            Ok::<(), LoadError>(())
        };
        let lanes = (0..self.plan.in_flight).map(|_| lane());
        let mut lanes: FuturesUnordered<_> = lanes.collect();
        while let Some(ended) = lanes.next().await {
            ended?;
        }
        Ok(())
    }

    async fn at_a_rate(&self, send: &Send, uri: &Uri, mut pace: Due<'_>) -> Result<(), LoadError> {
        let mut calls = FuturesUnordered::new();
        let mut ended = false;
        while !(ended && calls.is_empty()) {
            tokio::select! {
                biased;
                Some(done) = calls.next() => done?,
                due = pace.next(), if !ended && calls.len() < self.plan.in_flight => {
                    let due = due.map_err(timer)?;
                    ended = !self.meter.take(self.plan.batch);
                    if !ended {
                        calls.push(self.call(send, uri, self.waiting(due)));
                    }
                }
            }
        }
        Ok(())
    }

    fn waiting(&self, intended: Instant) -> Waiting<'_> {
        Waiting {
            sender: self,
            intended,
            answered: false,
        }
    }

    async fn call(
        &self,
        send: &Send,
        uri: &Uri,
        mut waiting: Waiting<'_>,
    ) -> Result<(), LoadError> {
        let intended = waiting.intended;
        self.meter.left(self.number, intended);
        let request = send.request(self.stamp(intended));
        let answer = self.connection.unary(uri, request).await?;
        let answer = SendMessageResponse::decode(answer)?;
        check(answer.status.as_ref())?;
        waiting.answered = true;
        self.done(intended, self.plan.batch as u64);
        Ok(())
    }
}

/// A call under way. Dropped without an answer, it counts as outstanding.
struct Waiting<'a> {
    sender: &'a Sender,
    intended: Instant,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.sender.unanswered(self.intended);
        }
    }
}

/// The pace of a sender. What was due when the load ended, and never left, counts as outstanding.
pub(crate) struct Due<'a> {
    sender: &'a Sender,
    pace: Pace,
}

impl Due<'_> {
    pub(crate) fn next_due(&self) -> Instant {
        self.pace.due()
    }

    pub(crate) async fn next(&mut self) -> std::io::Result<Instant> {
        self.pace.next().await
    }
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        let Some(end) = self.sender.meter.end() else {
            return;
        };
        self.pace
            .due_until(end)
            .for_each(|due| self.sender.unanswered(due));
        let due = self.pace.sent() * self.sender.plan.batch as u64;
        self.sender.due.fetch_add(due, Ordering::Relaxed);
    }
}

pub(crate) fn timer(source: std::io::Error) -> LoadError {
    LoadError::Process {
        what: "the timer failed".to_owned(),
        source,
    }
}
