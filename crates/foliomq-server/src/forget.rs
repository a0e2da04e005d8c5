//! Forgetting a group, or what it has of a topic, once none of its clients is there.

use foliomq_proto::v1;
use foliomq_proto::v2::Code;

use crate::broker::Broker;
use crate::connected;
use crate::status::Refusal;

/// Group and topic are named as in the store; no topic: the group itself.
///
/// # Errors
///
/// A group or topic that is not there; a group of which a client is connected, which would make it anew.
pub(crate) async fn group(
    broker: &Broker,
    group: String,
    topic: Option<String>,
) -> Result<(), Refusal> {
    let of_group = v1::ListClientsRequest {
        group: group.clone(),
        limit: 1,
        ..v1::ListClientsRequest::default()
    };
    let connected = connected::list(&broker.clients, &of_group);
    if let Some(client) = connected.clients.first() {
        let id = &client.client_id;
        let what = format!(
            "group {group} has clients, such as {id}: stop them first, or wait for a minute after their last sign of life"
        );
        return Err(Refusal::new(Code::BadRequest, what));
    }
    broker
        .blocking(move |handles| Ok(handles.groups.forget(&group, topic.as_deref())?))
        .await
}
