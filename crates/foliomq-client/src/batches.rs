//! What a publisher has not been acknowledged: open batches, and sealed ones in the order of their numbers.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::vec::IntoIter;

use foliomq_proto::v1::{DelayedMessage, PublishAck, PublishRequest, RefusedMessage, Run};
use foliomq_proto::v2::Code;
use tokio::time::Instant;

use crate::error::{Error, Result, check};
use crate::publisher::{Done, Published, Queued};

/// Most messages of a batch.
const MAX_MESSAGES: usize = 4096;

/// Most bytes that the broker reads as one frame.
const MAX_FRAME: usize = 64 << 20;
/// Bytes of a frame beside its topic and its messages, at most: three numbers and the lengths of two fields.
const FRAME_HEAD: usize = 64;

/// Whether a message of so many bytes fits a frame of its own.
pub(crate) fn fits(topic: &str, encoded: usize) -> bool {
    FRAME_HEAD + topic.len() + encoded <= MAX_FRAME
}

/// A batch that has its numbers.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) request: PublishRequest,
    bytes: usize,
    /// Of its messages in the frame.
    encoded: usize,
    pub(crate) deadline: Instant,
    done: Vec<Done>,
}

/// Batches of one producer.
#[derive(Debug)]
pub(crate) struct Batches {
    producer_id: u64,
    next: u64,
    batch_bytes: usize,
    /// At most one for each topic and queue.
    open: Vec<Batch>,
    /// Sent, or about to be.
    sealed: VecDeque<Batch>,
    /// So many of `sealed` are on the present stream.
    sent: usize,
    /// The broker ended a stream for good because of one of the first so many: they go one by one, until it is known which.
    suspects: usize,
}

impl Batches {
    pub(crate) fn new(producer_id: u64, batch_bytes: usize) -> Self {
        Self {
            producer_id,
            next: 1,
            batch_bytes,
            open: Vec::new(),
            sealed: VecDeque::new(),
            sent: 0,
            suspects: 0,
        }
    }

    /// Adds a message to the batch of its topic and queue; seals that when it is full.
    pub(crate) fn add(&mut self, queued: Queued) {
        let Queued {
            topic,
            queue_id,
            message,
            bytes,
            encoded,
            deadline,
            done,
        } = queued;
        let index = self.place_for(&topic, queue_id, encoded);
        let index = index.unwrap_or_else(|| {
            self.open.push(Batch {
                request: PublishRequest {
                    producer_id: self.producer_id,
                    topic,
                    queue_id,
                    ..PublishRequest::default()
                },
                bytes: 0,
                encoded: 0,
                deadline,
                done: Vec::new(),
            });
            self.open.len() - 1
        });
        let batch = &mut self.open[index];
        batch.request.messages.push(message);
        batch.done.push(done);
        batch.bytes += bytes;
        batch.encoded += encoded;
        if batch.bytes >= self.batch_bytes || batch.done.len() >= MAX_MESSAGES {
            let batch = self.open.remove(index);
            self.seal(batch);
        }
    }

    /// The open batch of this topic and queue, if so many more bytes fit its frame; otherwise it is sealed.
    fn place_for(&mut self, topic: &str, queue_id: Option<u32>, encoded: usize) -> Option<usize> {
        let same =
            |batch: &Batch| batch.request.topic == topic && batch.request.queue_id == queue_id;
        let index = self.open.iter().position(same)?;
        if fits(topic, self.open[index].encoded + encoded) {
            return Some(index);
        }
        let batch = self.open.remove(index);
        self.seal(batch);
        None
    }

    fn seal(&mut self, mut batch: Batch) {
        batch.request.sequence = self.next;
        self.next += batch.done.len() as u64;
        self.sealed.push_back(batch);
    }

    /// Seals every open batch: its time is over.
    pub(crate) fn seal_all(&mut self) {
        for batch in std::mem::take(&mut self.open) {
            self.seal(batch);
        }
    }

    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    /// A new stream: all is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// What is to be sent next.
    pub(crate) fn unsent(&self) -> Option<&PublishRequest> {
        if self.suspects > 0 && self.sent > 0 {
            return None;
        }
        self.sealed.get(self.sent).map(|batch| &batch.request)
    }

    pub(crate) fn note_sent(&mut self) {
        self.sent += 1;
    }

