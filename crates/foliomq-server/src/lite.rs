//! Lite topics: what a client subscribes to, and what it is told of it.

use std::sync::Arc;

use foliomq_delivery::{LiteAction, LiteStart, LiteSync, ResetTo, Unsubscribed};
use foliomq_proto::v2::offset_option::{OffsetType, Policy};
use foliomq_proto::v2::telemetry_command::Command;
use foliomq_proto::v2::{
    Code, LiteSubscriptionAction, NotifyUnsubscribeLiteCommand, OffsetOption,
    SyncLiteSubscriptionRequest, SyncLiteSubscriptionResponse, TelemetryCommand,
};

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::clients::EXPIRY;
use crate::name;
use crate::properties::unix_ms;
use crate::status::{Refusal, ok};

/// Most lite topics of one request: more than any client may subscribe to, at the largest setting.
const MAX_NAMES: usize = 100_000;

/// Changes what the client subscribes to.
pub(crate) async fn sync(
    broker: &Broker,
    caller: &Caller,
    request: SyncLiteSubscriptionRequest,
) -> Result<SyncLiteSubscriptionResponse, Refusal> {
    let topic = name::topic(request.topic.as_ref(), caller)?;
    let group = name::group(request.group.as_ref(), caller)?;
    let action = action(request.action)?;
    let start = start(request.offset_option)?;
    let names = mended(caller, request.action, request.lite_topic_set);
    if names.len() > MAX_NAMES {
        let what = format!("a request names at most {MAX_NAMES} lite topics");
        return Err(Refusal::new(Code::LiteSubscriptionQuotaExceeded, what));
    }
    let found = broker.topic(&topic).await?;
    if !crate::send::accepted_types(found.kind).contains(&foliomq_proto::v2::MessageType::Lite) {
        let what = format!("topic {topic} has no lite topics: it is of another type");
        return Err(Refusal::new(Code::IllegalTopic, what));
    }
    if !broker.config.auto_create && broker.groups.group(&group).is_none() {
        return Err(foliomq_delivery::DeliveryError::UnknownGroup { group }.into());
    }
    // One that is not remembered could not be forgotten either.
    if !broker.clients.is_alive(&caller.client_id) {
        return Err(Refusal::new(Code::TooManyRequests, "too many clients"));
    }
    let client = caller.client_id.clone();
    let version = request.version;
    broker
        .blocking(move |handles| {
            let sync = LiteSync {
                group: &group,
                topic: &topic,
                client: &client,
                action,
                names: &names,
                start,
                version,
            };
            Ok(handles.groups.sync_lite(&sync, unix_ms())?)
        })
        .await?;
    Ok(SyncLiteSubscriptionResponse { status: Some(ok()) })
}

fn action(action: i32) -> Result<LiteAction, Refusal> {
    let unknown = |_| Refusal::new(Code::BadRequest, format!("an unknown action {action}"));
    Ok(
        match LiteSubscriptionAction::try_from(action).map_err(unknown)? {
            LiteSubscriptionAction::PartialAdd => LiteAction::Add,
            LiteSubscriptionAction::PartialRemove => LiteAction::Remove,
            LiteSubscriptionAction::CompleteAdd => LiteAction::Replace,
            LiteSubscriptionAction::CompleteRemove => LiteAction::Clear,
        },
    )
}

