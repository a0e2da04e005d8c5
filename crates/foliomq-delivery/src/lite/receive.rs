//! A receive of a client's lite topics.

use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::{DeliveryError, Receive, Received, Timestamp};

/// Lite topics that one call looks at: with a filter that lets nothing through it ends all the same.
const MAX_VISITED: usize = 256;

impl Shared {
    pub fn receive_lite(
        &self,
        request: &Receive<'_>,
        client: &str,
        attempt: Option<&str>,
        now: Timestamp,
    ) -> Result<Received, DeliveryError> {
        let members = self.join_members(request.group, request.topic)?;
        let mut all = Received::default();
        let mut visited = Vec::new();
        let wanted = {
            let mut inner = members.lock();
            let Some(client) = inner.client(client) else {
                return Ok(all);
            };
            client.begin(attempt, now);
            client.ready().min(MAX_VISITED)
        };
        while visited.len() < wanted && all.messages.len() < request.most.max(1) {
            let next = {
                let mut inner = members.lock();
                let topic = inner.client(client).and_then(|client| client.next_ready());
                topic.and_then(|topic| Some((topic, inner.subscription(topic)?)))
            };
            let Some((topic, id)) = next else { break };
            visited.push(topic);
            let Some(subscription) = self.registry.read().subscription(id) else {
                continue;
            };
            let room = request.most.max(1) - all.messages.len();
            let part = Receive {
                most: room,
                ..request.clone()
            };
            match self.receive_from(&subscription, &part, attempt, now) {
                Ok(got) => {
                    let mut inner = members.lock();
                    inner.set_due(topic, got.next_visible);
                    inner.touch(id);
                    if got.messages.len() >= room {
                        inner.look_at(topic);
                    }
                    all.messages.extend(got.messages);
                }
                // It was removed meanwhile.
                Err(_) if !self.is_there(&subscription) => {}
                Err(error) if all.messages.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, topic = subscription.topic, "a receive passed over a lite topic");
                }
            }
        }
        let mut inner = members.lock();
        if let Some(client) = inner.client(client) {
            client.remember(attempt, visited);
            let more = (client.ready() > 0).then_some(now);
            all.next_visible = more.or(client.due.first());
        }
        Ok(all)
    }

    /// Whether a receive may find something.
    pub fn has_work(&self, subscription: &Subscription) -> Result<bool, DeliveryError> {
        let (queue, offsets) = self.enter(subscription, 0)?;
        Ok(queue.leases().next() < offsets.end || queue.leases().in_flight() > 0)
    }
}
