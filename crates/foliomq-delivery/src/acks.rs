//! Acks: leases end, and those of one queue that are acknowledged together end together.

use std::sync::Arc;

use crate::handle::Handle;
use crate::lease::{Change, Claim, Handles, REPLACED, Standing};
use crate::order::Order;
use crate::receive::runs;
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::{DeliveryError, Timestamp};

/// Deliveries of one queue, each with its place among the handles of the request.
struct Batch {
    subscription: Arc<Subscription>,
    queue: u32,
    claims: Vec<(usize, Claim)>,
}

impl Batch {
    fn new(subscription: Arc<Subscription>, handle: &Handle) -> Self {
        Self {
            subscription,
            queue: u32::from(handle.queue),
            claims: Vec::new(),
        }
    }

    fn is_of(&self, handle: &Handle) -> bool {
        self.subscription.id == handle.subscription && self.queue == u32::from(handle.queue)
    }
}

impl Shared {
    pub fn ack(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let (subscription, handle) = self.owned(group, topic, handle)?;
        let mut batch = Batch::new(subscription, &handle);
        batch.claims.push((0, handle.claim));
        let mut results = [Ok(())];
        self.end_all(&batch, now, Handles::Newest, &mut results);
        let [result] = results;
        result
    }

    pub fn ack_all(
        &self,
        group: &str,
        topic: &str,
        handles: &[impl AsRef<str>],
        now: Timestamp,
        good: Handles,
    ) -> Vec<Result<(), DeliveryError>> {
        let mut results = vec![Ok(()); handles.len()];
        let mut batches: Vec<Batch> = Vec::new();
        for (place, text) in handles.iter().enumerate() {
            let batch = self.batch_of(group, topic, text.as_ref(), &mut batches);
            match batch {
                Ok((batch, claim)) => batch.claims.push((place, claim)),
                Err(error) => results[place] = Err(error),
            }
        }
        for batch in &batches {
            self.end_all(batch, now, good, &mut results);
        }
        results
    }

    /// The batch that a handle belongs to: the last, or a new one.
    fn batch_of<'b>(
        &self,
        group: &str,
        topic: &str,
        text: &str,
        batches: &'b mut Vec<Batch>,
    ) -> Result<(&'b mut Batch, Claim), DeliveryError> {
        let handle = self.key.open_handle(text)?;
        if !batches.last().is_some_and(|last| last.is_of(&handle)) {
            let subscription = self.owner(group, topic, &handle)?;
            batches.push(Batch::new(subscription, &handle));
        }
        let last = batches.len() - 1;
        Ok((&mut batches[last], handle.claim))
    }

    /// Ends those that are held, with one record; notes in `results` why others are not.
    fn end_all(
        &self,
        batch: &Batch,
        now: Timestamp,
        good: Handles,
        results: &mut [Result<(), DeliveryError>],
    ) {
        let mut queue = batch.subscription.queue(batch.queue);
        let mut held = Vec::with_capacity(batch.claims.len());
        for (place, claim) in &batch.claims {
            match queue.leases().standing_by(claim, now, good) {
                Standing::Held(_) => held.push((claim.offset, *place)),
                Standing::Done => {}
                Standing::Void(what) => {
                    results[*place] = Err(DeliveryError::InvalidHandle { what });
                }
                Standing::Changed(_) => {
                    results[*place] = Err(DeliveryError::InvalidHandle { what: REPLACED });
                }
            }
        }
        if held.is_empty() {
            return;
        }
        let was_full = queue.leases().in_flight() >= self.options.max_in_flight;
        let committed = queue.commit(&self.journal, &done(&mut held));
        drop(queue);
        match committed {
            Ok(()) if was_full || self.order(&batch.subscription) != Order::Free => {
                batch.subscription.wake();
            }
            Ok(()) => {}
            Err(error) => held
                .iter()
                .for_each(|(_, place)| results[*place] = Err(error.clone())),
        }
    }
}

/// That these offsets are done, in the fewest bytes. A handle may have come twice.
fn done(held: &mut [(u64, usize)]) -> Change {
    held.sort_unstable();
    let mut offsets: Vec<u64> = held.iter().map(|(offset, _)| *offset).collect();
    offsets.dedup();
    match offsets[..] {
        [offset] => Change::Done { offset },
        _ => Change::AllDone {
            runs: runs(offsets.into_iter()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_together_is_one_change_of_runs() {
        let mut held = [(7, 0), (4, 1), (5, 2), (4, 3)];
        let runs = vec![4..6, 7..8];
        assert_eq!(done(&mut held), Change::AllDone { runs });
        assert_eq!(done(&mut [(4, 0), (4, 1)]), Change::Done { offset: 4 });
    }
}
