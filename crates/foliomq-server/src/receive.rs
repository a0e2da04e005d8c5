//! ReceiveMessage: leases what is there, or waits for it.

use std::sync::Arc;
use std::time::Duration;

use foliomq_delivery::{Delivery, Filter, Receive, Received, Rules};
use foliomq_proto::v2::{self, Code, FilterType, ReceiveMessageRequest};
use foliomq_store::TopicType;
use tokio::time::{Instant, sleep_until};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::catch_up::Reader;
use crate::encode::Frames;
use crate::name;
use crate::properties::{duration, unix_ms};
use crate::status::Refusal;
use crate::topic_settings::readable;
use crate::unsent::Unsent;
use crate::{renewal, rules};

/// Most messages of one receive.
pub(crate) const MAX_BATCH: usize = 32;
/// Longest wait for a message.
pub(crate) const MAX_POLL: Duration = Duration::from_secs(20);
/// An answer leaves so long before the client stops waiting.
const ANSWER_AHEAD: Duration = Duration::from_millis(200);
/// Longest invisible time that any client may ask for.
pub(crate) const MAX_INVISIBLE: Duration = Duration::from_secs(12 * 3600);

/// Messages for a client, and what gives them back if it goes away.
type Leased = (Vec<Delivery>, Unsent);

/// A request that was found good.
struct Poll {
    group: String,
    topic: String,
    filter: Filter,
    most: usize,
    invisible: Duration,
    auto_renew: bool,
    /// The client, if it reads the lite topics of the topic that it subscribes to.
    lite: Option<String>,
    /// The client's name for this receive; it repeats it when an answer was lost.
    attempt: String,
    until: Instant,
}

/// Answers one request; the errors of the protocol are in the frames.
pub(crate) async fn receive(
    broker: Arc<Broker>,
    caller: &Caller,
    request: ReceiveMessageRequest,
) -> Frames {
    let topic = request
        .message_queue
        .as_ref()
        .and_then(|queue| queue.topic.clone())
        .unwrap_or_default();
    let result = async {
        let poll = Poll::new(&broker, caller, &request).await?;
        let (deliveries, unsent) = poll.wait(&broker, caller).await?.ok_or_else(nothing)?;
        Ok::<_, Refusal>((poll.invisible, deliveries, unsent))
    };
    match result.await {
        Ok((invisible, deliveries, unsent)) => {
            Frames::new(broker, topic, invisible, deliveries, unsent)
        }
        Err(refusal) => {
            let status = refusal.status(caller.language);
            Frames::empty(broker, topic, status)
        }
    }
}

fn nothing() -> Refusal {
    Refusal::new(
        Code::MessageNotFound,
        "no message came within the polling time",
    )
}

