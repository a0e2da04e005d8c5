//! What the connected consumers declare that they subscribe to.

use std::collections::HashMap;

use foliomq_proto::v2::{self, FilterExpression, Resource, settings::PubSub};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::connected::{client_info, model};
use crate::name;
use crate::settings::of_group;
use crate::status::Refusal;

/// Most subscriptions of one answer.
const MAX_LISTED: usize = 10_000;

/// A consumer and a topic that it subscribes to.
pub(crate) type Subscribed = (v2::ClientInfo, v2::SubscriptionInfo);

/// Those of a group, or of a topic, or both, or all; at most 10,000.
pub(crate) fn find(
    broker: &Broker,
    caller: &Caller,
    group: Option<&Resource>,
    topic: Option<&Resource>,
) -> Result<Vec<Subscribed>, Refusal> {
    let group = group
        .map(|group| name::group(Some(group), caller))
        .transpose()?;
    let topic = topic
        .map(|topic| name::topic(Some(topic), caller))
        .transpose()?;
    let mut found = Vec::new();
    let wanted = |own: &Caller, settings: &v2::Settings| {
        let in_group = of_group(settings, own);
        in_group.is_some() && (group.is_none() || in_group == group)
    };
    for (own, settings) in broker.clients.declared(wanted) {
        let in_group = of_group(&settings, &own);
        let Some(PubSub::Subscription(subscription)) = &settings.pub_sub else {
            continue;
        };
        for entry in &subscription.subscriptions {
            let named = name::topic(entry.topic.as_ref(), &own).ok();
            if found.len() < MAX_LISTED && (topic.is_none() || named == topic) {
                let info = info(&settings, subscription.group.clone(), entry);
                let client = client_info(&broker.clients, &own, &settings);
                found.push(((in_group.clone(), named), (client, info)));
            }
        }
    }
    Ok(compare(found))
}

fn info(
    settings: &v2::Settings,
    group: Option<Resource>,
    entry: &v2::SubscriptionEntry,
) -> v2::SubscriptionInfo {
    v2::SubscriptionInfo {
        group,
        topic: entry.topic.clone(),
        expression: entry.expression.clone(),
        online: true,
        message_model: model(settings).into(),
        ..v2::SubscriptionInfo::default()
    }
}

/// Group and topic, as the store names them.
type Names = (Option<String>, Option<String>);

/// Says of each whether all of its group have the same filter for its topic.
fn compare(found: Vec<(Names, Subscribed)>) -> Vec<Subscribed> {
    let mut filters: HashMap<&Names, (Option<&FilterExpression>, bool)> = HashMap::new();
    for (names, (_, info)) in &found {
        let own = info.expression.as_ref();
        let (first, same) = filters.entry(names).or_insert((own, true));
        *same &= *first == own;
    }
    let same: Vec<bool> = found.iter().map(|(names, _)| filters[names].1).collect();
    let with_answer = |((_, (client, mut info)), same): ((Names, Subscribed), bool)| {
        info.subscription_consistency = same;
        (client, info)
    };
    found.into_iter().zip(same).map(with_answer).collect()
}

/// Each subscription once, whichever client has it.
pub(crate) fn distinct(found: Vec<Subscribed>) -> Vec<v2::SubscriptionInfo> {
    let mut seen = std::collections::HashSet::new();
    let mut all: Vec<_> = found.into_iter().map(|(_, info)| info).collect();
    all.retain(|info| seen.insert(prost::Message::encode_to_vec(info)));
    all
}
