//! What a frontend calls: [`Groups`].

mod hidden;
mod leases;
mod settings;

use std::sync::Arc;

use foliomq_store::{LiteListener, Store};

use crate::options::Options;
use crate::shared::Shared;
use crate::{DeliveryError, Timestamp};

/// Consumer groups over a store. Cheap to clone; every method from any thread.
///
/// Nothing waits for a lock of another group, topic or queue. What blocks is the disk: a page of the log that must be
/// read, and a dead letter's append, so an async caller calls from a thread that may block.
#[derive(Debug, Clone)]
pub struct Groups {
    pub(crate) shared: Arc<Shared>,
}

impl Groups {
    /// Opens the journal in the store's folder (`delivery`) and brings back leases, attempts and acks. Call it before the
    /// first append after the store was opened: if the store lost its end in a power cut, what was known of the lost
    /// offsets is forgotten here, and new messages will have these offsets.
    pub fn open(store: Store, options: Options) -> Result<Self, DeliveryError> {
        let shared = Arc::new(Shared::open(store, options)?);
        let weak = Arc::downgrade(&shared);
        let told: Arc<LiteListener> = Arc::new(move |name, topic| {
            if let Some(shared) = weak.upgrade() {
                shared.lite_arrived(name, topic);
            }
        });
        shared.store.on_lite_arrival(told);
        shared.wake_lite()?;
        Ok(Self { shared })
    }

    /// Housekeeping, about once a second: progress into the store, snapshots, dead letters of groups that nobody reads, and
    /// hidden messages that retention would drop.
    /// All of it is tried; the first error is returned.
    pub fn tick(&self, now: Timestamp) -> Result<(), DeliveryError> {
        self.shared.tick(now)
    }

    /// Writes the progress into the store and closes the journal cleanly; call it before the store is closed. Idempotent.
    pub fn close(&self) -> Result<(), DeliveryError> {
        self.shared.close()
    }
}