impl Poll {
    async fn new(
        broker: &Broker,
        caller: &Caller,
        request: &ReceiveMessageRequest,
    ) -> Result<Self, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topic = request
            .message_queue
            .as_ref()
            .and_then(|queue| queue.topic.as_ref());
        let topic = name::topic(topic, caller)?;
        let invisible = invisible(request, &broker.groups.rules(&group))?;
        let filter = filter(broker, request.filter_expression.as_ref())?;
        let kind = broker.topic(&topic).await?.kind;
        if !broker.config.auto_create && broker.groups.group(&group).is_none() {
            return Err(foliomq_delivery::DeliveryError::UnknownGroup { group }.into());
        }
        let is_lite = kind == TopicType::Lite
            || (kind == TopicType::Any
                && broker.groups.has_lite(&group, &topic, &caller.client_id));
        Ok(Self {
            lite: is_lite.then(|| caller.client_id.clone()),
            group,
            topic,
            filter,
            most: usize::try_from(request.batch_size)
                .unwrap_or(0)
                .clamp(1, MAX_BATCH),
            invisible,
            auto_renew: request.auto_renew,
            attempt: request.attempt_id.clone().unwrap_or_default(),
            until: Instant::now() + polling_time(request.long_polling_timeout.as_ref(), caller),
        })
    }

    /// Waits until there is something, the time is over, the client or the server ends.
    async fn wait(&self, broker: &Broker, caller: &Caller) -> Result<Option<Leased>, Refusal> {
        let Ok(_permit) = broker.polls.try_acquire() else {
            return Err(Refusal::new(
                Code::TooManyRequests,
                "too many receives wait already",
            ));
        };
        let mut terminated = broker.clients.watch(caller);
        let mut stopping = broker.stopping.subscribe();
        loop {
            // Listened for before it is looked at: the permission, too, may change in between.
            let (arrival, change) = self.listen(broker)?;
            readable(broker, &self.topic)?;
            let (received, unsent) = self.take(broker).await?;
            if !received.messages.is_empty() {
                broker.delivered.add(received.messages.len(), unix_ms());
                self.hold(broker, caller, &received);
                return Ok(Some((received.messages, unsent)));
            }
            if Instant::now() >= self.until || *stopping.borrow() {
                return Ok(None);
            }
            tokio::select! {
                () = arrival => {}
                () = change => {}
                () = sleep_until(self.wake_at(received.next_visible)) => {}
                _ = terminated.changed() => return Ok(None),
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Woken by new messages, by those that become visible otherwise than by time, and by a change of the topic. Of lite
    /// topics by none but those that the client subscribes to.
    fn listen(
        &self,
        broker: &Broker,
    ) -> Result<
        (
            impl Future<Output = ()> + use<>,
            impl Future<Output = ()> + use<>,
        ),
        Refusal,
    > {
        let (groups, group, topic) = (&broker.groups, &self.group, &self.topic);
        let change = match &self.lite {
            Some(client) => groups.listen_lite(group, topic, client),
            None => groups.listen(group, topic),
        };
        Ok((broker.store.listen(topic)?, change))
    }

    /// What is there now. Reading may fault pages in, and a dead letter waits for a flush: not for the runtime's threads.
    /// If the client goes away meanwhile, what was leased for it is given back.
    async fn take(&self, broker: &Broker) -> Result<(Received, Unsent), Refusal> {
        let (group, topic, filter) = (self.group.clone(), self.topic.clone(), self.filter.clone());
        let (most, invisible, auto_renew) = (self.most, self.invisible, self.auto_renew);
        let (attempt, lite) = (self.attempt.clone(), self.lite.clone());
        let work = move |handles: &crate::broker::Handles| {
            let request = Receive {
                group: &group,
                topic: &topic,
                filter: &filter,
                most,
                invisible,
                auto_renew,
            };
            let (groups, now) = (&handles.groups, unix_ms());
            let received = match &lite {
                Some(client) => groups.receive_lite(&request, client, &attempt, now)?,
                None => groups.receive_attempt(&request, &attempt, now)?,
            };
            let unsent = Unsent::new(handles.groups.clone(), &received.messages);
            received
                .messages
                .iter()
                .for_each(|delivery| delivery.message.touch());
            Ok((received, unsent))
        };
        let reader = Reader::of((&self.group, &self.topic));
        broker.reading(reader, work).await
    }

    /// Lets the server renew the leases of a push consumer.
    fn hold(&self, broker: &Broker, caller: &Caller, received: &Received) {
        if self.auto_renew {
            let handles = received
                .messages
                .iter()
                .map(|delivery| delivery.handle.as_str());
            broker
                .renewals
                .add(&caller.client_id, &self.group, &self.topic, handles);
        }
    }

    /// When to look again, if nothing happens before.
    fn wake_at(&self, next_visible: Option<u64>) -> Instant {
        let visible = next_visible
            .map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(unix_ms())));
        visible.map_or(self.until, |at| at.min(self.until))
    }
}

/// As long as asked, but no longer than the limit, nor than the client waits.
pub(crate) fn polling_time(asked: Option<&prost_types::Duration>, caller: &Caller) -> Duration {
    let asked = asked.and_then(duration).unwrap_or(MAX_POLL);
    let patience = caller
        .timeout
        .map_or(MAX_POLL, |timeout| timeout.saturating_sub(ANSWER_AHEAD));
    asked.min(MAX_POLL).min(patience)
}

/// A lease that the server renews has its own time; another client asks for one.
fn invisible(request: &ReceiveMessageRequest, rules: &Rules) -> Result<Duration, Refusal> {
    if request.auto_renew {
        return Ok(renewal::INVISIBLE);
    }
    let asked = request.invisible_duration.as_ref().and_then(duration);
    rules::invisible(rules, asked)
}

