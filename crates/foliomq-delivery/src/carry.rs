//! Hidden messages that retention wants to drop and that still wait are appended again, a few at a time: whoever needs the
//! lock of the hidden messages waits for no disk, and who wants to end the wait of one of the few waits for those alone.

use foliomq_store::StoreError;
use parking_lot::MutexGuard;

use crate::DeliveryError;
use crate::pending::Pending;
use crate::shared::Shared;
use crate::waiting::Far;

/// Messages that one tick carries, and their bytes: housekeeping has more to do.
const MOST: usize = 16 << 10;
const MOST_BYTES: u64 = 64 << 20;
/// Messages that are carried at once.
const STEP: usize = 16;
/// Messages that are looked at under the lock.
const LOOKED_AT: usize = 4096;

/// A message that is being carried. Until it has its new place nobody ends its wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Old {
    pub id: u64,
    /// Where it lay.
    pub position: u64,
    /// When it is due, if it waits for that.
    pub due: u64,
}

/// How far the messages were looked at, over several ticks. One that comes meanwhile lies above.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The position below which none is to lie.
    below: u64,
    place: Place,
    carried: usize,
}

/// What is looked at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Half messages, from this id on.
    Half(u64),
    /// Delayed messages whose time is far.
    Far(Far),
    /// The others leave by themselves within a minute or so.
    Near,
}

impl Walk {
    fn new(below: u64) -> Self {
        Self {
            below,
            place: Place::Half(0),
            carried: 0,
        }
    }

    /// Claims the next that are old, after a bounded look.
    fn claim(&mut self, pending: &mut Pending) {
        let mut left = LOOKED_AT;
        while left > 0 && self.place != Place::Near && pending.carrying.len() < STEP {
            let most = left.min(STEP - pending.carrying.len());
            let (seen, next) = self.look(pending, most);
            left -= seen.len().clamp(1, left);
            self.place = next;
            let old = |(due, id)| self.old(pending, id, due);
            let old: Vec<Old> = seen.into_iter().filter_map(old).collect();
            pending.carrying.extend(old);
        }
    }

    /// Up to `most` messages: when each is due, and its id. And where to go on.
    fn look(&self, pending: &Pending, most: usize) -> (Vec<(u64, u64)>, Place) {
        match self.place {
            Place::Half(from) => {
                let ids = pending.halves.range(from..).map(|(id, _)| *id).take(most);
                let seen: Vec<_> = ids.map(|id| (u64::MAX, id)).collect();
                let next = seen.last().map(|(_, last)| Place::Half(last + 1));
                (seen, next.unwrap_or(Place::Far(Far::default())))
            }
            Place::Far(from) => {
                let (seen, next) = pending.waiting.far(from, most);
                (seen.to_vec(), next.map_or(Place::Near, Place::Far))
            }
            Place::Near => (Vec::new(), Place::Near),
        }
    }

    fn old(&self, pending: &Pending, id: u64, due: u64) -> Option<Old> {
        let position = pending.position(id);
        let is_old = position < self.below && !pending.waiting.is_recalled(id);
        is_old.then_some(Old { id, position, due })
    }

    /// Whether no message lies below any more.
    fn is_over(&self, pending: &Pending) -> bool {
        let near = || pending.waiting.near();
        self.place == Place::Near && !near().any(|(due, id)| self.old(pending, id, due).is_some())
    }
}

impl Shared {
    /// Appends again what retention wants to drop and still waits, as much as one tick may, then lets it go.
    pub fn carry_forward(&self) -> Result<(), DeliveryError> {
        let Some(mut slot) = self.walk.try_lock() else {
            return Ok(());
        };
        let mut walk = match slot.take() {
            Some(walk) => walk,
            None => match self.store.held_back() {
                Some(wanted) => Walk::new(wanted.min(self.store.watermarks().dispatched)),
                None => return Ok(()),
            },
        };
        self.pending.lock().follow(&self.store)?;
        let (most, mut bytes) = (walk.carried + MOST, 0);
        while walk.place != Place::Near && walk.carried < most && bytes < MOST_BYTES {
            // After an error the walk begins anew: what was carried is passed over then.
            bytes += self.carry_some(&mut walk)?;
        }
        if !walk.is_over(&self.pending.lock()) {
            *slot = Some(walk);
            return Ok(());
        }
        // Before the old records may go.
        self.store.flush()?;
        self.store.keep_from(walk.below)?;
        tracing::info!(count = walk.carried, "hidden messages were carried forward");
        Ok(())
    }

