//! A receive of an ordered group: in offset order, and nothing of what an un-acked message holds back.

use std::collections::{BTreeMap, HashSet};

use foliomq_store::Entry;

use crate::lease::{Change, Lease, Taken};
use crate::order::{Order, hash};
use crate::receive::{Leased, Round, runs};
use crate::subscription::Queue;
use crate::{DeliveryError, Timestamp};

/// Most messages of a queue that wait, already looked at, behind an un-acked one of their message group. With more, the
/// queue waits as a whole: what is kept for it stays small.
const MAX_PARKED: usize = 4096;
/// Index entries read at a time.
const CHUNK: usize = 64;
/// Longest attempt id that is kept, bytes.
const MAX_ATTEMPT_ID: usize = 128;

/// The batch that a receive with an attempt id got from a queue: offset and sequence of each lease.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub id: String,
    pub leases: Vec<(u64, u32)>,
}

/// What can be delivered from a queue now.
#[derive(Default)]
struct Plan {
    /// Delivered once more: offset and new attempt.
    again: Vec<(u64, u16)>,
    dead: Vec<(u64, Lease)>,
    fresh: Vec<u64>,
    /// Looked at for the first time, and held back by others of their message group.
    parked: HashSet<u64>,
    next: u64,
    /// Message groups that wait for one of theirs.
    held: HashSet<u64>,
}