/// The filter of an expression, compiled by whoever named it first.
pub(crate) fn filter(
    broker: &Broker,
    expression: Option<&v2::FilterExpression>,
) -> Result<Filter, Refusal> {
    let Some(expression) = expression else {
        return Ok(Filter::All);
    };
    let (filters, text) = (&broker.filters, &expression.expression);
    match expression.r#type() {
        FilterType::Sql => Ok(filters.sql(text)?),
        FilterType::Tag | FilterType::Unspecified => Ok(filters.tags(text)?),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll as State, Waker};

    use http::HeaderMap;

    use super::*;
    use crate::encode::tests::{broker, publish, sent};

    fn caller(timeout: &str) -> Caller {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", timeout.parse().unwrap());
        Caller::new(&headers)
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn polls_end_before_the_client_stops_waiting() {
        let time = |asked: Option<_>, timeout| polling_time(asked.as_ref(), &caller(timeout));
        assert_eq!(time(seconds(1), "4S"), Duration::from_secs(1));
        assert_eq!(time(seconds(30), "33S"), MAX_POLL);
        assert_eq!(time(seconds(40), "5S"), Duration::from_millis(4800));
        assert_eq!(time(None, "100m"), Duration::ZERO);
        assert_eq!(time(seconds(-5), "60S"), MAX_POLL);
    }

    #[test]
    fn invisible_times() {
        let request = |asked, auto_renew| ReceiveMessageRequest {
            invisible_duration: asked,
            auto_renew,
            ..Default::default()
        };
        assert_eq!(
            invisible(&request(seconds(10), false), &Rules::default()),
            Ok(Duration::from_secs(10))
        );
        assert_eq!(
            invisible(&request(seconds(5), true), &Rules::default()),
            Ok(renewal::INVISIBLE)
        );
        for bad in [
            None,
            seconds(0),
            seconds(-1),
            seconds(9),
            seconds(43_201),
            seconds(i64::MAX),
        ] {
            assert_eq!(
                invisible(&request(bad, false), &Rules::default())
                    .unwrap_err()
                    .code,
                Code::IllegalInvisibleTime
            );
        }
    }

    fn request(topic: &str) -> ReceiveMessageRequest {
        let resource = |name: &str| {
            Some(v2::Resource {
                name: name.to_owned(),
                ..v2::Resource::default()
            })
        };
        ReceiveMessageRequest {
            group: resource("readers"),
            message_queue: Some(v2::MessageQueue {
                topic: resource(topic),
                ..v2::MessageQueue::default()
            }),
            invisible_duration: seconds(600),
            long_polling_timeout: seconds(20),
            batch_size: 1,
            ..ReceiveMessageRequest::default()
        }
    }

    #[tokio::test]
    async fn a_filter_is_compiled_once_and_another_one_counts_from_its_receive_on() {
        let (_dir, broker) = broker();
        let asked = async |text: &str| {
            let request = ReceiveMessageRequest {
                filter_expression: Some(v2::FilterExpression {
                    r#type: FilterType::Sql.into(),
                    expression: text.to_owned(),
                }),
                ..request("filtered")
            };
            let poll = Poll::new(&broker, &caller("60S"), &request).await;
            (poll.unwrap().filter, broker.filters.compiled())
        };
        for _ in 0..3 {
            assert_eq!(asked("a = 1").await, (Filter::sql("a = 1").unwrap(), 1));
        }
        for _ in 0..3 {
            assert_eq!(asked("a = 2").await, (Filter::sql("a = 2").unwrap(), 2));
        }
    }

    /// The lease is taken on another thread, which goes on when the call is dropped: here it ends after that.
    #[test]
    fn a_call_dropped_while_it_takes_a_lease_keeps_none() {
        let (_dir, broker) = broker();
        publish(&broker, vec![sent("dropped", "1", vec![1])]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (go, gate) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || gate.recv());
            {
                let caller = caller("60S");
                let call = receive(broker.clone(), &caller, request("dropped"));
                let first = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(first, State::Pending));
            }
            go.send(()).unwrap();
            // The one blocking thread comes to this after the lease.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
        let again = Receive {
            group: "readers",
            topic: "dropped",
            filter: &Filter::All,
            most: 1,
            invisible: Duration::from_secs(10),
            auto_renew: false,
        };
        let received = broker.groups.receive(&again, unix_ms()).unwrap().messages;
        assert_eq!(received.len(), 1, "given back at once");
        assert_eq!(received[0].attempt, 1);
    }
}