    /// When the oldest is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sealed.front().map(|batch| batch.deadline)
    }

    /// Gives up those whose time is over, from the oldest on.
    pub(crate) fn expire(&mut self, now: Instant, mut error: impl FnMut() -> Error) {
        while self.deadline().is_some_and(|deadline| deadline <= now)
            && let Some(batch) = self.take_oldest()
        {
            batch.give_up(&mut error);
        }
    }

    /// The broker ended the stream because of a frame that it will never take. If only one was sent, that is given up.
    pub(crate) fn blame(&mut self, error: impl FnMut() -> Error) {
        self.suspects = self.sent;
        if self.sent == 1
            && let Some(batch) = self.take_oldest()
        {
            batch.give_up(error);
        }
    }

    fn take_oldest(&mut self) -> Option<Batch> {
        let batch = self.sealed.pop_front()?;
        self.sent = self.sent.saturating_sub(1);
        self.suspects = self.suspects.saturating_sub(1);
        Some(batch)
    }

    /// Takes in the answer to the oldest batch; an error ends the stream.
    pub(crate) fn acknowledge(&mut self, ack: PublishAck) -> Result<()> {
        let matches = |batch: &Batch| {
            batch.request.sequence == ack.sequence && batch.done.len() == ack.count as usize
        };
        if self.sent == 0 || !self.sealed.front().is_some_and(matches) {
            return Err(Error::Protocol(format!("it acknowledges {}", ack.sequence)));
        }
        let refusal = match check(ack.status.clone()) {
            Err(error) if may_pass(&error) => return Err(error),
            checked => checked.err(),
        };
        if let Some(batch) = self.take_oldest() {
            settle(self.producer_id, batch, ack, refusal);
        }
        Ok(())
    }
}

impl Batch {
    /// Tells each sender.
    fn give_up(self, mut error: impl FnMut() -> Error) {
        self.done
            .into_iter()
            .for_each(|done| done.tell(Err(error())));
    }
}

/// Whether the same messages may be taken later.
fn may_pass(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(Code::TooManyRequests | Code::InternalServerError)
    )
}

/// Tells each sender of a batch.
fn settle(producer: u64, batch: Batch, ack: PublishAck, refusal: Option<Error>) {
    if let Some(Error::Refused { code, text }) = refusal {
        let refused = || Error::Refused {
            code,
            text: text.clone(),
        };
        return batch.give_up(refused);
    }
    let mut answers = Answers::new(producer, batch.request.sequence, ack);
    for (index, done) in batch.done.into_iter().enumerate() {
        done.tell(answers.next(index as u64));
    }
}

/// What an acknowledgement says of one message after the other.
struct Answers {
    producer: u64,
    sequence: u64,
    runs: VecDeque<Run>,
    delayed: Peekable<IntoIter<DelayedMessage>>,
    refused: Peekable<IntoIter<RefusedMessage>>,
}

impl Answers {
    fn new(producer: u64, sequence: u64, ack: PublishAck) -> Self {
        Self {
            producer,
            sequence,
            runs: ack.runs.into(),
            delayed: ack.delayed.into_iter().peekable(),
            refused: ack.refused.into_iter().peekable(),
        }
    }

    /// Of the message with this index, which is one more than the last.
    fn next(&mut self, index: u64) -> Result<Published> {
        let (producer, number) = (self.producer, self.sequence + index);
        let is_refused = |refused: &RefusedMessage| u64::from(refused.index) == index;
        if let Some(refused) = self.refused.next_if(is_refused) {
            check(refused.status)?;
            return Err(missing("a refusal without a reason"));
        }
        let published = Published {
            message_id: format!("02{producer:016X}{number:016X}"),
            queue_id: 0,
            queue_offset: 0,
            recall_handle: None,
            duplicate: false,
        };
        let is_delayed = |delayed: &DelayedMessage| u64::from(delayed.index) == index;
        if let Some(delayed) = self.delayed.next_if(is_delayed) {
            return Ok(Published {
                recall_handle: Some(delayed.recall_handle),
                duplicate: delayed.duplicate,
                ..published
            });
        }
        let (queue_id, queue_offset, duplicate) = self.place()?;
        Ok(Published {
            queue_id,
            queue_offset,
            duplicate,
            ..published
        })
    }

    /// Where the next message is that is in a queue.
    fn place(&mut self) -> Result<(u32, u64, bool)> {
        while self.runs.front().is_some_and(|run| run.count == 0) {
            self.runs.pop_front();
        }
        let run = self.runs.front_mut();
        let run = run.ok_or_else(|| missing("no place for a message"))?;
        let place = (run.queue_id, run.queue_offset, run.duplicate);
        run.count -= 1;
        run.queue_offset += 1;
        Ok(place)
    }
}

fn missing(what: &str) -> Error {
    Error::Protocol(what.to_owned())
}