impl Round<'_> {
    /// All queues in turn. The batch of an attempt whose answer was lost comes first, and then alone.
    pub fn run_ordered(&mut self, queues: &[u32]) -> Result<(), DeliveryError> {
        if self.attempt.is_some() {
            for queue in queues {
                self.repeat(*queue)?;
            }
            if !self.found.is_empty() {
                return Ok(());
            }
        }
        for queue in queues {
            while self.room() > 0 && self.deliver_ordered(*queue)? {}
        }
        Ok(())
    }

    /// Delivers the batch of the same attempt again, as far as its leases are not over; attempts stay as they are.
    fn repeat(&mut self, number: u32) -> Result<(), DeliveryError> {
        let (mut queue, _) = self.shared.enter(self.subscription, number)?;
        let Some(attempt) = queue
            .attempt
            .take_if(|last| Some(last.id.as_str()) == self.attempt)
        else {
            return Ok(());
        };
        let leases = queue.leases();
        let held = attempt.leases.iter().filter_map(|(offset, sequence)| {
            let lease = leases.lease(*offset)?;
            (lease.sequence == *sequence && lease.visible_at > self.now)
                .then_some((*offset, lease.attempt))
        });
        let again: Vec<(u64, u16)> = held.take(self.room()).collect();
        let next = leases.next();
        let taken = self.lease(
            &mut queue,
            number,
            Taken {
                again,
                next,
                ..Taken::default()
            },
        )?;
        self.remember(&mut queue, &taken)?;
        drop(queue);
        self.hand_out(number, taken);
        Ok(())
    }

    /// Leases what is free. Returns whether there may be more.
    fn deliver_ordered(&mut self, number: u32) -> Result<bool, DeliveryError> {
        let (mut queue, _) = self.shared.enter(self.subscription, number)?;
        let before = queue.leases().next();
        let mut plan = self.plan(&mut queue, number);
        self.look_ahead(&mut queue, number, &mut plan)?;
        let dead = self
            .shared
            .claim_dead(&mut queue, number, &plan.dead, self.now)?;
        let mut fresh: Vec<u64> = plan.fresh.iter().chain(&plan.parked).copied().collect();
        fresh.sort_unstable();
        let progress = plan.again.len() + dead.len() + (plan.next - before) as usize;
        let taken = Taken {
            again: plan.again,
            fresh: runs(fresh.into_iter()),
            next: plan.next,
            ..Taken::default()
        };
        let (parked, taken) = self
            .lease(&mut queue, number, taken)?
            .into_iter()
            .partition(|leased| plan.parked.contains(&leased.offset));
        self.park(&mut queue, parked)?;
        self.remember(&mut queue, &taken)?;
        drop(queue);
        self.budget = self.budget.saturating_sub(progress);
        self.shared.bury(self.subscription, &dead);
        self.hand_out(number, taken);
        Ok(progress > 0)
    }

    /// Goes over what was delivered before, in order: what ended is delivered again unless an earlier one holds it back.
    fn plan(&mut self, queue: &mut Queue, number: u32) -> Plan {
        let leases: Vec<(u64, Lease)> = queue.leases().iter().collect();
        queue.forget_groups();
        let max_attempts = self.subscription.group.max_attempts();
        // A queue is held as a whole, so a message that ends later holds back the earlier ones too.
        let blocked = self.order == Order::Queue
            && leases.iter().any(|(_, lease)| lease.visible_at > self.now);
        let mut plan = Plan {
            next: queue.leases().next(),
            ..Plan::default()
        };
        for (offset, lease) in leases {
            let group = self.group_of(queue, number, offset, None);
            #[cfg(test)]
            let group = group.filter(|_| !crate::planted::Bug::OrderNotHeld.is_planted());
            if lease.visible_at > self.now {
                self.wake_at(lease.visible_at);
                plan.held.extend(group);
            } else if blocked || group.is_some_and(|group| plan.held.contains(&group)) {
            } else if u32::from(lease.attempt) >= max_attempts {
                plan.dead.push((offset, lease));
            } else if plan.again.len() < self.room() {
                plan.again.push((offset, lease.attempt.saturating_add(1)));
            } else {
                plan.held.extend(group);
            }
        }
        plan
    }

    /// Adds messages that were never delivered. Those that are held back are parked, and the look goes on behind them.
    fn look_ahead(
        &self,
        queue: &mut Queue,
        number: u32,
        plan: &mut Plan,
    ) -> Result<(), DeliveryError> {
        if self.order == Order::Queue && !plan.held.is_empty() {
            return Ok(());
        }
        let in_flight = queue.leases().in_flight();
        let free = self.shared.options.max_in_flight.saturating_sub(in_flight);
        let room = self.room().saturating_sub(plan.again.len()).min(free);
        let spare = MAX_PARKED.saturating_sub(in_flight);
        let mut entries = Vec::new();
        let from = plan.next;
        let wanted = if self.order == Order::Queue {
            room.min(self.budget)
        } else {
            CHUNK.min(self.budget)
        };
        let (store, topic) = (&self.shared.store, &self.subscription.topic);
        // Retention may have moved the queue's start up since the queue was entered.
        let read = store.entries(topic, number, from, wanted, &mut entries)?;
        for (offset, entry) in read.zip(&entries) {
            if plan.fresh.len() == room || plan.parked.len() == spare {
                break;
            }
            if self.filter.may_match(entry.tag_hash) {
                match self.group_of(queue, number, offset, Some(entry)) {
                    Some(group) if plan.held.contains(&group) => drop(plan.parked.insert(offset)),
                    _ => plan.fresh.push(offset),
                }
            }
            plan.next = offset + 1;
        }
        Ok(())
    }

    /// What holds a message back: its queue's number, or the hash of its message group. `None`: nothing, or it cannot be
    /// read, which the delivery finds out by itself.
    fn group_of(
        &self,
        queue: &mut Queue,
        number: u32,
        offset: u64,
        entry: Option<&Entry>,
    ) -> Option<u64> {
        if self.order == Order::Queue {
            return Some(u64::from(number));
        }
        if let Some(known) = queue.groups.get(&offset) {
            return *known;
        }
        let message = match entry {
            Some(entry) => self.shared.store.message(entry),
            None => self.shared.read(&self.subscription.topic, number, offset),
        };
        let group = message
            .ok()
            .and_then(|message| message.message_group().map(hash));
        queue.groups.insert(offset, group);
        group
    }

    /// Makes messages wait as if they had been given back: the journal keeps them, and their first attempt is to come.
    fn park(&self, queue: &mut Queue, parked: Vec<Leased>) -> Result<(), DeliveryError> {
        for Leased { offset, lease, .. } in parked {
            let lease = Lease {
                visible_at: self.now,
                attempt: 0,
                auto_renew: false,
                ..lease
            };
            queue.commit(&self.shared.journal, &Change::Leased { offset, lease })?;
        }
        Ok(())
    }

    /// Notes which batch the attempt got, in the journal too.
    fn remember(&self, queue: &mut Queue, taken: &[Leased]) -> Result<(), DeliveryError> {
        let Some(id) = self
            .attempt
            .filter(|id| id.len() <= MAX_ATTEMPT_ID && !taken.is_empty())
        else {
            return Ok(());
        };
        let leases = taken
            .iter()
            .map(|leased| (leased.offset, leased.lease.sequence));
        match &mut queue.attempt {
            Some(last) if last.id == id => last.leases.extend(leases),
            last => {
                *last = Some(Box::new(Attempt {
                    id: id.to_owned(),
                    leases: leases.collect(),
                }))
            }
        }
        Ok(queue.write_attempt(&self.shared.journal)?)
    }

    fn hand_out(&mut self, number: u32, taken: Vec<Leased>) {
        for leased in taken {
            let message = self
                .shared
                .read(&self.subscription.topic, number, leased.offset);
            if let Err(error) = self.deliver(leased, message) {
                self.failure.get_or_insert(error);
            }
        }
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.next_visible = Some(self.next_visible.map_or(time, |before| before.min(time)));
    }
}

/// Message groups of leased messages, so that each is read once.
pub(crate) type Groups = BTreeMap<u64, Option<u64>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{Fixture, GROUP, INVISIBLE, TOPIC};
    use crate::{Filter, Receive};

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
        for order in [Order::Queue, Order::MessageGroup] {
            let mut round = Round::new(shared, &subscription, &request, fixture.now);
            round.order = order;
            let (mut queue, mut plan) = (subscription.queue(0), Plan::default());
            round.look_ahead(&mut queue, 0, &mut plan).unwrap();
            assert_eq!((plan.fresh, plan.next), (vec![4, 5], 6), "{order:?}");
        }
    }
}
