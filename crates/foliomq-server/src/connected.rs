//! The clients that are there, as administration shows them.

use std::collections::HashMap;

use foliomq_proto::v1;
use foliomq_proto::v2::{self, ClientType, settings::PubSub};

use crate::caller::Caller;
use crate::clients::{Client, Clients};
use crate::name;
use crate::properties::timestamp;
use crate::settings::of_group;

/// Most clients of one list.
const PAGE: usize = 1000;
/// Topics of a client in a list.
const LISTED_TOPICS: usize = 8;

/// A page of them.
pub(crate) fn list(clients: &Clients, request: &v1::ListClientsRequest) -> v1::ListClientsResponse {
    let most = match request.limit as usize {
        0 => PAGE,
        limit => limit.min(PAGE),
    };
    let wanted = |client: &Client| request.group.is_empty() || group(client) == request.group;
    // One more tells whether there are more.
    let mut found = clients.page(&request.after, most + 1, wanted, |id, client| {
        shown(id, client, LISTED_TOPICS)
    });
    let more = found.len() > most;
    found.truncate(most);
    v1::ListClientsResponse {
        clients: found,
        more,
    }
}

/// One of them.
pub(crate) fn describe(clients: &Clients, client_id: &str) -> Option<v1::Client> {
    clients.look(client_id, |client| shown(client_id, client, usize::MAX))
}

fn shown(id: &str, client: &Client, topics: usize) -> v1::Client {
    let declared = client.declared();
    let agent = declared.and_then(|(_, settings)| settings.user_agent.clone());
    let agent = agent.unwrap_or_default();
    let all = declared.map_or_else(Vec::new, |(own, settings)| declared_topics(own, settings));
    v1::Client {
        client_id: id.to_owned(),
        language: language(client, &agent).to_owned(),
        version: match agent.version.is_empty() {
            true => client.version.clone(),
            false => agent.version,
        },
        address: client.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        hostname: agent.hostname,
        kind: kind(client).into(),
        group: group(client),
        topic_count: all.len() as u32,
        topics: all.into_iter().take(topics).collect(),
        connected_since: Some(timestamp(client.since)),
        last_seen: Some(timestamp(client.last_seen())),
        telemetry: client.has_telemetry(),
        streams: client.streams,
    }
}

/// Its calls say it; where they do not, its settings may.
fn language(client: &Client, agent: &v2::Ua) -> &'static str {
    match (client.language, agent.language()) {
        ("", v2::Language::Unspecified) => "",
        ("", declared) => declared.as_str_name(),
        (said, _) => said,
    }
}

fn kind(client: &Client) -> ClientType {
    let declared = client.declared();
    declared.map_or(ClientType::Unspecified, |(_, settings)| {
        settings.client_type()
    })
}

/// As the store names it: as the client declares it, or as its calls name it; empty where neither does.
fn group(client: &Client) -> String {
    let declared = client.declared();
    let declared = declared.and_then(|(own, settings)| of_group(settings, own));
    declared
        .or_else(|| client.group.clone())
        .unwrap_or_default()
}

fn declared_topics(own: &Caller, settings: &v2::Settings) -> Vec<v1::ClientTopic> {
    let named = |topic: Option<&v2::Resource>| name::topic(topic, own).unwrap_or_default();
    match &settings.pub_sub {
        Some(PubSub::Publishing(publishing)) => {
            let topics = publishing.topics.iter().map(|topic| v1::ClientTopic {
                topic: named(Some(topic)),
                filter: None,
            });
            topics.collect()
        }
        Some(PubSub::Subscription(subscription)) => {
            let entries = subscription.subscriptions.iter();
            let topics = entries.map(|entry| v1::ClientTopic {
                topic: named(entry.topic.as_ref()),
                filter: entry.expression.clone(),
            });
            topics.collect()
        }
        None => Vec::new(),
    }
}

