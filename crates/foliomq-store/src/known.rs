//! The topics that the dispatcher has met, so that it need not ask the registry, which appenders share, for each record.

use std::collections::HashMap;
use std::sync::Arc;

use crate::lite::LiteArrivals;
use crate::registry::{Registry, TopicState};

/// At most so many are kept; then it begins anew.
const MOST: usize = 4096;

/// Topics by name, with those that have new messages.
#[derive(Debug, Default)]
pub(crate) struct Known {
    topics: Vec<Topic>,
    by_name: HashMap<Vec<u8>, usize>,
    /// The one asked for last: most often the next one too.
    last: usize,
    touched: Vec<usize>,
    /// The registry's count of changes when these were found.
    changes: u64,
}

#[derive(Debug)]
struct Topic {
    state: Arc<TopicState>,
    touched: bool,
}

impl Known {
    /// Begins anew if a topic was made or deleted since; returns those that are gone.
    pub(crate) fn refresh(
        &mut self,
        registry: &Registry,
        lite: &LiteArrivals,
    ) -> Vec<Arc<TopicState>> {
        let changes = registry.changes();
        if self.changes == changes && self.topics.len() < MOST {
            return Vec::new();
        }
        self.wake(lite);
        if self.changes == changes {
            // Too many: those of now are likely not those of next.
            self.topics.clear();
            self.by_name.clear();
            self.last = 0;
            return Vec::new();
        }
        let before = std::mem::take(self);
        self.changes = changes;
        let is_gone = |state: &Arc<TopicState>| {
            let now = registry.find(&state.meta.name);
            now.is_none_or(|now| !Arc::ptr_eq(&now, state))
        };
        let states = before.topics.into_iter().map(|topic| topic.state);
        states.filter(is_gone).collect()
    }

    /// The topic of this name.
    pub(crate) fn find(&mut self, name: &[u8], registry: &Registry) -> Option<&Arc<TopicState>> {
        let is_last = |topic: &Topic| topic.state.meta.name.as_bytes() == name;
        if !self.topics.get(self.last).is_some_and(is_last) {
            self.last = match self.by_name.get(name) {
                Some(&index) => index,
                None => self.add(registry.find(std::str::from_utf8(name).ok()?)?),
            };
        }
        Some(&self.topics[self.last].state)
    }

    /// Takes in a topic; returns its place.
    pub(crate) fn add(&mut self, state: Arc<TopicState>) -> usize {
        let index = self.topics.len();
        self.by_name
            .insert(state.meta.name.clone().into_bytes(), index);
        let touched = false;
        self.topics.push(Topic { state, touched });
        self.last = index;
        index
    }

    /// Notes that the topic found last has a new message.
    pub(crate) fn touch(&mut self) {
        let topic = &mut self.topics[self.last];
        if !topic.touched {
            topic.touched = true;
            self.touched.push(self.last);
        }
    }

    /// Wakes those who wait for messages of the topics that have new ones.
    pub(crate) fn wake(&mut self, lite: &LiteArrivals) {
        for index in self.touched.drain(..) {
            let topic = &mut self.topics[index];
            topic.touched = false;
            topic.state.event.notify(usize::MAX);
            lite.tell(&topic.state);
        }
    }
}
