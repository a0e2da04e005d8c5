//! One receive: over the queues in turn, expired leases first, then new messages.

use std::ops::Range;
use std::time::Duration;

use foliomq_store::{Entry, StoreError, StoredMessage, TopicType};

use crate::lease::{Change, Lease, Taken};
use crate::order::Order;
use crate::shared::{Shared, after, no_offset};
use crate::subscription::{Queue, Subscription};
use crate::{Delivery, DeliveryError, Filter, Receive, Received, Timestamp};

/// Most messages that one receive looks at, so that a filter that matches nothing holds no lock long.
pub const MAX_SCANNED: usize = 4096;

/// Index entries read at a time where a filter chooses among them.
const SCAN_CHUNK: usize = 256;

impl Shared {
    pub fn receive(
        &self,
        request: &Receive<'_>,
        attempt: Option<&str>,
        now: Timestamp,
    ) -> Result<Received, DeliveryError> {
        let subscription = self.join(request.group, request.topic)?;
        self.receive_from(&subscription, request, attempt, now)
    }

    /// The same, of a subscription that is known.
    pub fn receive_from(
        &self,
        subscription: &Subscription,
        request: &Receive<'_>,
        attempt: Option<&str>,
        now: Timestamp,
    ) -> Result<Received, DeliveryError> {
        let mut round = Round::new(self, subscription, request, now);
        round.attempt = attempt;
        let result = round.run();
        if let Err(error) = result.and(round.failure.take().map_or(Ok(()), Err)) {
            if round.found.is_empty() {
                return Err(error);
            }
            tracing::warn!(%error, group = request.group, topic = request.topic, "a receive got less than there is");
        }
        Ok(Received {
            messages: round.found,
            next_visible: round.next_visible,
        })
    }
}

/// A receive under way.
pub(crate) struct Round<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) subscription: &'a Subscription,
    /// Never [`Order::Auto`].
    pub(crate) order: Order,
    /// Names this receive, so that the client can ask for the same batch again.
    pub(crate) attempt: Option<&'a str>,
    pub(crate) filter: &'a Filter,
    auto_renew: bool,
    most: usize,
    pub(crate) now: Timestamp,
    visible_at: Timestamp,
    /// Messages that may still be looked at.
    pub(crate) budget: usize,
    pub(crate) found: Vec<Delivery>,
    /// Why a leased message could not be read, the first time.
    pub(crate) failure: Option<DeliveryError>,
    pub(crate) next_visible: Option<Timestamp>,
}

/// A message that this round leased, before its body is read.
pub(crate) struct Leased {
    pub(crate) queue: u32,
    pub(crate) offset: u64,
    pub(crate) lease: Lease,
}