/// A client as the protocol's own administration shows it.
pub(crate) fn client_info(
    clients: &Clients,
    own: &Caller,
    settings: &v2::Settings,
) -> v2::ClientInfo {
    let agent = settings.user_agent.clone().unwrap_or_default();
    let peer = clients.look(&own.client_id, |client| client.peer).flatten();
    v2::ClientInfo {
        client_id: own.client_id.clone(),
        language: agent.language().as_str_name().to_owned(),
        version: agent.version,
        hostname: agent.hostname,
        egress_ip: peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
        message_model: model(settings).into(),
    }
}

/// How a consumer shares messages with its group.
pub(crate) fn model(settings: &v2::Settings) -> v2::MessageModel {
    match settings.client_type() {
        ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer => {
            v2::MessageModel::LiteSelective
        }
        _ => v2::MessageModel::Clustering,
    }
}

/// What the broker knows of how a consumer of a group runs; `None` if no such client is there. Its own queues and rates
/// are not known here: the protocol has no command that asks a client for them.
pub(crate) fn running_info(
    clients: &Clients,
    client_id: &str,
    group: &str,
) -> Option<v2::ConsumerRunningInfo> {
    let info = clients.look(client_id, |client| {
        let shown = shown(client_id, client, usize::MAX);
        let since = client.since;
        (shown.group == group).then(|| v2::ConsumerRunningInfo {
            properties: properties(&shown, since, client.last_seen()),
            subscriptions: subscriptions(shown.topics),
            ..v2::ConsumerRunningInfo::default()
        })
    });
    info.flatten()
}

fn properties(client: &v1::Client, since: u64, last_seen: u64) -> HashMap<String, String> {
    let all = [
        ("client_type", client.kind().as_str_name().to_owned()),
        ("language", client.language.clone()),
        ("version", client.version.clone()),
        ("address", client.address.clone()),
        ("hostname", client.hostname.clone()),
        ("connected_since_ms", since.to_string()),
        ("last_seen_ms", last_seen.to_string()),
        ("telemetry_open", client.telemetry.to_string()),
        ("streams", client.streams.to_string()),
    ];
    let known = all.into_iter().filter(|(_, value)| !value.is_empty());
    known
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn subscriptions(topics: Vec<v1::ClientTopic>) -> HashMap<String, v2::FilterExpression> {
    let named = topics.into_iter();
    named
        .map(|topic| (topic.topic, topic.filter.unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn caller(id: &str) -> Caller {
        let mut headers = HeaderMap::new();
        headers.insert("x-mq-client-id", id.parse().unwrap());
        headers.insert("x-mq-language", "FOLIOMQ".parse().unwrap());
        headers.insert("x-mq-client-version", "0.1.0".parse().unwrap());
        Caller::new(&headers)
    }

    #[test]
    fn pages_are_in_order_and_end() {
        let clients = Clients::default();
        for id in ["d", "b", "a", "c"] {
            clients.heartbeat(&caller(id), Some("g".to_owned()));
        }
        clients.heartbeat(&caller("e"), None);
        let page = |after: &str, limit| {
            let request = v1::ListClientsRequest {
                group: "g".to_owned(),
                after: after.to_owned(),
                limit,
            };
            let page = list(&clients, &request);
            let ids = page.clients.into_iter().map(|client| client.client_id);
            (ids.collect::<Vec<_>>().concat(), page.more)
        };
        assert_eq!(page("", 3), ("abc".to_owned(), true));
        assert_eq!(page("c", 3), ("d".to_owned(), false));
        assert_eq!(page("", 0), ("abcd".to_owned(), false));
        assert_eq!(page("d", u32::MAX), (String::new(), false));
    }

    #[test]
    fn a_stream_keeps_a_client_and_names_its_group() {
        let clients = Clients::default();
        clients.attach(&caller("a"), Some("g"));
        clients.attach(&caller("a"), None);
        let shown = || describe(&clients, "a").unwrap();
        assert_eq!((shown().streams, shown().group), (2, "g".to_owned()));
        assert_eq!(
            (shown().language, shown().version),
            ("FOLIOMQ".into(), "0.1.0".into())
        );
        clients.detach("a");
        assert_eq!(shown().streams, 1);
        clients.attach(&caller(&"x".repeat(2000)), None);
        assert_eq!(clients.count(), 1, "an id too long is not remembered");
    }
}
