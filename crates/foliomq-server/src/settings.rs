//! The settings that a client gets back: its own, with what the server decides.

use foliomq_proto::v2::{
    ClientType, Code, CustomizedBackoff, ExponentialBackoff, Metric, RetryPolicy, Settings,
    retry_policy::Strategy, settings::PubSub,
};
use prost_types::Duration;

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::name;
use crate::receive::MAX_POLL;
use crate::status::Refusal;

/// How often a producer tries to send a message.
const SEND_ATTEMPTS: i32 = 3;
/// Messages of one receive of a push consumer.
const RECEIVE_BATCH: i32 = 32;
/// Lite topics of one client, and characters of their names.
const LITE_QUOTA: i32 = 2000;
const LITE_NAME: i32 = 64;
/// Seconds between the deliveries of a message that is refused again and again; the last one repeats.
const BACKOFF: [i64; 18] = [
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
];
/// The Node.js client takes the seconds of an exponential back-off for milliseconds: from 1 s to 2 h.
const NODE_BACKOFF: (i64, i64) = (1000, 7_200_000);
const DEFAULT_ATTEMPTS: u32 = 17;

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
            subscription.fifo = Some(false);
            subscription.receive_batch_size = Some(RECEIVE_BATCH);
            subscription.long_polling_timeout = Some(seconds(MAX_POLL.as_secs() as i64));
            if matches!(
                client_type,
                ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer
            ) {
                subscription.lite_subscription_quota = Some(LITE_QUOTA);
                subscription.max_lite_topic_size = Some(LITE_NAME);
            }
            let attempts = broker
                .groups
                .group(&group)
                .map_or(DEFAULT_ATTEMPTS, |group| group.max_attempts);
            let push = matches!(
                client_type,
                ClientType::PushConsumer | ClientType::LitePushConsumer
            );
            settings.backoff_policy = Some(consumer_policy(caller.language, push, attempts));
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

fn consumer_policy(language: Language, push: bool, attempts: u32) -> RetryPolicy {
    let strategy = if language == Language::Node && push {
        let (initial, max) = NODE_BACKOFF;
        let backoff = ExponentialBackoff {
            initial: Some(seconds(initial)),
            max: Some(seconds(max)),
            multiplier: 2.0,
        };
        Strategy::ExponentialBackoff(backoff)
    } else {
        Strategy::CustomizedBackoff(CustomizedBackoff {
            next: BACKOFF.map(seconds).to_vec(),
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