    /// Carries the next few; returns their bytes.
    fn carry_some(&self, walk: &mut Walk) -> Result<u64, DeliveryError> {
        let claimed = {
            let mut pending = self.pending.lock();
            walk.claim(&mut pending);
            pending.carrying.clone()
        };
        let (mut moved, mut bytes, mut result) = (Vec::new(), 0, Ok(()));
        for old in &claimed {
            match self.store.carry(old.position) {
                Ok(carried) => {
                    bytes += carried.end() - carried.position;
                    moved.push((old.id, carried.position));
                }
                // Nothing of it is left that could be kept.
                Err(error @ StoreError::Lost { .. }) => {
                    let position = old.position;
                    tracing::warn!(%error, position, "a hidden message is lost");
                }
                Err(error) => {
                    result = Err(error.into());
                    break;
                }
            }
        }
        walk.carried += moved.len();
        let mut pending = self.pending.lock();
        moved.iter().for_each(|&(id, to)| pending.carry(id, to));
        pending.carrying.clear();
        drop(pending);
        self.carried.notify_all();
        result.map(|()| bytes)
    }

    /// The hidden messages, locked, while none of those is carried for which `counts` is true.
    pub fn settled(&self, counts: impl Fn(&Old) -> bool) -> MutexGuard<'_, Pending> {
        let mut pending = self.pending.lock();
        while pending.carrying.iter().any(&counts) {
            self.carried.wait(&mut pending);
        }
        pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pending::Half;

    /// Delayed messages 1 to 10,000 in three far minutes, and half messages up to 10,100.
    fn pending() -> Pending {
        let mut pending = Pending::default();
        for id in 1..=10_000 {
            pending.waiting.add(600_000 + id % 3 * 60_000, id);
        }
        for id in 10_001..=10_100 {
            let half = Half {
                since: 0,
                ask_at: 0,
                asked: 0,
            };
            pending.halves.insert(id, half);
        }
        pending
    }

    /// Ids that were claimed, and how many looks that took.
    fn claimed(walk: &mut Walk, pending: &mut Pending) -> (Vec<u64>, usize) {
        let (mut ids, mut looks) = (Vec::new(), 0);
        while walk.place != Place::Near {
            walk.claim(pending);
            assert!(pending.carrying.len() <= STEP);
            for old in std::mem::take(&mut pending.carrying) {
                assert_eq!(old.position, old.id);
                pending.carry(old.id, 1 << 40);
                ids.push(old.id);
            }
            looks += 1;
        }
        ids.sort_unstable();
        (ids, looks)
    }

    #[test]
    fn all_that_lie_below_are_claimed_once_and_each_look_is_bounded() {
        let mut pending = pending();
        pending.waiting.recall(7);
        let mut walk = Walk::new(51);
        let (ids, looks) = claimed(&mut walk, &mut pending);
        let expected: Vec<u64> = (1..51).filter(|id| *id != 7).collect();
        assert_eq!(ids, expected);
        assert!(looks > 10_000 / LOOKED_AT, "{looks} looks");
        assert!(walk.is_over(&pending));
        let (ids, _) = claimed(&mut Walk::new(1 << 40), &mut pending);
        assert_eq!(
            ids.len(),
            10_100 - 50,
            "the halves too, and none of the carried"
        );
    }

    #[test]
    fn what_is_near_is_waited_for() {
        let mut pending = pending();
        assert!(pending.waiting.take_due(600_000, 1).len() == 1);
        let mut walk = Walk::new(100);
        let (ids, _) = claimed(&mut walk, &mut pending);
        assert!(ids.iter().all(|id| id % 3 != 0), "{ids:?}");
        assert!(!walk.is_over(&pending));
        assert!(pending.waiting.take_due(600_000, 10_000).len() > 3000);
        assert!(walk.is_over(&pending));
    }
}
