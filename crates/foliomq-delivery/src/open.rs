//! Opening: the journal is replayed, and made to agree with the store.

use event_listener::Event;
use foliomq_segment::disk;
use foliomq_store::Store;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use crate::DeliveryError;
use crate::handle::{Key, random};
use crate::journal::Journal;
use crate::lease::{Change, Lease, Leases};
use crate::options::Options;
use crate::ordered::Attempt;
use crate::pending::{Journalled, Pending};
use crate::record::Record;
use crate::registry::Registry;
use crate::shared::Shared;
use crate::subscription::Subscription;
use std::sync::atomic::AtomicUsize;

/// The folder in the store's.
const FOLDER: &str = "delivery";
/// The secret of receipt handles, in it.
const KEY: &str = "handle.key";

impl Shared {
    pub fn open(store: Store, options: Options) -> Result<Self, DeliveryError> {
        let dir = store.options().dir.join(FOLDER);
        let failed =
            |error: std::io::Error| DeliveryError::Journal(format!("{}: {error}", dir.display()));
        disk::make_folder(&dir).map_err(failed)?;
        let key = Key::open(&dir.join(KEY)).map_err(failed)?;
        let first_sequence = u32::from_le_bytes(random().map_err(failed)?);
        let journal = Journal::open(&dir)?;
        let mut replay = Replay::default();
        journal.replay(|record| replay.take(record))?;
        let is_ahead = replay.hidden.forget_what_is_lost(store.recovery().end);
        let pending = Pending::load(&store, replay.hidden)?;
        let shared = Self {
            waiting: AtomicUsize::new(pending.waiting.len()),
            halves: AtomicUsize::new(pending.halves.len()),
            pending: Mutex::new(pending),
            walk: Mutex::default(),
            carried: Condvar::new(),
            store,
            options,
            journal,
            key,
            registry: RwLock::new(replay.registry),
            newcomers: Event::new(),
            first_sequence,
            snapshotting: Mutex::new(()),
            lifetimes: Mutex::default(),
            unsubscribed: Mutex::default(),
            topic_changes: AtomicU64::new(u64::MAX),
        };
        shared.agree_with_store()?;
        if is_ahead {
            // The log grows past what the snapshot has seen: the next start could not tell.
            if let Err(error) = shared.snapshot() {
                tracing::warn!(%error, "hidden messages wait for a snapshot: it is tried again");
                shared.pending.lock().save_soon();
            }
        }
        Ok(shared)
    }

    /// Forgets topics that are gone, messages that retention took, and, after a power cut that cost the store its last
    /// messages, what was known of those: others will have their offsets. That is on the disk before any of these comes.
    fn agree_with_store(&self) -> Result<(), DeliveryError> {
        self.forget_gone();
        let mut cut = false;
        let subscriptions = self.registry.read().subscriptions();
        for subscription in subscriptions {
            for number in 0..subscription.queue_count() {
                cut |= self.cut(&subscription, number)?;
            }
        }
        if cut {
            self.journal.flush()?;
        }
        Ok(())
    }

    fn cut(&self, subscription: &Subscription, number: u32) -> Result<bool, DeliveryError> {
        let (mut queue, offsets) = self.enter(subscription, number)?;
        queue.begin_sequence(self.first_sequence);
        let end = offsets.end;
        if queue.leases().next() <= end {
            return Ok(false);
        }
        let (group, topic) = (&subscription.group.name, &subscription.topic);
        tracing::warn!(%group, %topic, queue = number, end, next = queue.leases().next(), "the queue lost its end: deliveries of it are forgotten");
        self.journal
            .append_change(subscription.id, number, &Change::Cut { end })?;
        queue.replay(&Change::Cut { end });
        Ok(true)
    }
}

/// The journal's records made state.
#[derive(Debug, Default)]
struct Replay {
    registry: Registry,
    /// Parts of a queue's snapshot whose last has not come.
    parts: HashMap<(u32, u32), Vec<(u64, Lease)>>,
    hidden: Journalled,
}

