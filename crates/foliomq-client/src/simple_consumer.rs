//! Receiving and acknowledging, call by call.

use std::time::{Duration, Instant};

use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, Code,
    LiteSubscriptionAction, MessageQueue, NotifyClientTerminationRequest, ReceiveMessageRequest,
    ReceiveMessageResponse, SyncLiteSubscriptionRequest,
};
use tonic::Streaming;

use crate::client::{Connection, Messaging, within};
use crate::consumer::Filter;
use crate::convert::{duration, resource};
use crate::error::{Error, Result, check};
use crate::headers::Headers;
use crate::heartbeat::Heartbeat;
use crate::message::Delivery;

/// The broker ends a single poll after this; longer waits are several polls.
const LONGEST_POLL: Duration = Duration::from_secs(20);
/// Any queue of the topic: the broker hands out of all of them.
const ANY_QUEUE: i32 = -1;

/// Receives the messages of one topic for one group, a batch for each call, over the protocol of RocketMQ. Each message goes
/// to one consumer of the group at a time. For a steady flow there is [`Consumer`](crate::Consumer).
#[derive(Debug)]
pub struct SimpleConsumer {
    connection: Connection,
    calls: Messaging,
    group: String,
    topic: String,
    filter: Filter,
    _heartbeat: Heartbeat,
}

impl SimpleConsumer {
    /// Each consumer has a client id of its own, so that closing one leaves the others alone.
    pub(crate) fn new(connection: Connection, group: String, topic: String) -> Self {
        let calls = connection.messaging(&Headers::unique());
        let heartbeat = Heartbeat::start(calls.clone(), &group);
        Self {
            connection,
            calls,
            group,
            topic,
            filter: Filter::All,
            _heartbeat: heartbeat,
        }
    }

    /// Only messages with these tags: `A || B`, exact. `*` stands for all. What does not match is skipped for the group.
    pub fn filter(self, tags: impl Into<String>) -> Self {
        self.filter_by(Filter::Tags(tags.into()))
    }

    /// Only messages that this wants. What does not match is skipped for the group.
    pub fn filter_by(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Subscribes to lite topics of the topic, beside those that it subscribes to already; those that are not there are made. A
    /// consumer of a topic of the type lite receives what it subscribes to and nothing else, each lite topic in order.
    ///
    /// # Errors
    /// [`Code::LiteSubscriptionQuotaExceeded`] and [`Code::LiteTopicQuotaExceeded`]: then it subscribes to none of them.
    pub async fn subscribe_lite<T: Into<String>>(
        &self,
        lite: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        self.sync_lite(LiteSubscriptionAction::PartialAdd, lite)
            .await
    }

    /// Receives nothing of these lite topics any more.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn unsubscribe_lite<T: Into<String>>(
        &self,
        lite: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        self.sync_lite(LiteSubscriptionAction::PartialRemove, lite)
            .await
    }

    async fn sync_lite<T: Into<String>>(
        &self,
        action: LiteSubscriptionAction,
        lite: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        let request = SyncLiteSubscriptionRequest {
            action: action.into(),
            topic: Some(resource(&self.topic)),
            group: Some(resource(&self.group)),
            lite_topic_set: lite.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        let request = within(request, Duration::ZERO);
        let answer = self.calls.clone().sync_lite_subscription(request).await;
        let answer = answer.map_err(|status| self.connection.error(status))?;
        check(answer.into_inner().status)
    }

    /// Waits up to `wait` for messages and returns up to `max` (at most 32) of them, as soon as there is one; none when
    /// the time is over. Each is invisible to others for `invisible`; un-acknowledged it comes again after that.
    ///
    /// # Errors
    /// [`Error::Refused`], for an unknown topic say; [`Error::Transport`] if the broker went away.
    pub async fn receive(
        &self,
        max: usize,
        invisible: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>> {
        let begin = Instant::now();
        loop {
            let left = wait.saturating_sub(begin.elapsed());
            let asked = left.min(LONGEST_POLL);
            let polled = Instant::now();
            let deliveries = self.poll(max, invisible, asked).await?;
            // An empty poll that ended early comes from a broker that is stopping: asking again at once would spin.
            let early = polled.elapsed() < asked / 2;
            if !deliveries.is_empty() || asked == left || early {
                return Ok(deliveries);
            }
        }
    }

    /// Ends a delivery: the group is done with the message.
    ///
    /// # Errors
    /// [`Code::InvalidReceiptHandle`] if its invisible time is over: the message comes again.
    pub async fn ack(&self, delivery: &Delivery) -> Result<()> {
        self.ack_all([delivery]).await
    }

    /// Ends several deliveries in one call.
    ///
    /// # Errors
    /// The first refusal; the others were acknowledged nevertheless.
    pub async fn ack_all<'a>(
        &self,
        deliveries: impl IntoIterator<Item = &'a Delivery>,
    ) -> Result<()> {
        let entries: Vec<_> = deliveries.into_iter().map(ack_entry).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let request = AckMessageRequest {
            group: Some(resource(&self.group)),
            topic: Some(resource(&self.topic)),
            entries,
        };
        let answer = self
            .calls
            .clone()
            .ack_message(within(request, Duration::ZERO))
            .await;
        let answer = answer
            .map_err(|status| self.connection.error(status))?
            .into_inner();
        for entry in answer.entries {
            check(entry.status)?;
        }
        check(answer.status)
    }

    /// The delivery stays invisible for `invisible` from now.
    ///
    /// # Errors
    /// [`Code::InvalidReceiptHandle`] if its invisible time is over.
    pub async fn extend(&self, delivery: &mut Delivery, invisible: Duration) -> Result<()> {
        delivery.handle = self.change_invisible(delivery, invisible).await?;
        Ok(())
    }

    /// Gives the message back: it comes again after `delay`, with its attempt counted.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub async fn nack(&self, delivery: Delivery, delay: Duration) -> Result<()> {
        self.change_invisible(&delivery, delay).await.map(drop)
    }

