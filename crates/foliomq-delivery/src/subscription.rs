//! A group that reads a topic: the leases of each queue, and who waits for them to change.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use event_listener::{Event, EventListener};
use foliomq_commitlog::AppendError;
use foliomq_store::lite_parts;
use parking_lot::{Mutex, MutexGuard};

use crate::journal::Journal;
use crate::lease::{Change, Lease, Leases};
use crate::lite::Members;
use crate::order::SharedOrder;
use crate::ordered::{Attempt, Groups};
use crate::record::{Record, STATE_CHUNK};
use crate::{Backoff, DeliveryError, Rules, Timestamp};

/// A group's name and rules.
#[derive(Debug)]
pub(crate) struct Policy {
    pub id: u32,
    pub name: String,
    pub max_attempts: AtomicU32,
    pub backoff: Mutex<Backoff>,
    pub order: SharedOrder,
    pub rules: Mutex<Rules>,
}

impl Policy {
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub id: u32,
    pub group: Arc<Policy>,
    pub topic: String,
    /// A topic of the same name made anew has another.
    pub topic_id: u32,
    /// Of a lite topic: who of the group reads it.
    pub members: Option<Arc<Members>>,
    /// Of any other topic: apart, since there may be many lite topics.
    plain: Option<Box<Plain>>,
    queues: Box<[Mutex<Queue>]>,
    turn: AtomicUsize,
    /// Forgotten: who still holds it tells nobody of it.
    ended: AtomicBool,
    /// It may begin behind messages, and the device does not know yet: after a power cut it would begin behind more of them.
    unsettled: AtomicBool,
}

/// What a subscription has that is not of a lite topic.
#[derive(Debug, Default)]
struct Plain {
    /// Notified when a message becomes visible other than by time.
    changed: Event,
    more: More,
}

/// Queues that the topic has got later: a list that only grows, so that it is read without a lock.
#[derive(Debug, Default)]
struct More(OnceLock<Box<Later>>);

#[derive(Debug)]
struct Later {
    queues: Box<[Mutex<Queue>]>,
    more: More,
}

impl More {
    fn all(&self) -> impl Iterator<Item = &Later> {
        std::iter::successors(self.next(), |later| later.more.next())
    }

    fn next(&self) -> Option<&Later> {
        self.0.get().map(|later| &**later)
    }
}

impl Subscription {
    pub fn new(
        id: u32,
        group: Arc<Policy>,
        topic: String,
        topic_id: u32,
        starts: &[u64],
        members: Option<Arc<Members>>,
    ) -> Self {
        let plain = members.is_none().then(Box::default);
        Self {
            id,
            group,
            topic,
            topic_id,
            members,
            plain,
            queues: queues(id, 0, starts),
            turn: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            unsettled: AtomicBool::new(false),
        }
    }

    /// It is forgotten from now on: whoever has told the store of it before is done with that when this returns.
    pub fn end(&self) {
        self.mark_ended();
        (0..self.queue_count()).for_each(|queue| drop(self.queue(queue)));
    }

    /// The same, without a wait.
    pub fn mark_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// It could not be forgotten.
    pub fn go_on(&self) {
        self.ended.store(false, Ordering::Release);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Before anybody can find it.
    pub fn unsettle(&self) {
        self.unsettled.store(true, Ordering::Release);
    }

    /// The device knows where it begins.
    pub fn settled(&self) {
        self.unsettled.store(false, Ordering::Release);
    }

    pub fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Acquire)
    }

    pub fn queue_count(&self) -> u32 {
        let later = self.later().map(|later| later.queues.len());
        (self.queues.len() + later.sum::<usize>()) as u32
    }

    fn later(&self) -> impl Iterator<Item = &Later> {
        self.plain.iter().flat_map(|plain| plain.more.all())
    }

    /// Adds queues behind those that there are, up to `count`. Only one caller at a time: the registry's lock sees to it.
    pub fn grow(&self, count: u32, sequence: u32) {
        let (first, Some(plain)) = (self.queue_count(), &self.plain) else {
            return;
        };
        let Some(more) = count.checked_sub(first).filter(|more| *more > 0) else {
            return;
        };
        let queues = queues(self.id, first, &vec![0; more as usize]);
        queues
            .iter()
            .for_each(|queue| queue.lock().begin_sequence(sequence));
        let more = More::default();
        let last = plain.more.all().last();
        let place = last.map_or(&plain.more, |last| &last.more);
        _ = place.0.set(Box::new(Later { queues, more }));
    }

    /// The queue's state, locked. The number must be below [`queue_count`](Self::queue_count).
    pub fn queue(&self, number: u32) -> MutexGuard<'_, Queue> {
        let mut index = number as usize;
        if let Some(queue) = self.queues.get(index) {
            return queue.lock();
        }
        index -= self.queues.len();
        for later in self.later() {
            match later.queues.get(index) {
                Some(queue) => return queue.lock(),
                None => index -= later.queues.len(),
            }
        }
        panic!("a queue that the subscription does not have: {number}");
    }

    pub fn has_queue(&self, number: u32) -> bool {
        number < self.queue_count()
    }

    /// All queues, beginning one further each time, so that none is always last.
    pub fn rotation(&self) -> impl Iterator<Item = u32> + use<> {
        let count = self.queue_count();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) as u32;
        (0..count).map(move |step| (first.wrapping_add(step)) % count)
    }

    /// Wakes who waits for a message to become visible.
    pub fn wake(&self) {
        if let Some(members) = &self.members {
            members.changed(self.topic_id, self.id);
        }
        if let Some(plain) = &self.plain {
            plain.changed.notify(usize::MAX);
        }
    }

    /// Woken when a message becomes visible other than by time; `None` of a lite topic, which wakes its readers.
    pub fn listen(&self) -> Option<EventListener> {
        self.plain.as_ref().map(|plain| plain.changed.listen())
    }

    /// Housekeeping is to look at it once more.
    pub fn touch(&self) {
        if let Some(members) = &self.members {
            members.lock().touch(self.id);
        }
    }

    /// Whether a client that names this topic means it: of a lite topic it names the one that has it.
    pub fn is_of(&self, topic: &str) -> bool {
        let parent = || lite_parts(&self.topic).map(|(parent, _)| parent);
        self.topic == topic || parent() == Some(topic)
    }
}

