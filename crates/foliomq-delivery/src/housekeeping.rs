//! What is done about once a second: progress into the store, dead letters, snapshots of the journal.

use std::sync::atomic::Ordering;

use crate::lease::Lease;
use crate::pending::Snapshot;
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::{DeliveryError, Timestamp};

/// Most dead letters that one tick moves out of one queue.
const MAX_SWEPT: usize = 256;

impl Shared {
    pub fn tick(&self, now: Timestamp) -> Result<(), DeliveryError> {
        self.forget_gone();
        let mut result = Ok(());
        let subscriptions = self.registry.read().plain_subscriptions();
        for subscription in subscriptions {
            for number in 0..subscription.queue_count() {
                result = result.and(self.keep_house(&subscription, number, now));
            }
        }
        result = result.and(self.tick_lite(now));
        result = result.and(self.carry_forward());
        let save = self.pending.lock().save_due();
        if save || self.journal.snapshot_due(self.options.snapshot_after) {
            result = result.and(self.snapshot());
        }
        result
    }

    pub fn close(&self) -> Result<(), DeliveryError> {
        let mut result = Ok(());
        let subscriptions = self.registry.read().subscriptions();
        for subscription in subscriptions.iter().filter(|one| self.is_there(one)) {
            for number in 0..subscription.queue_count() {
                result = result.and(self.report(subscription, number));
                result = result.and(self.catch_up(subscription, number));
            }
        }
        result.and(self.journal.close().map_err(DeliveryError::from))
    }

    /// What is to be done for one queue.
    pub fn keep_house(
        &self,
        subscription: &Subscription,
        number: u32,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let mut result = self.report(subscription, number);
        result = result.and(self.sweep(subscription, number, now));
        result.and(self.catch_up(subscription, number))
    }

    /// Whether the subscription's topic is.
    pub fn is_there(&self, subscription: &Subscription) -> bool {
        self.store
            .topic(&subscription.topic)
            .is_some_and(|topic| topic.id == subscription.topic_id)
    }

    /// Tells the store what is done, if that changed.
    fn report(&self, subscription: &Subscription, number: u32) -> Result<(), DeliveryError> {
        let (mut queue, _) = self.enter(subscription, number)?;
        let committed = queue.leases().committed();
        if queue.reported != Some(committed) && !subscription.has_ended() {
            self.store.set_progress(
                &subscription.group.name,
                &subscription.topic,
                number,
                committed,
            )?;
            queue.reported = Some(committed);
        }
        Ok(())
    }

    /// Moves the dead letters among the leases that ended since the last time.
    fn sweep(
        &self,
        subscription: &Subscription,
        number: u32,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let max_attempts = subscription.group.max_attempts();
        let mut queue = subscription.queue(number);
        let ended = queue.leases().expired_since(queue.swept, now);
        let dead: Vec<(u64, Lease)> = ended
            .filter(|(_, lease)| u32::from(lease.attempt) >= max_attempts)
            .take(MAX_SWEPT)
            .collect();
        if dead.len() < MAX_SWEPT {
            queue.swept = now;
        } else {
            subscription.touch();
        }
        let dead = self.claim_dead(&mut queue, number, &dead, now)?;
        drop(queue);
        self.bury(subscription, &dead);
        Ok(())
    }

    /// Gives the journal the state of a queue whose changes it missed.
    fn catch_up(&self, subscription: &Subscription, number: u32) -> Result<(), DeliveryError> {
        let mut queue = subscription.queue(number);
        if queue.is_behind() {
            queue.write_state(&self.journal)?;
            tracing::info!(group = %subscription.group.name, topic = %subscription.topic, queue = number, "the delivery journal is complete again");
        }
        Ok(())
    }

    /// Writes the whole state into the journal and drops what came before. Each queue is locked for its own part only;
    /// changes that others make meanwhile follow their queue's part. Until the end is on the disk nothing is dropped, so
    /// a crash half-way leaves the older records, and parts that are complete only repeat them.
    pub fn snapshot(&self) -> Result<(), DeliveryError> {
        let Some(_one) = self.snapshotting.try_lock() else {
            return Ok(());
        };
        let begin = self.journal.end();
        let registry = self.registry.read();
        registry.write(&self.journal)?;
        let subscriptions = registry.subscriptions();
        drop(registry);
        for subscription in subscriptions {
            for number in 0..subscription.queue_count() {
                subscription.queue(number).write_state(&self.journal)?;
            }
        }
        // Written without the lock: what happens meanwhile is in the store's ledger. What is being carried has two places:
        // the ledger may have passed the new one already.
        let room = Snapshot::room(self.waiting.load(Ordering::Relaxed));
        let hidden = self.settled(|_| true).collect(&self.store, room)?;
        // What it has seen, a power cut must not take: the log goes on behind, and the next start but one could not tell.
        self.store.flush()?;
        hidden.save(&self.journal)?;
        self.journal.end_snapshot(begin)
    }
}