impl<'a> Round<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        subscription: &'a Subscription,
        request: &'a Receive<'_>,
        now: Timestamp,
    ) -> Self {
        let invisible = request.invisible.max(Duration::from_millis(1));
        Self {
            shared,
            subscription,
            order: shared.order(subscription),
            attempt: None,
            filter: request.filter,
            auto_renew: request.auto_renew,
            most: request.most.clamp(1, MAX_SCANNED),
            now,
            visible_at: after(now, invisible),
            budget: MAX_SCANNED,
            found: Vec::new(),
            failure: None,
            next_visible: None,
        }
    }

    fn run(&mut self) -> Result<(), DeliveryError> {
        let by_priority = self.shared.kind(self.subscription) == TopicType::Priority;
        let queues: Vec<u32> = if by_priority {
            (0..self.subscription.queue_count()).rev().collect()
        } else {
            self.subscription.rotation().collect()
        };
        if self.order != Order::Free {
            self.run_ordered(&queues)?;
        } else if by_priority {
            for queue in &queues {
                while self.room() > 0 && self.redeliver(*queue)? {}
                while self.room() > 0 && self.deliver_new(*queue)? {}
            }
        } else {
            for queue in &queues {
                while self.room() > 0 && self.redeliver(*queue)? {}
            }
            for queue in &queues {
                while self.room() > 0 && self.deliver_new(*queue)? {}
            }
        }
        if self.budget == 0 && self.found.is_empty() {
            self.next_visible = Some(self.now);
        }
        Ok(())
    }

    /// How many more messages may be taken.
    pub(crate) fn room(&self) -> usize {
        self.budget.min(self.most - self.found.len())
    }

    /// Leases expired messages of a queue once more. Returns whether there were any.
    fn redeliver(&mut self, number: u32) -> Result<bool, DeliveryError> {
        let (mut queue, _) = self.shared.enter(self.subscription, number)?;
        let expired: Vec<(u64, Lease)> =
            queue.leases().expired(self.now).take(self.room()).collect();
        let max_attempts = self.subscription.group.max_attempts();
        #[cfg(test)]
        let max_attempts = crate::planted::allowed(max_attempts);
        let (dead, again): (Vec<_>, Vec<_>) = expired
            .iter()
            .partition(|(_, lease)| u32::from(lease.attempt) >= max_attempts);
        let dead = self
            .shared
            .claim_dead(&mut queue, number, &dead, self.now)?;
        let again: Vec<(u64, u16)> = again
            .into_iter()
            .map(|(offset, lease)| (offset, lease.attempt.saturating_add(1)))
            .collect();
        let next = queue.leases().next();
        let taken = self.lease(
            &mut queue,
            number,
            Taken {
                again,
                next,
                ..Taken::default()
            },
        )?;
        self.see(&queue);
        drop(queue);
        self.budget -= expired.len();
        self.shared.bury(self.subscription, &dead);
        for leased in taken {
            let message = self
                .shared
                .read(&self.subscription.topic, number, leased.offset);
            if let Err(error) = self.deliver(leased, message) {
                self.failure.get_or_insert(error);
            }
        }
        Ok(!expired.is_empty())
    }

    /// Leases messages of a queue that were never delivered. Returns whether there may be more.
    fn deliver_new(&mut self, number: u32) -> Result<bool, DeliveryError> {
        let (mut queue, _) = self.shared.enter(self.subscription, number)?;
        let free = self
            .shared
            .options
            .max_in_flight
            .saturating_sub(queue.leases().in_flight());
        let from = queue.leases().next();
        let most = self.room().min(free);
        let (chosen, next) = if self.filter.needs_message() {
            // Messages may have to be fetched from the disk: not while others wait for the queue.
            drop(queue);
            let scanned = self.scan(number, from, most)?;
            queue = self.subscription.queue(number);
            if queue.leases().next() != from {
                // Another receive took some of them. What was looked at in vain counts, so this ends.
                return Ok(scanned.1 > from);
            }
            scanned
        } else {
            self.scan(number, from, most)?
        };
        if next == from {
            return Ok(false);
        }
        let fresh = runs(chosen.iter().map(|(offset, _)| *offset));
        let taken = self.lease(
            &mut queue,
            number,
            Taken {
                fresh,
                next,
                ..Taken::default()
            },
        )?;
        self.see(&queue);
        drop(queue);
        for (leased, (_, entry)) in taken.into_iter().zip(&chosen) {
            let message = self.shared.store.message(entry);
            if let Err(error) = self.deliver(leased, message) {
                self.failure.get_or_insert(error);
            }
        }
        Ok(true)
    }

    /// Chooses up to `most` entries from `from` on that the filter may let through; also returns where it stopped.
    fn scan(
        &mut self,
        queue: u32,
        from: u64,
        most: usize,
    ) -> Result<(Vec<(u64, Entry)>, u64), DeliveryError> {
        let mut chosen = Vec::new();
        let mut next = from;
        while chosen.len() < most && self.budget > 0 {
            let wanted = match self.filter {
                Filter::All => most - chosen.len(),
                Filter::Tags(_) | Filter::Sql(_) => SCAN_CHUNK,
            };
            let mut entries = Vec::new();
            let (topic, wanted) = (&self.subscription.topic, wanted.min(self.budget));
            let store = &self.shared.store;
            // Retention may have moved the queue's start up since the queue was entered.
            let read = store.entries(topic, queue, next, wanted, &mut entries)?;
            if entries.is_empty() {
                break;
            }
            let seen = self.choose(&entries, read.start, most, &mut chosen);
            next = read.start + seen as u64;
            self.budget -= seen;
        }
        Ok((chosen, next))
    }

    /// Adds to `chosen` until it has `most`; returns how many entries were looked at. The first has the offset `from`.
    fn choose(
        &self,
        entries: &[Entry],
        from: u64,
        most: usize,
        chosen: &mut Vec<(u64, Entry)>,
    ) -> usize {
        for (seen, entry) in entries.iter().enumerate() {
            if chosen.len() == most {
                return seen;
            }
            if self.filter.may_match(entry.tag_hash) && self.may_pass(entry) {
                chosen.push((from + seen as u64, *entry));
            }
        }
        entries.len()
    }

    /// Whether the message passes a filter that must look at it; one that cannot be read is dealt with as any that is leased.
    fn may_pass(&self, entry: &Entry) -> bool {
        let message = || self.shared.store.message(entry);
        !self.filter.needs_message()
            || message().map_or(true, |message| self.filter.matches(&message))
    }

    /// Journals and applies the leases of `taken`.
    pub(crate) fn lease(
        &self,
        queue: &mut Queue,
        number: u32,
        mut taken: Taken,
    ) -> Result<Vec<Leased>, DeliveryError> {
        if taken.again.is_empty() && taken.next == queue.leases().next() {
            return Ok(Vec::new());
        }
        (taken.visible_at, taken.auto_renew, taken.sequence) =
            (self.visible_at, self.auto_renew, queue.leases().sequence());
        let leased = taken.leases().map(|(offset, lease)| Leased {
            queue: number,
            offset,
            lease,
        });
        let leased = leased.collect();
        queue.commit(&self.shared.journal, &Change::Taken(taken))?;
        Ok(leased)
    }

    /// Adds a leased message to what was found, if the filter lets it through.
    pub(crate) fn deliver(
        &mut self,
        leased: Leased,
        message: Result<StoredMessage, StoreError>,
    ) -> Result<(), DeliveryError> {
        let Leased {
            queue,
            offset,
            lease,
        } = leased;
        match message {
            Ok(message) if message.queue_offset() == offset => {
                if !self.filter.matches(&message) {
                    return self
                        .shared
                        .settle(self.subscription, queue, offset, lease.sequence);
                }
                let handle = self.shared.seal(self.subscription, queue, offset, &lease);
                let (attempt, visible_at) = (u32::from(lease.attempt), lease.visible_at);
                self.found.push(Delivery {
                    message,
                    handle,
                    attempt,
                    visible_at,
                });
                Ok(())
            }
            Ok(_) => self.unreadable(leased, no_offset(queue, offset)),
            Err(error) => self.unreadable(leased, error),
        }
    }

    /// A message that retention took, or that is lost for good, is done. Of any other the lease stands: it is tried again
    /// when that ends.
    fn unreadable(&self, leased: Leased, error: StoreError) -> Result<(), DeliveryError> {
        let Leased {
            queue,
            offset,
            lease,
        } = leased;
        let lost = matches!(error, StoreError::Lost { .. });
        if lost {
            tracing::warn!(%error, topic = self.subscription.topic, queue, offset, "passed over");
        }
        let held = self.shared.store.offsets(&self.subscription.topic, queue)?;
        // The log drops a segment before the queue's index is trimmed.
        let deleted = matches!(error, StoreError::Deleted { .. });
        if lost || deleted || held.start > offset {
            return self
                .shared
                .settle(self.subscription, queue, offset, lease.sequence);
        }
        Err(error.into())
    }

    /// Takes note of when the queue's first lease ends.
    fn see(&mut self, queue: &Queue) {
        let times = [self.next_visible, queue.leases().earliest()];
        self.next_visible = times.into_iter().flatten().min();
    }
}

