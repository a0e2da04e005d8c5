//! One delivery of one message, until it is settled.

use std::sync::Arc;
use std::time::Duration;

use foliomq_proto::v1::Settlement as How;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::{Code, Error, Result};
use crate::received::{Taken, Undone};
use crate::settlements::Settlement;
use crate::settling::Asking;
use crate::view::MessageView;

/// The broker's own bound.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// A message that this consumer holds for its invisible time: [`ack`](Self::ack) it, or it comes again to somebody of the
/// group. May be settled from any task, also after its consumer is dropped; dropped unsettled, it comes again once its time
/// is over.
#[derive(Debug)]
pub struct Lease {
    message: MessageView,
    attempt: u32,
    handle: String,
    until: Instant,
    asking: Asking,
    /// Of its message group; `None` once the message is done.
    undone: Option<Arc<Undone>>,
}

impl Lease {
    pub(crate) fn new(taken: Taken, asking: Asking) -> Self {
        Self {
            message: taken.message,
            attempt: taken.attempt,
            handle: taken.handle,
            until: taken.until,
            asking,
            undone: taken.undone,
        }
    }

    /// What was sent.
    pub fn message(&self) -> &MessageView {
        &self.message
    }

    /// 1 for the first delivery.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long it is still ours.
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Ends the delivery: the group is done with the message. Waits for the broker's word, over as many connections as it
    /// takes; acknowledgements of several leases at once leave together.
    ///
    /// # Errors
    /// [`Code::InvalidReceiptHandle`] once its time is over: the message comes again. [`Error::Transport`] if the broker
    /// could not be reached until then.
    pub async fn ack(mut self) -> Result<()> {
        self.settle(How::Ack, Duration::ZERO).await?;
        self.undone = None;
        Ok(())
    }

    /// Gives the message back: it comes again after so long (at most 12 h), with its attempt counted.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); [`Code::IllegalInvisibleTime`] for a longer time.
    pub async fn nack(self, after: Duration) -> Result<()> {
        self.hold_back_group();
        self.settle(How::Nack, after).await.map(drop)
    }

    /// Gives the message back as if it had not been delivered: it comes again at once, and the attempt does not count.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn release(self) -> Result<()> {
        self.hold_back_group();
        self.settle(How::Release, Duration::ZERO).await.map(drop)
    }

    /// The message stays ours for so long from now, at most 12 h. If the returned future is dropped, the lease is extended or it
    /// is not, and may be settled all the same.
    ///
    /// # Errors
    /// As [`nack`](Self::nack).
    pub async fn extend(&mut self, invisible: Duration) -> Result<()> {
        let begin = Instant::now();
        self.handle = self.settle(How::Extend, invisible).await?;
        self.until = begin + invisible;
        Ok(())
    }

    /// The later ones of its message group are not to overtake it.
    fn hold_back_group(&self) {
        if let (Some(undone), Some(group)) = (&self.undone, self.message.message_group()) {
            undone.add(group);
        }
    }

    async fn settle(&self, how: How, after: Duration) -> Result<String> {
        if after > LONGEST {
            let what = "a message comes again, or is held, for at most 12 h";
            return Err(Error::refused(Code::IllegalInvisibleTime, what));
        }
        let (done, told) = oneshot::channel();
        let settlement = Settlement {
            topic: self.message.topic().to_owned(),
            handle: self.handle.clone(),
            how,
            after,
            done: Some(done),
            again: false,
        };
        let told = async {
            let sent = self.asking.send(settlement).await;
            sent.map_err(|_| Error::Closed)?;
            told.await.unwrap_or(Err(Error::Closed))
        };
        let over = || Error::refused(Code::InvalidReceiptHandle, "its invisible time is over");
        timeout_at(self.until, told).await.map_err(|_| over())?
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.hold_back_group();
    }
}