    /// Tells the broker that this consumer is gone. (Dropped without it, the broker notices by the missing heartbeats.)
    ///
    /// # Errors
    /// [`Error::Transport`] if the broker did not hear it.
    pub async fn close(self) -> Result<()> {
        let request = NotifyClientTerminationRequest {
            group: Some(resource(&self.group)),
        };
        let answer = self
            .calls
            .clone()
            .notify_client_termination(within(request, Duration::ZERO))
            .await;
        check(
            answer
                .map_err(|status| self.connection.error(status))?
                .into_inner()
                .status,
        )
    }

    async fn poll(&self, max: usize, invisible: Duration, wait: Duration) -> Result<Vec<Delivery>> {
        let request = ReceiveMessageRequest {
            group: Some(resource(&self.group)),
            message_queue: Some(MessageQueue {
                topic: Some(resource(&self.topic)),
                id: ANY_QUEUE,
                ..Default::default()
            }),
            filter_expression: self.filter.clone().into_wire(),
            batch_size: i32::try_from(max).unwrap_or(i32::MAX),
            invisible_duration: Some(duration(invisible)),
            auto_renew: false,
            long_polling_timeout: Some(duration(wait)),
            attempt_id: None,
        };
        let answer = self
            .calls
            .clone()
            .receive_message(within(request, wait))
            .await;
        let stream = answer
            .map_err(|status| self.connection.error(status))?
            .into_inner();
        self.collect(stream).await
    }

    /// The stream is a status, then messages, then a time of delivery, which only push consumers need.
    async fn collect(
        &self,
        mut stream: Streaming<ReceiveMessageResponse>,
    ) -> Result<Vec<Delivery>> {
        let (mut status, mut deliveries) = (None, Vec::new());
        loop {
            let part = match stream.message().await {
                Ok(Some(part)) => part,
                Ok(None) => break,
                // These are ours, whatever became of the others.
                Err(_) if !deliveries.is_empty() => break,
                Err(status) => return Err(self.connection.error(status)),
            };
            match part.content {
                Some(Content::Status(said)) => status = Some(said),
                Some(Content::Message(message)) => deliveries.push(Delivery::from_wire(message)?),
                Some(Content::DeliveryTimestamp(_)) | None => {}
            }
        }
        match check(status) {
            Err(error) if error.code() == Some(Code::MessageNotFound) => Ok(Vec::new()),
            checked => checked.map(|()| deliveries),
        }
    }

    async fn change_invisible(&self, delivery: &Delivery, invisible: Duration) -> Result<String> {
        let request = ChangeInvisibleDurationRequest {
            group: Some(resource(&self.group)),
            topic: Some(resource(&self.topic)),
            receipt_handle: delivery.handle.clone(),
            invisible_duration: Some(duration(invisible)),
            message_id: delivery.message.id.clone(),
            lite_topic: delivery.message.lite_topic.clone(),
            ..Default::default()
        };
        let answer = self
            .calls
            .clone()
            .change_invisible_duration(within(request, Duration::ZERO))
            .await;
        let answer = answer
            .map_err(|status| self.connection.error(status))?
            .into_inner();
        check(answer.status)?;
        match answer.receipt_handle {
            handle if handle.is_empty() => {
                Err(Error::Protocol("it has no receipt handle".to_owned()))
            }
            handle => Ok(handle),
        }
    }
}

fn ack_entry(delivery: &Delivery) -> AckMessageEntry {
    AckMessageEntry {
        message_id: delivery.message.id.clone(),
        receipt_handle: delivery.handle.clone(),
        lite_topic: delivery.message.lite_topic.clone(),
    }
}
