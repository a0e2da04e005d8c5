//! How far a group is in lite topics, and who of it reads one.

use std::collections::BTreeMap;
use std::sync::Arc;

use foliomq_store::{lite_name, lite_parts};

use crate::group::GroupQueue;
use crate::groups::Groups;

/// A group's state in the lite topics of one topic, all together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiteProgress {
    /// The topic that has the lite topics.
    pub topic: String,
    /// How many of them the group has read or subscribed to, and are still there.
    pub lite_topics: u64,
    /// Messages leased, or given back and not delivered again yet.
    pub in_flight: u64,
    /// Messages never delivered.
    pub ready: u64,
}

impl Groups {
    /// What a group has to do in the lite topics of each topic, by topic. Goes over all lite topics that the group reads.
    pub fn lite_progress(&self, group: &str) -> Vec<LiteProgress> {
        let registry = self.shared.registry.read();
        let Some(policy) = registry.group(group) else {
            return Vec::new();
        };
        let mut lite = registry.lite_subscriptions();
        drop(registry);
        lite.retain(|subscription| subscription.group.id == policy.id);
        let mut found: BTreeMap<String, LiteProgress> = BTreeMap::new();
        for subscription in lite {
            let parts = lite_parts(&subscription.topic);
            let state = self.shared.describe_queue(&subscription, 0);
            if let (Some((topic, _)), Some(state)) = (parts, state) {
                add(found.entry(topic.to_owned()).or_default(), topic, &state);
            }
        }
        found.into_values().collect()
    }

    /// A group's state in one lite topic, which has a single queue; `None` if the group never read it.
    pub fn lite_queue(&self, group: &str, topic: &str, lite: &str) -> Option<GroupQueue> {
        let subscription = self.shared.find(group, &lite_name(topic, lite))?;
        self.shared.describe_queue(&subscription, 0)
    }

    /// The ids of a group's clients that subscribe to a lite topic.
    pub fn lite_readers(&self, group: &str, topic: &str, lite: &str) -> Vec<Arc<str>> {
        let found = self.shared.store.topic(&lite_name(topic, lite));
        let members = self.shared.members(group, topic);
        match found.zip(members) {
            Some((lite, members)) => members.lock().readers(lite.id),
            None => Vec::new(),
        }
    }
}

fn add(all: &mut LiteProgress, topic: &str, state: &GroupQueue) {
    if all.topic.is_empty() {
        topic.clone_into(&mut all.topic);
    }
    all.lite_topics += 1;
    all.in_flight += state.in_flight;
    all.ready += state.max_offset.saturating_sub(state.next);
}
