//! QueryRoute and QueryAssignment: where the queues of a topic are. All of them are here.

use std::net::IpAddr;

use foliomq_delivery::Order;
use foliomq_proto::v2::{
    Address, AddressScheme, Assignment, Broker as BrokerName, Endpoints, MessageQueue,
    QueryAssignmentRequest, QueryAssignmentResponse, QueryRouteRequest, QueryRouteResponse,
    Resource,
};
use foliomq_store::{Topic, TopicType};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::config::ServeError;
use crate::name;
use crate::send::accepted_types;
use crate::status::{Refusal, ok};
use crate::topic_settings;

/// The one broker's name.
pub(crate) const BROKER: &str = "foliomq";
/// Clients take the broker with this id for the one to write to.
pub(crate) const MASTER: i32 = 0;
/// Instead of a queue's id: all queues, from which a receive takes in turn.
const ALL_QUEUES: i32 = -1;

pub(crate) async fn query_route(
    broker: &Broker,
    caller: &Caller,
    request: QueryRouteRequest,
) -> Result<QueryRouteResponse, Refusal> {
    let topic = broker
        .topic(&name::topic(request.topic.as_ref(), caller)?)
        .await?;
    let endpoints = endpoints(broker, request.endpoints);
    let queue = |id| message_queue(request.topic.clone(), id, &topic, endpoints.clone());
    Ok(QueryRouteResponse {
        status: Some(ok()),
        message_queues: (0..topic.queues as i32).map(queue).collect(),
    })
}

pub(crate) async fn query_assignment(
    broker: &Broker,
    caller: &Caller,
    request: QueryAssignmentRequest,
) -> Result<QueryAssignmentResponse, Refusal> {
    let group = name::group(request.group.as_ref(), caller)?;
    let topic = broker
        .topic(&name::topic(request.topic.as_ref(), caller)?)
        .await?;
    topic_settings::readable(broker, &topic.name)?;
    // A consumer works through what one assignment brings in order: with one for each queue, queues do not wait for
    // each other.
    let queues = match broker.groups.order(&group, topic.kind) {
        // A client's lite topics all come by one receive.
        _ if topic.kind == TopicType::Lite => ALL_QUEUES..ALL_QUEUES + 1,
        Order::Free => ALL_QUEUES..ALL_QUEUES + 1,
        _ => 0..topic.queues as i32,
    };
    let endpoints = endpoints(broker, request.endpoints);
    let assignment = |queue| Assignment {
        message_queue: Some(message_queue(
            request.topic.clone(),
            queue,
            &topic,
            endpoints.clone(),
        )),
    };
    Ok(QueryAssignmentResponse {
        status: Some(ok()),
        assignments: queues.map(assignment).collect(),
    })
}

fn message_queue(
    topic: Option<Resource>,
    id: i32,
    stored: &Topic,
    endpoints: Endpoints,
) -> MessageQueue {
    MessageQueue {
        topic,
        id,
        permission: topic_settings::on_route(stored.settings.permission).into(),
        broker: Some(BrokerName {
            name: BROKER.to_owned(),
            id: MASTER,
            endpoints: Some(endpoints),
        }),
        accept_message_types: accepted_types(stored.kind)
            .iter()
            .copied()
            .map(i32::from)
            .collect(),
    }
}

/// The address that the client dialled is one that it can reach, so it gets that back.
fn endpoints(broker: &Broker, dialled: Option<Endpoints>) -> Endpoints {
    dialled
        .filter(|endpoints| !endpoints.addresses.is_empty())
        .unwrap_or_else(|| parse(address(broker)).unwrap_or_default())
}

/// `host:port` where the broker is reached, as far as it knows.
pub(crate) fn address(broker: &Broker) -> &str {
    let advertised = broker.config.advertise.as_deref();
    advertised.unwrap_or(&broker.store_host)
}

/// `host:port` as the protocol has it.
pub(crate) fn parse(address: &str) -> Result<Endpoints, ServeError> {
    let wrong = || ServeError::Advertise(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let port: u16 = port
        .parse()
        .ok()
        .filter(|&port| port > 0)
        .ok_or_else(wrong)?;
    let scheme = match host.parse() {
        Ok(IpAddr::V4(_)) => AddressScheme::IPv4,
        Ok(IpAddr::V6(_)) => AddressScheme::IPv6,
        Err(_) if host.is_empty() => return Err(wrong()),
        Err(_) => AddressScheme::DomainName,
    };
    Ok(Endpoints {
        scheme: scheme.into(),
        addresses: vec![Address {
            host,
            port: i32::from(port),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parsed = |text| {
            parse(text)
                .map(|e| (e.scheme(), e.addresses[0].host.clone(), e.addresses[0].port))
                .ok()
        };
        assert_eq!(
            parsed("10.0.0.1:8081"),
            Some((AddressScheme::IPv4, "10.0.0.1".into(), 8081))
        );
        assert_eq!(
            parsed("[::1]:1"),
            Some((AddressScheme::IPv6, "::1".into(), 1))
        );
        assert_eq!(
            parsed("mq.example:80"),
            Some((AddressScheme::DomainName, "mq.example".into(), 80))
        );
        for bad in ["", "host", "host:", ":80", "host:0", "host:70000"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
