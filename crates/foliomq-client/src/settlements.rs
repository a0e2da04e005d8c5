//! What a subscription has to say of its deliveries, and what of that was not answered yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use foliomq_proto::v1::{Settle, Settled, Settlement as How};
use foliomq_proto::v2::{Code, Status};
use tokio::sync::oneshot;

use crate::convert::duration;
use crate::error::{Error, Result, check};

/// Most handles of one request.
const MAX_HANDLES: usize = 1024;
/// Requests that are not answered; then the next waits.
const MAX_UNDER_WAY: usize = 8;

/// What is to become of one delivery.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) topic: String,
    pub(crate) handle: String,
    pub(crate) how: How,
    pub(crate) after: Duration,
    /// Told the handle that replaces the one of the request, if there is one. `None`: nobody waits.
    pub(crate) done: Option<oneshot::Sender<Result<String>>>,
    /// It was said before, over a stream that broke.
    pub(crate) again: bool,
}

impl Settlement {
    /// Gives a delivery back that nobody has seen.
    pub(crate) fn release(topic: String, handle: String) -> Self {
        Self {
            topic,
            handle,
            how: How::Release,
            after: Duration::ZERO,
            done: None,
            again: false,
        }
    }

    /// What the broker's status means. A delivery that is given back is nobody's, or another's: to give it back once more is
    /// refused, and it is as it was to be.
    fn outcome(&self, status: Status) -> Result<()> {
        let gives_back = matches!(self.how, How::Nack | How::Release);
        match check(Some(status)) {
            Err(error)
                if self.again && gives_back && error.code() == Some(Code::InvalidReceiptHandle) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }
}

/// Settlements in the order in which they came, across streams: what a broken one did not answer goes out again.
#[derive(Debug, Default)]
pub(crate) struct Settlements {
    waiting: VecDeque<Settlement>,
    under_way: BTreeMap<u64, Vec<Settlement>>,
    last_id: u64,
}

impl Settlements {
    pub(crate) fn add(&mut self, settlement: Settlement) {
        self.waiting.push_back(settlement);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether more can be taken in: what waits has a bound.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_HANDLES
    }

    /// Whether there is a request to send.
    pub(crate) fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.under_way.len() < MAX_UNDER_WAY
    }

    /// The next request: as many as are alike.
    pub(crate) fn next_request(&mut self) -> Option<Settle> {
        let first = self.waiting.front()?;
        let (topic, how, after) = (first.topic.clone(), first.how, first.after);
        let alike =
            |other: &&Settlement| other.topic == topic && other.how == how && other.after == after;
        let count = self
            .waiting
            .iter()
            .take_while(alike)
            .count()
            .min(MAX_HANDLES);
        let taken: Vec<_> = self.waiting.drain(..count).collect();
        self.last_id += 1;
        let handles = taken.iter().map(|taken| taken.handle.clone()).collect();
        self.under_way.insert(self.last_id, taken);
        Some(Settle {
            id: self.last_id,
            topic,
            handles,
            how: how.into(),
            after: Some(duration(after)),
        })
    }

    /// Tells those who wait.
    pub(crate) fn settled(&mut self, answer: Settled) -> Result<()> {
        let unknown = || Error::Protocol(format!("it answers settlement {}", answer.id));
        let asked = self.under_way.remove(&answer.id).ok_or_else(unknown)?;
        // None: all are OK.
        if !answer.statuses.is_empty() && answer.statuses.len() != asked.len() {
            let (got, asked) = (answer.statuses.len(), asked.len());
            let what = format!("it has {got} statuses for {asked} handles");
            return Err(Error::Protocol(what));
        }
        let mut handles = answer.handles.into_iter();
        let mut statuses = answer.statuses.into_iter();
        for settlement in asked {
            let replacement = handles.next().unwrap_or_default();
            let told = statuses
                .next()
                .map_or(Ok(()), |status| settlement.outcome(status));
            if let Some(done) = settlement.done {
                let _ = done.send(told.map(|()| replacement));
            }
        }
        Ok(())
    }

    /// A new stream: what was not answered is said again, before what came later. Nobody is told twice, and the broker takes
    /// an ack or a change of a delivery that it has done already.
    pub(crate) fn rewind(&mut self) {
        for (_, again) in std::mem::take(&mut self.under_way).into_iter().rev() {
            for mut settlement in again.into_iter().rev() {
                settlement.again = true;
                self.waiting.push_front(settlement);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settlement(handle: &str, how: How) -> (Settlement, oneshot::Receiver<Result<String>>) {
        let (done, told) = oneshot::channel();
        let settlement = Settlement {
            topic: "t".into(),
            handle: handle.into(),
            how,
            after: Duration::ZERO,
            done: Some(done),
            again: false,
        };
        (settlement, told)
    }

    fn ok() -> Status {
        Status {
            code: Code::Ok.into(),
            ..Status::default()
        }
    }

    #[test]
    fn those_alike_go_together_and_what_a_broken_stream_did_not_answer_goes_again() {
        let mut settlements = Settlements::default();
        let mut told = Vec::new();
        for (handle, how) in [("a", How::Ack), ("b", How::Ack), ("c", How::Extend)] {
            let (settlement, done) = settlement(handle, how);
            settlements.add(settlement);
            told.push(done);
        }
        let first = settlements.next_request().unwrap();
        assert_eq!(first.handles, ["a", "b"]);
        assert_eq!(settlements.next_request().unwrap().handles, ["c"]);
        assert!(settlements.next_request().is_none());
        settlements.rewind();
        let again = settlements.next_request().unwrap();
        assert_eq!(again.handles, ["a", "b"]);
        let answer = Settled {
            id: again.id,
            statuses: vec![ok(), Status::default()],
            handles: Vec::new(),
        };
        settlements.settled(answer.clone()).unwrap();
        assert!(told[0].try_recv().unwrap().is_ok());
        assert!(told[1].try_recv().unwrap().is_err(), "its own status");
        assert!(settlements.settled(answer).is_err(), "answered once");
        let extended = settlements.next_request().unwrap();
        let answer = Settled {
            id: extended.id,
            statuses: Vec::new(),
            handles: vec!["d".into()],
        };
        settlements.settled(answer).unwrap();
        assert_eq!(told[2].try_recv().unwrap().unwrap(), "d");
        assert!(settlements.is_empty());
    }

    #[test]
    fn what_was_given_back_over_a_broken_stream_is_given_back() {
        let refused = || Status {
            code: Code::InvalidReceiptHandle.into(),
            ..Status::default()
        };
        let answered = |how, breaks| {
            let mut settlements = Settlements::default();
            let (settlement, mut told) = settlement("a", how);
            settlements.add(settlement);
            let mut request = settlements.next_request().unwrap();
            if breaks {
                settlements.rewind();
                request = settlements.next_request().unwrap();
            }
            let answer = Settled {
                id: request.id,
                statuses: vec![refused()],
                handles: Vec::new(),
            };
            settlements.settled(answer).unwrap();
            told.try_recv().unwrap().is_ok()
        };
        for how in [How::Nack, How::Release] {
            assert!(answered(how, true) && !answered(how, false), "{how:?}");
        }
        for how in [How::Ack, How::Extend] {
            assert!(!answered(how, true), "{how:?}");
        }
    }
}
