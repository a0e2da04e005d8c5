//! A consumer group: what it was not given, or did not finish, must still come.

use std::collections::BTreeSet;
use std::time::Duration;

use foliomq_delivery::{Delivery, DeliveryError, Filter, Groups, Options, Receive};
use foliomq_store::Store;

use crate::history::{Contents, TOPIC};

/// The group.
const GROUP: &str = "readers";
/// Unix milliseconds at which the first life begins.
const BEGIN: u64 = 1_790_000_000_000;
/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(30);
/// What a handle is refused with that was made with another secret.
const FORGED: &str = "it was not made here";

/// A group on a store.
pub(crate) struct Consumer {
    groups: Groups,
    now: u64,
}

impl Consumer {
    /// Opens the journal. Each life is a day later, so that earlier leases have ended.
    pub(crate) fn open(store: &Store, life: u64) -> Result<Self, DeliveryError> {
        let options = Options {
            max_attempts: u32::from(u16::MAX),
            ..Options::default()
        };
        Ok(Self {
            groups: Groups::open(store.clone(), options)?,
            now: BEGIN + life * 86_400_000,
        })
    }

    /// Leases a few messages.
    pub(crate) fn receive(&self, most: usize) -> Result<Vec<Delivery>, DeliveryError> {
        let request = Receive {
            group: GROUP,
            topic: TOPIC,
            filter: &Filter::All,
            most,
            invisible: LEASE,
            auto_renew: false,
        };
        Ok(self.groups.receive(&request, self.now)?.messages)
    }

    /// Ends a lease.
    pub(crate) fn ack(&self, handle: &str) -> Result<(), DeliveryError> {
        self.groups.ack(GROUP, TOPIC, handle, self.now)
    }

    pub(crate) fn close(&self) -> Result<(), DeliveryError> {
        self.groups.close()
    }

    /// Receives all there is: everything in `found` but what was `acked`, and nothing else. A handle given out before
    /// is still known for one of ours.
    pub(crate) fn check(
        &self,
        found: &Contents,
        acked: &BTreeSet<(u32, u64)>,
        handle: Option<&str>,
    ) -> Result<(), String> {
        if let Some(handle) = handle
            && let Err(DeliveryError::InvalidHandle { what: FORGED }) = self.ack(handle)
        {
            return Err("lost: the secret of receipt handles".to_owned());
        }
        let mut received = BTreeSet::new();
        loop {
            let messages = self.receive(64).map_err(|error| error.to_string())?;
            if messages.is_empty() {
                break;
            }
            let place = |delivery: &Delivery| {
                (delivery.message.queue_id(), delivery.message.queue_offset())
            };
            received.extend(messages.iter().map(place));
        }
        for (queue, offsets) in (0..).zip(&found.offsets) {
            let missing = offsets.clone().find(|&offset| {
                !received.contains(&(queue, offset)) && !acked.contains(&(queue, offset))
            });
            if let Some(offset) = missing {
                return Err(format!(
                    "lost for its group: message {offset} of queue {queue}, which was not acknowledged"
                ));
            }
        }
        Ok(())
    }
}
