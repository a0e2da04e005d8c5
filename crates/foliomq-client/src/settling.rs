//! The way from a program's leases to the task that holds the stream.

use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use crate::settlements::Settlement;

/// Settlements that wait for the stream; whoever has one more waits for room.
const WAITING: usize = 1024;

/// What leases ask for: each waits for its own.
pub(crate) type Asking = mpsc::Sender<Settlement>;
/// Deliveries that nobody has seen. Without a bound of its own, since the window has one, and never refused: a delivery
/// that is not given back is nobody's until its time is over.
pub(crate) type Returning = mpsc::UnboundedSender<Settlement>;

/// The task's end of both.
#[derive(Debug)]
pub(crate) struct Settling {
    asked: mpsc::Receiver<Settlement>,
    returned: mpsc::UnboundedReceiver<Settlement>,
}

/// Both ways, and where they end.
pub(crate) fn channel() -> (Asking, Returning, Settling) {
    let (asking, asked) = mpsc::channel(WAITING);
    let (returning, returned) = mpsc::unbounded_channel();
    (asking, returning, Settling { asked, returned })
}

impl Settling {
    /// The next, what is given back first; without `room` only that. `None` once nobody can say anything any more.
    pub(crate) async fn next(&mut self, room: bool) -> Option<Settlement> {
        std::future::poll_fn(|context| self.poll_next(room, context)).await
    }

    fn poll_next(&mut self, room: bool, context: &mut Context<'_>) -> Poll<Option<Settlement>> {
        if let Poll::Ready(Some(back)) = self.returned.poll_recv(context) {
            return Poll::Ready(Some(back));
        }
        if !room {
            return Poll::Pending;
        }
        match ready!(self.asked.poll_recv(context)) {
            // The consumer gives back before it goes: that may have come since.
            None => Poll::Ready(self.returned.try_recv().ok()),
            asked => Poll::Ready(asked),
        }
    }

    /// Whether nothing is waiting, and nobody can say more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_abandoned() && self.asked.is_empty() && self.returned.is_empty()
    }

    /// Whether nobody can say more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.asked.sender_strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn next(settling: &mut Settling, room: bool) -> Poll<Option<String>> {
        let next = pin!(settling.next(room)).poll(&mut Context::from_waker(Waker::noop()));
        next.map(|next| next.map(|settlement| settlement.handle))
    }

    #[test]
    fn what_is_given_back_comes_first_needs_no_room_and_is_heard_after_its_sender_is_gone() {
        let (asking, returning, mut settling) = channel();
        let settlement = |handle: &str| Settlement::release("t".into(), handle.into());
        let some = |handle: &str| Poll::Ready(Some(handle.to_owned()));
        asking.try_send(settlement("asked")).unwrap();
        for n in 0..2 * WAITING {
            returning.send(settlement(&n.to_string())).unwrap();
        }
        assert_eq!(next(&mut settling, false), some("0"));
        drop((asking, returning));
        assert!(settling.is_abandoned() && !settling.is_over());
        for n in 1..2 * WAITING {
            assert_eq!(next(&mut settling, true), some(&n.to_string()));
        }
        assert_eq!(next(&mut settling, true), some("asked"));
        assert!(settling.is_over());
        assert_eq!(next(&mut settling, true), Poll::Ready(None));
    }
}