/// Queues of a subscription, from number `first` on.
fn queues(subscription: u32, first: u32, starts: &[u64]) -> Box<[Mutex<Queue>]> {
    let queue = |(number, start): (u32, &u64)| Mutex::new(Queue::new(subscription, number, *start));
    (first..).zip(starts).map(queue).collect()
}

/// One queue's leases, and how far they are in the journal and the store.
#[derive(Debug)]
pub(crate) struct Queue {
    subscription: u32,
    number: u32,
    leases: Leases,
    /// The journal misses changes, for want of space: nothing may follow them until it has the whole state again.
    behind: bool,
    /// What the store was last told is done.
    pub reported: Option<u64>,
    /// Leases that ended before were looked at for dead letters.
    pub swept: Timestamp,
    /// The last batch of an ordered group that was asked for by name.
    pub attempt: Option<Box<Attempt>>,
    /// Message groups of leased messages, as far as they were read.
    pub groups: Groups,
}

impl Queue {
    fn new(subscription: u32, number: u32, start: u64) -> Self {
        Self {
            subscription,
            number,
            leases: Leases::new(start, 0),
            behind: false,
            reported: None,
            swept: 0,
            attempt: None,
            groups: Groups::new(),
        }
    }

    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Drops the message groups of messages that are done.
    pub fn forget_groups(&mut self) {
        let leases = &self.leases;
        if self.groups.len() > leases.in_flight() {
            self.groups
                .retain(|offset, _| leases.lease(*offset).is_some());
        }
    }

    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Journals a change and makes it true. On a full disk consumers go on without the journal: a crash before there is
    /// space again brings back what was acked since.
    pub fn commit(&mut self, journal: &Journal, change: &Change) -> Result<(), DeliveryError> {
        #[cfg(test)]
        if crate::planted::is_unwritten(change) {
            self.leases.apply(change);
            return Ok(());
        }
        if !self.behind {
            match journal.append_change(self.subscription, self.number, change) {
                Ok(_) => {}
                Err(error @ AppendError::DiskFull { .. }) => self.fall_behind(&error),
                Err(error) => return Err(error.into()),
            }
        }
        self.leases.apply(change);
        Ok(())
    }

    fn fall_behind(&mut self, error: &AppendError) {
        tracing::warn!(%error, "delivery goes on without its journal: after a crash now, acked messages come again");
        self.behind = true;
    }

    /// Writes the whole state into the journal.
    pub fn write_state(&mut self, journal: &Journal) -> Result<(), AppendError> {
        let mut leases = self.leases.iter().peekable();
        let mut first = true;
        loop {
            let chunk: Vec<(u64, Lease)> = leases.by_ref().take(STATE_CHUNK).collect();
            let last = leases.peek().is_none();
            let (subscription, queue, next) = (self.subscription, self.number, self.leases.next());
            journal.append(&Record::State {
                subscription,
                queue,
                first,
                last,
                next,
                leases: chunk,
            })?;
            if last {
                break;
            }
            first = false;
        }
        drop(leases);
        self.behind = false;
        self.write_attempt(journal)
    }

    /// Writes down which batch went to whom by name, so that a client that lost an answer to a crash may ask again.
    pub fn write_attempt(&mut self, journal: &Journal) -> Result<(), AppendError> {
        let Some(Attempt { id, leases }) = self.attempt.as_deref() else {
            return Ok(());
        };
        if self.behind {
            return Ok(());
        }
        let record = Record::Attempt {
            subscription: self.subscription,
            queue: self.number,
            id: id.clone(),
            leases: leases.clone(),
        };
        match journal.append(&record) {
            Err(error @ AppendError::DiskFull { .. }) => self.fall_behind(&error),
            other => drop(other?),
        }
        Ok(())
    }

