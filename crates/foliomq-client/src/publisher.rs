//! Sending over one stream: batches, back-pressure, and a retry that never stores twice.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future::Future, pin::Pin};

use foliomq_proto::v1::NewMessage;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::batches;
use crate::client::Connection;
use crate::error::{Error, Result};
use crate::headers::Headers;
use crate::message::Message;
use crate::publishing::Publishing;

/// Messages that wait to be put into a batch.
const QUEUE: usize = 1024;
/// What a message takes beside its body, about.
const OVERHEAD: usize = 128;

/// What a message takes in a frame beside itself, at most: key and length.
const FIELD: usize = 6;

/// How a [`Publisher`] sends.
#[derive(Debug, Clone)]
pub struct PublisherOptions {
    /// A batch leaves once its bodies have so many bytes. Default 64 KiB.
    pub batch_bytes: usize,
    /// A batch leaves after this long, however small it is. Default 0: with whatever is there when the stream is free.
    pub linger: Duration,
    /// Bytes of messages that are not acknowledged, at most; then [`Publisher::send`] waits. Default 32 MiB.
    pub in_flight_bytes: usize,
    /// A message is tried for so long, over as many connections as it takes. Default 60 s.
    pub retry_for: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            batch_bytes: 64 << 10,
            linger: Duration::ZERO,
            in_flight_bytes: 32 << 20,
            retry_for: Duration::from_secs(60),
        }
    }
}

/// Sends messages over one stream. Cheap to clone; clones share the stream, and what one of them sends to a topic is
/// stored in the order in which it was sent, queue by queue.
///
/// A stream that breaks is opened again, after a pause that grows and is random in part, and what was not acknowledged is
/// sent again. The broker stores none of it twice, even if it was restarted meanwhile.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    most: usize,
    retry_for: Duration,
}

/// A message on its way to a batch.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) topic: String,
    pub(crate) queue_id: Option<u32>,
    pub(crate) message: NewMessage,
    /// What it counts in a batch, and in what is on its way.
    pub(crate) bytes: usize,
    /// What it takes in a frame.
    pub(crate) encoded: usize,
    pub(crate) deadline: Instant,
    pub(crate) done: Done,
}

/// Whom to tell, and the room that is given back then.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) sender: oneshot::Sender<Result<Published>>,
    _room: OwnedSemaphorePermit,
}

/// The broker's word that it has a message, as durably as its flush mode says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The id under which it can be found.
    pub message_id: String,
    /// The queue that holds it; of a lite topic its only one. 0 for a delayed message, which is in none yet.
    pub queue_id: u32,
    /// Its place there.
    pub queue_offset: u64,
    /// Of a delayed message: [recalls](crate::Producer::recall) it.
    pub recall_handle: Option<String>,
    /// It was stored by an earlier try, whose acknowledgement was lost.
    pub duplicate: bool,
}

/// The answer to come for one message. Dropping it takes nothing back.
#[derive(Debug)]
pub struct Acknowledgement(oneshot::Receiver<Result<Published>>);

impl Future for Acknowledgement {
    type Output = Result<Published>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl Publisher {
    pub(crate) fn new(
        connection: Connection,
        headers: &Headers,
        options: PublisherOptions,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let most = options.in_flight_bytes.clamp(1, u32::MAX as usize >> 4);
        let publisher = Self {
            queue,
            room: Arc::new(Semaphore::new(most)),
            most,
            retry_for: options.retry_for,
        };
        tokio::spawn(Publishing::new(connection, headers, options).run(queued));
        publisher
    }

    /// Sends a message and waits until the broker has it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason; [`Error::Transport`] if no answer came within
    /// [`retry_for`](PublisherOptions::retry_for): it may or may not have been stored. So it is if the broker had no room for
    /// all that time, which is refused with [`Code::TooManyRequests`](crate::Code::TooManyRequests).
    pub async fn publish(&self, message: Message) -> Result<Published> {
        self.send(message).await?.await
    }

    /// Puts a message on its way, once there is room, and returns what resolves when the broker has it.
    ///
    /// # Errors
    /// [`Error::Refused`] for a message that names its own id: ids are what tells a second try from another message; and for
    /// one that is larger than any frame, 64 MiB.
    pub async fn send(&self, message: Message) -> Result<Acknowledgement> {
        self.send_to(message, None).await
    }

    /// The same, to one queue of the topic; otherwise the broker takes them in turn, batch by batch, and a message group, a
    /// priority and a lite topic have their own.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_to(
        &self,
        message: Message,
        queue_id: Option<u32>,
    ) -> Result<Acknowledgement> {
        if message.id.is_some() {
            let text = "a published message gets its id from the publisher";
            return Err(Error::refused(crate::Code::IllegalMessageId, text));
        }
        let bytes = message.body.len() + OVERHEAD;
        let topic = message.topic.clone();
        let message = message.into_new();
        let encoded = message.encoded_len() + FIELD;
        if !batches::fits(&topic, encoded) {
            let text = format!("a message of {encoded} bytes is more than a stream carries");
            return Err(Error::refused(crate::Code::MessageBodyTooLarge, text));
        }
        let room = bytes.min(self.most) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(room).await;
        let (sender, answer) = oneshot::channel();
        let queued = Queued {
            topic,
            queue_id,
            message,
            bytes,
            encoded,
            deadline: Instant::now() + self.retry_for,
            done: Done {
                sender,
                _room: room.map_err(|_| Error::Closed)?,
            },
        };
        self.queue.send(queued).await.map_err(|_| Error::Closed)?;
        Ok(Acknowledgement(answer))
    }
}

impl Done {
    /// Tells the sender, who may have stopped waiting.
    pub(crate) fn tell(self, answer: Result<Published>) {
        let _ = self.sender.send(answer);
    }
}
