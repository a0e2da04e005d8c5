//! Deliveries on their way to a client: given back if they do not get there.

use std::collections::VecDeque;

use foliomq_delivery::{Delivery, Groups};

use crate::properties::unix_ms;

/// The handles of deliveries whose bytes have not all left.
///
/// Dropping it makes their messages visible again at once, and the attempt does not count: whoever asked is gone.
#[derive(Debug)]
pub(crate) struct Unsent {
    groups: Groups,
    handles: VecDeque<String>,
}

impl Unsent {
    pub(crate) fn new(groups: Groups, deliveries: &[Delivery]) -> Self {
        let handles = deliveries.iter().map(|delivery| delivery.handle.clone());
        Self {
            handles: handles.collect(),
            groups,
        }
    }

    /// Takes the first `count` of them out.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let rest = self.handles.split_off(count.min(self.handles.len()));
        Self {
            groups: self.groups.clone(),
            handles: std::mem::replace(&mut self.handles, rest),
        }
    }

    /// Their bytes have left.
    pub(crate) fn sent(mut self) {
        self.handles.clear();
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let now = unix_ms();
        for handle in self.handles.drain(..) {
            // One that is settled, or was taken over by another receive, needs no release.
            if let Err(error) = self.groups.release(&handle, now) {
                tracing::debug!(%error, "an unsent delivery could not be given back");
            }
        }
    }
}
