//! Changing what a topic has.

use foliomq_consumequeue::QueueNumber;

use crate::change::Change;
use crate::error::StoreError;
use crate::lite::lite_parts;
use crate::registry::TopicState;
use crate::shared::Shared;
use crate::topic::{Topic, TopicType, check_queues};

impl Shared {
    /// Brings what `change` makes of a topic into effect, durably.
    pub(crate) fn update_topic(
        &self,
        name: &str,
        change: impl FnOnce(&mut Topic),
    ) -> Result<Topic, StoreError> {
        let _changing = self.changing.lock();
        let state = self.registry.get(name)?;
        if lite_parts(name).is_some() {
            return Err(StoreError::illegal(
                "a lite topic has no settings of its own: its topic has",
            ));
        }
        let before = state.topic();
        let mut after = before.clone();
        change(&mut after);
        after.settings = after.settings.checked()?;
        check(&before, &after, self.registry.lite_count(name))?;
        let (_, number) = self.registry.next();
        let changes = changes(&state, &before, &after, number)?;
        if !changes.is_empty() {
            self.meta.append_all(&changes)?;
            // Before a message can be in a queue that nothing else tells of.
            self.meta.flush()?;
            changes
                .iter()
                .for_each(|change| self.registry.apply(change));
        }
        Ok(state.topic())
    }
}

/// Whether a topic that has so many lite topics can become what it is to be.
fn check(before: &Topic, after: &Topic, lite_topics: usize) -> Result<(), StoreError> {
    check_queues(after.queues)?;
    let (now, name) = (before.queues, &before.name);
    if after.queues < now {
        return Err(StoreError::illegal(format!(
            "topic {name} keeps its {now} queues: messages, and the progress of groups, are in the ones that would go"
        )));
    }
    let changes = |kind| (before.kind == kind) != (after.kind == kind);
    if changes(TopicType::Lite) {
        return Err(StoreError::illegal(format!(
            "topic {name} cannot change to or from the type lite: nobody would receive what it holds"
        )));
    }
    if changes(TopicType::Priority) {
        return Err(StoreError::illegal(format!(
            "topic {name} cannot change to or from the type priority: its queues would mean something else"
        )));
    }
    // One that takes every type takes lite topics, too.
    if before.kind != after.kind && after.kind != TopicType::Any && lite_topics > 0 {
        return Err(StoreError::illegal(format!(
            "topic {name} keeps its type while it has {lite_topics} lite topics: nobody could read them then"
        )));
    }
    Ok(())
}

/// What makes one of the other; further queues are numbered from `number` on.
fn changes(
    state: &TopicState,
    before: &Topic,
    after: &Topic,
    number: QueueNumber,
) -> Result<Vec<Change>, StoreError> {
    let (queue, mut changes) = (state.meta.first_number, Vec::new());
    let more = after.queues - before.queues;
    if more > 0 {
        // As for new topics: all numbers below it can be given.
        if number > u32::MAX - 2 * crate::topic::MAX_QUEUES {
            return Err(StoreError::illegal("the numbers for queues are used up"));
        }
        changes.push(Change::Grown {
            queue,
            from: before.queues,
            more,
            first_number: number,
        });
    }
    if (before.kind, before.settings) != (after.kind, after.settings) {
        changes.push(Change::Settings {
            queue,
            kind: after.kind,
            settings: after.settings,
        });
    }
    Ok(changes)
}
