//! The settings that a client gets back: its own, with what the server decides.

use foliomq_delivery::{Backoff, Order};
use foliomq_proto::v2::{
    ClientType, Code, CustomizedBackoff, ExponentialBackoff, Metric, RetryPolicy, Settings,
    Subscription, TelemetryCommand, retry_policy::Strategy, settings::PubSub,
    telemetry_command::Command,
};
use foliomq_store::MAX_LITE_NAME;
use prost_types::Duration;

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::clients::Client;
use crate::name;
use crate::receive::MAX_POLL;
use crate::status::{Refusal, ok};

/// How often a producer tries to send a message.
const SEND_ATTEMPTS: i32 = 3;
/// Messages of one receive of a push consumer.
const RECEIVE_BATCH: i32 = 32;
/// The Node.js client takes the seconds of an exponential back-off for milliseconds.
const NODE_SECOND: i64 = 1000;

/// Sends the group's clients their settings again: something of it has changed.
pub(crate) fn renew(broker: &Broker, group: &str) {
    renew_where(broker, |own, settings| {
        of_group(settings, own).as_deref() == Some(group)
    });
}

/// Sends the clients that read a topic their settings again: something of it has changed.
pub(crate) fn renew_readers(broker: &Broker, topic: &str) {
    renew_where(broker, |own, settings| match &settings.pub_sub {
        Some(PubSub::Subscription(subscription)) => subscription
            .subscriptions
            .iter()
            .any(|entry| name::topic(entry.topic.as_ref(), own).is_ok_and(|name| name == topic)),
        _ => false,
    });
}

fn renew_where(broker: &Broker, is_meant: impl Fn(&Caller, &Settings) -> bool) {
    for (Caller { client_id, .. }, _) in broker.clients.declared(is_meant) {
        tell(broker, &client_id, |command| {
            broker.clients.send_to(&client_id, command);
        });
    }
}

/// Sends a client what it is told now, by its own settings as it declared them last; nothing if it declared none that can be
/// kept.
pub(crate) fn tell(broker: &Broker, client_id: &str, send: impl FnOnce(TelemetryCommand)) {
    let _turn = broker.clients.turn();
    if let Some(command) = current(broker, client_id) {
        send(command);
    }
}

fn current(broker: &Broker, client_id: &str) -> Option<TelemetryCommand> {
    let look = |client: &Client| client.declared().cloned();
    let (caller, settings) = broker.clients.look(client_id, look).flatten()?;
    let settings = complete(broker, &caller, settings).ok()?;
    Some(command(settings))
}

/// Settings on their way to a client.
pub(crate) fn command(settings: Settings) -> TelemetryCommand {
    TelemetryCommand {
        status: Some(ok()),
        command: Some(Command::Settings(settings)),
    }
}

/// The store's name of a consumer's group.
pub(crate) fn of_group(settings: &Settings, caller: &Caller) -> Option<String> {
    match &settings.pub_sub {
        Some(PubSub::Subscription(own)) => name::group(own.group.as_ref(), caller).ok(),
        _ => None,
    }
}

/// Completes a client's settings.
pub(crate) fn complete(
    broker: &Broker,
    caller: &Caller,
    mut settings: Settings,
) -> Result<Settings, Refusal> {
    settings.metric = Some(Metric {
        on: false,
        endpoints: None,
    });
    let client_type = settings.client_type();
    match &mut settings.pub_sub {
        Some(PubSub::Publishing(publishing)) => {
            for topic in &publishing.topics {
                name::topic(Some(topic), caller)?;
            }
            let max_body = broker.store.options().max_body;
            publishing.max_body_size = max_body.try_into().unwrap_or(i32::MAX);
            publishing.validate_message_type = true;
            settings.backoff_policy = Some(producer_policy());
        }
        Some(PubSub::Subscription(subscription)) => {
            let group = name::group(subscription.group.as_ref(), caller)?;
            let mut ordered = false;
            for entry in &subscription.subscriptions {
                let topic = name::topic(entry.topic.as_ref(), caller)?;
                // One that is not there yet will take every kind: some clients ask for its route later.
                let kind = broker.store.topic_type(&topic).unwrap_or_default();
                ordered |= broker.groups.order(&group, kind) != Order::Free;
            }
            subscription.fifo = Some(ordered);
            subscription.receive_batch_size = Some(RECEIVE_BATCH);
            subscription.long_polling_timeout = Some(seconds(MAX_POLL.as_secs() as i64));
            if matches!(
                client_type,
                ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer
            ) {
                let quota = lite_quota(broker, caller, subscription);
                subscription.lite_subscription_quota = Some(quota.try_into().unwrap_or(i32::MAX));
                subscription.max_lite_topic_size = Some(MAX_LITE_NAME as i32);
            }
            // What a group gets that is not there yet, once it is.
            let later = || (broker.config.max_attempts, Backoff::default());
            let (attempts, backoff) = broker.groups.policy(&group).unwrap_or_else(later);
            let push = matches!(
                client_type,
                ClientType::PushConsumer | ClientType::LitePushConsumer
            );
            settings.backoff_policy =
                Some(consumer_policy(caller.language, push, attempts, &backoff));
        }
        None => {
            return Err(Refusal::new(
                Code::BadRequest,
                "the settings are of neither a producer nor a consumer",
            ));
        }
    }
    Ok(settings)
}

/// To how many lite topics a client may subscribe in each of the topics that it reads.
fn lite_quota(broker: &Broker, caller: &Caller, subscription: &Subscription) -> usize {
    let topics = subscription.subscriptions.iter();
    let topics = topics.filter_map(|entry| name::topic(entry.topic.as_ref(), caller).ok());
    let quotas = topics.map(|topic| broker.groups.lite_limits(&topic).subscriptions);
    let general = || broker.groups.lite_options().subscriptions;
    quotas.min().unwrap_or_else(general)
}

fn producer_policy() -> RetryPolicy {
    let backoff = ExponentialBackoff {
        initial: Some(Duration {
            seconds: 0,
            nanos: 10_000_000,
        }),
        max: Some(seconds(1)),
        multiplier: 2.0,
    };
    RetryPolicy {
        max_attempts: SEND_ATTEMPTS,
        strategy: Some(Strategy::ExponentialBackoff(backoff)),
    }
}

/// The Node.js push consumer knows an exponential back-off alone, the Python one steps alone; the others both.
fn consumer_policy(
    language: Language,
    push: bool,
    attempts: u32,
    backoff: &Backoff,
) -> RetryPolicy {
    let node = language == Language::Node && push;
    let grows = matches!(backoff, Backoff::Exponential { .. }) && language != Language::Python;
    let strategy = if node || grows {
        let (initial, max, multiplier) = backoff.exponential();
        let unit = if node { NODE_SECOND } else { 1 };
        Strategy::ExponentialBackoff(ExponentialBackoff {
            initial: Some(seconds(i64::from(initial) * unit)),
            max: Some(seconds(i64::from(max) * unit)),
            multiplier,
        })
    } else {
        let steps = backoff.steps().into_iter().map(i64::from);
        Strategy::CustomizedBackoff(CustomizedBackoff {
            next: steps.map(seconds).collect(),
        })
    };
    RetryPolicy {
        max_attempts: attempts.try_into().unwrap_or(i32::MAX),
        strategy: Some(strategy),
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}