/// Ascending offsets as runs without a gap.
pub(crate) fn runs(offsets: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for offset in offsets {
        match runs.last_mut() {
            Some(run) if run.end == offset => run.end += 1,
            _ => runs.push(offset..offset + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{Fixture, GROUP, INVISIBLE, TOPIC};

    /// Otherwise what a filter says of one message would count for another.
    #[test]
    fn a_queue_that_begins_later_meanwhile_is_looked_at_by_its_offsets() {
        let fixture = Fixture::new(1);
        let shared = &fixture.groups.shared;
        let subscription = shared.join(GROUP, TOPIC).unwrap();
        fixture.append_bodies(0, &["old"; 4]);
        fixture.empty();
        fixture.append_bodies(0, &["new"; 2]);
        let request = Receive {
            group: GROUP,
            topic: TOPIC,
            filter: &Filter::All,
            most: 10,
            invisible: INVISIBLE,
            auto_renew: false,
        };
        let mut round = Round::new(shared, &subscription, &request, fixture.now);
        let (chosen, next) = round.scan(0, 0, 10).unwrap();
        let chosen: Vec<u64> = chosen.iter().map(|(offset, _)| *offset).collect();
        assert_eq!((chosen, next), (vec![4, 5], 6));
        let error = shared.read(TOPIC, 0, 3).unwrap_err();
        assert_eq!(error, no_offset(0, 3));
    }

    #[test]
    fn offsets_become_runs() {
        assert_eq!(
            runs([3, 4, 5, 9, 11, 12].into_iter()),
            [3..6, 9..10, 11..13]
        );
        assert!(runs([].into_iter()).is_empty());
    }
}