impl Replay {
    /// Records of a subscription that is not known come before the snapshot that the journal begins with: it has them.
    fn take(&mut self, record: Record) {
        match record {
            Record::Group {
                id,
                name,
                max_attempts,
            } => self.registry.replay_group(id, name, max_attempts),
            Record::Forgotten { group, topic } => self.registry.replay_forgotten(group, topic),
            Record::Order { group, order } => self.registry.replay_order(group, order),
            Record::Subscription {
                id,
                group,
                topic_id,
                topic,
                starts,
            } => {
                self.registry
                    .replay_subscription(id, group, topic_id, topic, &starts);
            }
            Record::Change {
                subscription,
                queue,
                change,
            } => {
                #[cfg(test)]
                let change = crate::planted::replayed(change);
                if let Some(subscription) = self.known(subscription, queue) {
                    subscription.queue(queue).replay(&change);
                }
            }
            Record::State {
                subscription,
                queue,
                first,
                last,
                next,
                leases,
            } => {
                self.part(subscription, queue, first, leases);
                if last {
                    self.replace(subscription, queue, next);
                }
            }
            Record::Lite {
                group,
                topic,
                client,
                change,
                topics,
            } => self
                .registry
                .replay_lite(group, &topic, &client, change, &topics),
            Record::Backoff { group, backoff } => self.registry.replay_backoff(group, backoff),
            Record::Pending {
                first,
                last,
                seen,
                messages,
            } => self.hidden.part((first, last), seen, messages),
            Record::Asked { id, half } => self.hidden.asked(id, half),
            Record::Rules { group, rules } => self.registry.replay_rules(group, rules),
            Record::Attempt {
                subscription,
                queue,
                id,
                leases,
            } => {
                if let Some(subscription) = self.known(subscription, queue) {
                    subscription.queue(queue).attempt = Some(Box::new(Attempt { id, leases }));
                }
            }
            Record::SnapshotEnd { .. } => {}
        }
    }

    fn known(&self, subscription: u32, queue: u32) -> Option<std::sync::Arc<Subscription>> {
        self.registry
            .subscription(subscription)
            .filter(|subscription| subscription.has_queue(queue))
    }

    fn part(&mut self, subscription: u32, queue: u32, first: bool, leases: Vec<(u64, Lease)>) {
        let parts = self.parts.entry((subscription, queue)).or_default();
        if first {
            parts.clear();
        }
        parts.extend(leases);
    }

    fn replace(&mut self, subscription: u32, queue: u32, next: u64) {
        let parts = self
            .parts
            .remove(&(subscription, queue))
            .unwrap_or_default();
        let Some(subscription) = self.known(subscription, queue) else {
            return;
        };
        let mut leases = Leases::new(next, 0);
        for (offset, lease) in parts {
            leases.restore(offset, lease);
        }
        subscription.queue(queue).replace(leases);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease = Lease {
        visible_at: 9,
        sequence: 1,
        attempt: 2,
        auto_renew: false,
    };

    fn replay(records: impl IntoIterator<Item = Record>) -> Registry {
        let mut replay = Replay::default();
        records.into_iter().for_each(|record| replay.take(record));
        replay.registry
    }

    fn definitions(starts: Vec<u64>) -> [Record; 2] {
        let group = Record::Group {
            id: 4,
            name: "g".into(),
            max_attempts: 3,
        };
        [
            group,
            Record::Subscription {
                id: 2,
                group: 4,
                topic_id: 8,
                topic: "t".into(),
                starts,
            },
        ]
    }

    fn state(first: bool, last: bool, next: u64, offsets: &[u64]) -> Record {
        let leases = offsets.iter().map(|offset| (*offset, LEASE)).collect();
        Record::State {
            subscription: 2,
            queue: 0,
            first,
            last,
            next,
            leases,
        }
    }

    fn change(change: Change) -> Record {
        Record::Change {
            subscription: 2,
            queue: 0,
            change,
        }
    }

    fn leased(registry: &Registry) -> (u64, Vec<u64>) {
        let subscription = registry.find("g", 8).unwrap();
        let queue = subscription.queue(0);
        (
            queue.leases().next(),
            queue.leases().iter().map(|(offset, _)| offset).collect(),
        )
    }

    #[test]
    fn half_a_snapshot_changes_nothing() {
        let [group, subscription] = definitions(vec![5]);
        let mut records = vec![
            group.clone(),
            subscription.clone(),
            change(Change::Leased {
                offset: 6,
                lease: LEASE,
            }),
        ];
        let [_, again] = definitions(vec![0]);
        records.extend([group, again, state(true, false, 90, &[70, 71])]);
        assert_eq!(leased(&replay(records.clone())), (5, vec![6]));
        // The next snapshot begins anew.
        records.extend([
            state(true, false, 100, &[80, 81]),
            state(false, true, 100, &[82]),
        ]);
        assert_eq!(leased(&replay(records)), (100, vec![80, 81, 82]));
    }

    #[test]
    fn changes_before_the_definitions_are_in_the_snapshot() {
        let mut records = vec![
            change(Change::Done { offset: 1 }),
            state(false, true, 3, &[]),
        ];
        records.extend(definitions(vec![0]));
        records.extend([
            state(true, true, 10, &[4]),
            change(Change::Done { offset: 4 }),
            Record::SnapshotEnd { begin: 0 },
        ]);
        assert_eq!(leased(&replay(records)), (10, vec![]));
    }

    #[test]
    fn the_last_policy_counts() {
        let [group, _] = definitions(vec![]);
        let registry = replay([
            group,
            Record::Group {
                id: 4,
                name: "g".into(),
                max_attempts: 8,
            },
        ]);
        assert_eq!(registry.group("g").unwrap().max_attempts(), 8);
    }
}
