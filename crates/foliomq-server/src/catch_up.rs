//! Readers of history take turns: the threads on which reads wait for the device are there for those at the head as well.
//!
//! The log itself has few places at the device ([`foliomq_store::Options::cold_reads`]); who waits there holds a thread. So
//! a reader that has lately been there looks only in its turn, of which there are a few, given in the order in which they
//! are asked for. A reader whose messages are in memory waits for none of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use foliomq_store::cold_reads_here;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::{Broker, Handles};
use crate::status::Refusal;

/// After so many looks that did not wait for the device a reader is at the head. What is read ahead serves some hundred.
const LOOKS: u32 = 1000;
/// Most readers that are remembered; past it all are forgotten, and found again by their next such look.
const MAX_READERS: usize = 65_536;

/// Whoever has lately waited for the device, and the turns of these.
#[derive(Debug)]
pub(crate) struct CatchUp {
    turns: Arc<Semaphore>,
    /// Looks that are left until a reader counts as one at the head.
    behind: Mutex<HashMap<Reader, u32>>,
}

/// Who reads: a group and its topics, or queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reader(u64);

impl Reader {
    /// Of these names. (Two that happen to be the same are taken for one: they share a turn too many.)
    pub(crate) fn of(names: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        names.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl CatchUp {
    /// So many look at once, at least one.
    pub(crate) fn new(turns: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns.clamp(1, Semaphore::MAX_PERMITS))),
            behind: Mutex::default(),
        }
    }

    /// Waits for a turn, if this reader needs one.
    async fn turn(&self, reader: Reader) -> Option<OwnedSemaphorePermit> {
        let behind = self.behind.lock().contains_key(&reader);
        match behind {
            true => self.turns.clone().acquire_owned().await.ok(),
            false => None,
        }
    }

    /// It has looked, and waited for the device or not.
    fn looked(&self, reader: Reader, waited: bool) {
        let mut behind = self.behind.lock();
        if waited {
            if behind.len() >= MAX_READERS {
                behind.clear();
            }
            behind.insert(reader, LOOKS);
        } else if let Some(left) = behind.get_mut(&reader) {
            *left -= 1;
            if *left == 0 {
                behind.remove(&reader);
            }
        }
    }
}

impl Broker {
    /// Runs a look at stored messages, which may have to be brought into memory, where it holds up nobody.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        reader: Reader,
        look: impl FnOnce(&Handles) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.catch_up.turn(reader).await;
        let look = move |handles: &Handles| {
            let before = cold_reads_here();
            let found = look(handles)?;
            // Held as long as the thread is, whoever asked.
            drop(turn);
            Ok((found, cold_reads_here() > before))
        };
        let (found, waited) = self.blocking(look).await?;
        self.catch_up.looked(reader, waited);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn those_who_catch_up_wait_for_each_other_and_nobody_else_for_them() {
        let catch_up = CatchUp::new(1);
        let [first, second, third, head] = ["a", "b", "c", "head"].map(Reader::of);
        for reader in [first, second, third] {
            catch_up.looked(reader, true);
        }
        catch_up.looked(head, false);
        let mut context = Context::from_waker(Waker::noop());
        let mut turns = [first, second, third, head].map(|reader| Box::pin(catch_up.turn(reader)));
        let mut states = turns
            .each_mut()
            .map(|turn| turn.as_mut().poll(&mut context));
        assert!(matches!(states[0], Poll::Ready(Some(_))));
        assert!(states[1].is_pending() && states[2].is_pending());
        assert!(matches!(states[3], Poll::Ready(None)), "not behind");
        // In the order in which they asked.
        states[0] = Poll::Pending;
        let mut next = || turns[2].as_mut().poll(&mut context).is_pending();
        assert!(next(), "the turn is the second one's");
        let second = turns[1].as_mut().poll(&mut context);
        assert!(matches!(second, Poll::Ready(Some(_))));
        drop(second);
        let third = turns[2].as_mut().poll(&mut context);
        assert!(matches!(third, Poll::Ready(Some(_))));
    }

    #[test]
    fn a_reader_is_at_the_head_once_it_has_long_not_waited() {
        let catch_up = CatchUp::new(1);
        let reader = Reader::of(("group", "topic"));
        let is_behind = || {
            let turn = pin!(catch_up.turn(reader));
            let turn = turn.poll(&mut Context::from_waker(Waker::noop()));
            matches!(turn, Poll::Ready(Some(_)))
        };
        assert!(!is_behind());
        for _ in 0..2 {
            catch_up.looked(reader, true);
            (1..LOOKS).for_each(|_| catch_up.looked(reader, false));
            assert!(is_behind());
        }
        catch_up.looked(reader, false);
        assert!(!is_behind());
        for n in 0..MAX_READERS + 10 {
            catch_up.looked(Reader::of(n), true);
        }
        assert!(catch_up.behind.lock().len() <= MAX_READERS);
    }
}
