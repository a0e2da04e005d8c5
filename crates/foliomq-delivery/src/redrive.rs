//! Dead letters go back to where they came from: the group gets the original message again, in its own place, with its
//! attempts counted anew. No copy is made, so no other group of the topic sees it a second time.
//!
//! How far a group's dead letters were put back is its own progress in `%DLQ%group`. A crash on the way may put some of
//! them back twice; none is left out.

use foliomq_store::{StoreError, StoredMessage};

use crate::dead_letter::{Origin, origin};
use crate::lease::{Change, Lease};
use crate::shared::Shared;
use crate::{DeliveryError, ResetTo, Timestamp};

/// Dead letters read at a time.
const BATCH: usize = 64;

/// What became of a group's dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    /// The group gets so many again.
    pub back: u64,
    /// Of so many the original is gone: they stay where they are, and are not tried again.
    pub kept: u64,
}

impl Shared {
    pub fn redrive(
        &self,
        group: &str,
        most: u64,
        now: Timestamp,
    ) -> Result<Redriven, DeliveryError> {
        if self.registry.read().group(group).is_none() {
            let group = group.to_owned();
            return Err(DeliveryError::UnknownGroup { group });
        }
        let letters = format!("%DLQ%{group}");
        let mut redriven = Redriven::default();
        if self.store.topic(&letters).is_none() {
            return Ok(redriven);
        }
        let held = self.store.offsets(&letters, 0)?;
        let mut next = self
            .offset(group, &letters, 0)?
            .unwrap_or(0)
            .max(held.start);
        let end = held.end.min(next.saturating_add(most));
        while next < end {
            let wanted = BATCH.min(usize::try_from(end - next).unwrap_or(BATCH));
            let batch = self.store.read_many(&letters, 0, next, wanted)?;
            for letter in &batch {
                match self.put_back(group, letter, now)? {
                    true => redriven.back += 1,
                    false => redriven.kept += 1,
                }
            }
            // What a salvage gave up is passed over.
            next = batch
                .last()
                .map_or(next + wanted as u64, |last| last.queue_offset() + 1);
            self.seek(group, &letters, 0, ResetTo::Offset(next))?;
        }
        Ok(redriven)
    }

    /// Makes the original visible to the group. False: it is gone.
    fn put_back(
        &self,
        group: &str,
        letter: &StoredMessage,
        now: Timestamp,
    ) -> Result<bool, DeliveryError> {
        let Some(Origin {
            topic,
            id,
            queue,
            offset,
        }) = origin(letter)
        else {
            return Ok(false);
        };
        let Some(subscription) = self
            .find(group, &topic)
            .filter(|found| found.has_queue(queue))
        else {
            return Ok(false);
        };
        let held = self.store.offsets(&topic, queue)?;
        match self.read(&topic, queue, offset) {
            // The topic may be another of the same name.
            Ok(original) if original.id() == id => {}
            Ok(_) | Err(StoreError::Lost { .. }) => return Ok(false),
            // Retention took it, or the topic was deleted and made anew.
            Err(_) if !held.contains(&offset) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut leases = subscription.queue(queue);
        // One that is not done is delivered anyway.
        if offset < leases.leases().next() && leases.leases().lease(offset).is_none() {
            let lease = Lease {
                visible_at: now,
                sequence: leases.leases().sequence(),
                attempt: 0,
                auto_renew: false,
            };
            leases.commit(&self.journal, &Change::Leased { offset, lease })?;
        }
        drop(leases);
        subscription.wake();
        Ok(true)
    }
}