    /// The last batch that went out by name is from now on without this message.
    pub fn leave_attempt(&mut self, journal: &Journal, offset: u64) -> Result<(), AppendError> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        let before = attempt.leases.len();
        attempt.leases.retain(|(member, _)| *member != offset);
        if attempt.leases.len() == before {
            return Ok(());
        }
        self.write_attempt(journal)
    }

    /// Messages below `start` are gone; the journal need not know, for the store says so again after a restart.
    pub fn skip_to(&mut self, start: u64) {
        self.leases.skip_to(start);
    }

    /// The change as the journal has it: already written.
    pub fn replay(&mut self, change: &Change) {
        self.leases.apply(change);
    }

    pub fn replace(&mut self, leases: Leases) {
        self.leases = leases;
    }

    pub fn begin_sequence(&mut self, sequence: u32) {
        self.leases.begin_sequence(sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Taken;

    fn subscription(queues: usize) -> Subscription {
        let group = Arc::new(Policy {
            id: 1,
            name: "g".into(),
            max_attempts: AtomicU32::new(3),
            backoff: Mutex::default(),
            order: SharedOrder::default(),
            rules: Mutex::default(),
        });
        Subscription::new(7, group, "t".into(), 0, &vec![0; queues], None)
    }

    fn taken(next: u64) -> Change {
        let run = next - 10..next;
        Change::Taken(Taken {
            visible_at: 50,
            fresh: vec![run],
            next,
            ..Taken::default()
        })
    }

    /// The queue's state as the journal has it: changes from the last complete state on.
    fn replayed(journal: &Journal) -> Leases {
        let mut leases = Leases::default();
        let mut parts = Vec::new();
        let take = |record| match record {
            Record::Change { change, .. } => leases.apply(&change),
            Record::State {
                first,
                last,
                next,
                leases: part,
                ..
            } => {
                assert_eq!(first, parts.is_empty());
                parts.extend(part);
                if last {
                    leases = Leases::new(next, 0);
                    parts
                        .drain(..)
                        .for_each(|(offset, lease)| leases.restore(offset, lease));
                }
            }
            other => panic!("{other:?}"),
        };
        journal.replay(take).unwrap();
        leases
    }

    fn same(left: &Leases, right: &Leases) -> bool {
        left.next() == right.next() && left.iter().eq(right.iter())
    }

    #[test]
    fn each_rotation_begins_one_further() {
        let subscription = subscription(3);
        let rotations: Vec<Vec<u32>> = (0..4).map(|_| subscription.rotation().collect()).collect();
        assert_eq!(rotations, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn queues_that_come_later_are_behind_the_others() {
        let subscription = subscription(2);
        subscription.queue(1).replay(&taken(10));
        for count in [3, 3, 2, 6] {
            subscription.grow(count, 5);
        }
        assert_eq!(subscription.queue_count(), 6);
        assert!(subscription.has_queue(5) && !subscription.has_queue(6));
        subscription.queue(5).replay(&taken(20));
        let next: Vec<_> = (0..6)
            .map(|number| subscription.queue(number).leases().next())
            .collect();
        assert_eq!(next, [0, 10, 0, 0, 0, 20]);
        let numbers: Vec<_> = (0..6).map(|n| subscription.queue(n).number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn without_space_the_journal_keeps_an_earlier_state_until_it_has_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let subscription = subscription(1);
        let mut queue = subscription.queue(0);
        queue.commit(&journal, &taken(10)).unwrap();
        queue.commit(&journal, &Change::Done { offset: 3 }).unwrap();
        let before = queue.leases().clone();
        queue.fall_behind(&AppendError::DiskFull {
            dir: dir.path().into(),
            reason: "a test".into(),
        });
        for offset in 0..5 {
            queue.commit(&journal, &Change::Done { offset }).unwrap();
        }
        queue.commit(&journal, &taken(20)).unwrap();
        assert!(
            same(&replayed(&journal), &before),
            "what was acked since comes again, but nothing is lost"
        );
        queue.write_state(&journal).unwrap();
        queue
            .commit(&journal, &Change::Done { offset: 12 })
            .unwrap();
        assert!(!queue.is_behind());
        assert!(same(&replayed(&journal), queue.leases()));
    }

    #[test]
    fn a_state_larger_than_one_record_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let subscription = subscription(1);
        let mut queue = subscription.queue(0);
        for next in 1..=1000 {
            queue.replay(&taken(next * 10));
        }
        queue.write_state(&journal).unwrap();
        assert!(same(&replayed(&journal), queue.leases()));
        assert_eq!(queue.leases().in_flight(), 10_000);
    }

    #[test]
    fn a_closed_journal_refuses_a_change_and_the_state_stays() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let subscription = subscription(1);
        let mut queue = subscription.queue(0);
        journal.close().unwrap();
        assert!(queue.commit(&journal, &taken(10)).is_err());
        assert_eq!(queue.leases().next(), 0);
    }
}