fn start(option: Option<OffsetOption>) -> Result<LiteStart, Refusal> {
    let Some(chosen) = option.and_then(|option| option.offset_type) else {
        return Ok(LiteStart::Last);
    };
    let natural = |number: i64| {
        let what = format!("an offset, a count or a time is not below 0: {number}");
        u64::try_from(number).map_err(|_| Refusal::new(Code::IllegalOffset, what))
    };
    Ok(match chosen {
        OffsetType::Policy(policy) => match Policy::try_from(policy) {
            Ok(Policy::Last) => LiteStart::Last,
            Ok(Policy::Min) => LiteStart::At(ResetTo::Earliest),
            Ok(Policy::Max) => LiteStart::At(ResetTo::Latest),
            Err(_) => {
                let what = format!("an unknown offset policy {policy}");
                return Err(Refusal::new(Code::IllegalOffset, what));
            }
        },
        OffsetType::Offset(offset) => LiteStart::At(ResetTo::Offset(natural(offset)?)),
        OffsetType::TailN(count) => LiteStart::Tail(natural(count)?),
        OffsetType::Timestamp(time) => LiteStart::At(ResetTo::Time(natural(time)?)),
    })
}

/// The Python client 5.1.2 sends the characters of a name as names when it adds one.
fn mended(caller: &Caller, action: i32, names: Vec<String>) -> Vec<String> {
    let is_add = action == LiteSubscriptionAction::PartialAdd as i32;
    let split = names.len() > 1 && names.iter().all(|name| name.chars().count() == 1);
    if caller.language == Language::Python && is_add && split {
        return vec![names.concat()];
    }
    names
}

/// Forgets the clients that are gone, and tells those that lost a lite topic: a few times a minute.
pub(crate) async fn look_after(broker: &Arc<Broker>) {
    // Those of before the start get the time to say that they live.
    if unix_ms().saturating_sub(broker.started) >= EXPIRY.as_millis() as u64 {
        let ids = broker.groups.lite_clients().into_iter();
        let gone: Vec<_> = ids.filter(|id| !broker.clients.is_alive(id)).collect();
        for client in gone {
            forget(broker, &client).await;
        }
    }
    for lost in broker.groups.take_unsubscribed() {
        tell(broker, &lost);
    }
}

/// The client is gone.
pub(crate) async fn forget(broker: &Broker, client: &str) {
    let client = client.to_owned();
    let done = broker.blocking(move |handles| Ok(handles.groups.forget_lite_client(&client)?));
    if let Err(Refusal { message, .. }) = done.await {
        tracing::warn!(%message, "what a client subscribed to is still remembered; it is tried again");
    }
}

fn tell(broker: &Broker, lost: &Unsubscribed) {
    let command = NotifyUnsubscribeLiteCommand {
        lite_topic: lost.lite.clone(),
    };
    broker.clients.send_to(
        &lost.client,
        TelemetryCommand {
            status: Some(ok()),
            command: Some(Command::NotifyUnsubscribeLiteCommand(command)),
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(language: &str) -> Caller {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-mq-language", language.parse().unwrap());
        Caller::new(&headers)
    }

    #[test]
    fn names_that_python_took_apart_are_put_together() {
        let add = LiteSubscriptionAction::PartialAdd as i32;
        let names = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        assert_eq!(mended(&caller("PYTHON"), add, names("lt1")), ["lt1"]);
        assert_eq!(mended(&caller("JAVA"), add, names("lt1")).len(), 3);
        assert_eq!(mended(&caller("PYTHON"), 2, names("ab")).len(), 2);
        let whole = vec!["ab".to_owned(), "c".to_owned()];
        assert_eq!(mended(&caller("PYTHON"), add, whole.clone()), whole);
    }

    #[test]
    fn starts() {
        let of = |offset_type| {
            let offset_type = Some(offset_type);
            start(Some(OffsetOption { offset_type })).map_err(|refusal| refusal.code)
        };
        assert_eq!(start(None).unwrap(), LiteStart::Last);
        assert_eq!(
            of(OffsetType::Policy(2)),
            Ok(LiteStart::At(ResetTo::Latest))
        );
        assert_eq!(of(OffsetType::TailN(3)), Ok(LiteStart::Tail(3)));
        for bad in [
            OffsetType::Policy(9),
            OffsetType::Offset(-1),
            OffsetType::Timestamp(i64::MIN),
        ] {
            assert_eq!(of(bad), Err(Code::IllegalOffset));
        }
    }
}
