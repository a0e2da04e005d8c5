//! Reading queues from an offset on, without a group.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use foliomq_proto::v1::{QueueSource, QueueStart, open::From};
use tokio_stream::Stream;

use crate::client::Connection;
use crate::consumer::Filter;
use crate::error::Result;
use crate::headers::Headers;
use crate::received::Received;
use crate::settling;
use crate::subscribing::{Subscribing, Wish};
use crate::view::MessageView;

/// Nothing takes back what is read without a group.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// A queue, and the offset of the first message wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlace {
    /// The topic.
    pub topic: String,
    /// Its queue, counted from 0.
    pub queue_id: u32,
    /// Messages that retention has dropped are passed over.
    pub queue_offset: u64,
}

/// How a [`QueueReader`] reads.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Messages that may wait in the reader, at most. Default 4096.
    pub messages: u32,
    /// Bytes of the bodies of those, at most; one more message may exceed it. Default 8 MiB.
    pub bytes: u64,
    /// Which messages are wanted; the others are passed over in the broker. Default: all.
    pub filter: Filter,
    /// As in [`ConsumerOptions`](crate::ConsumerOptions::mapped). Default false.
    pub mapped: bool,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            messages: 4096,
            bytes: 8 << 20,
            filter: Filter::All,
            mapped: false,
        }
    }
}

/// Reads the messages of queues, those of each in order, and waits for more. A stream that breaks is opened again, and goes on
/// where it was: nothing comes twice, and nothing is left out.
#[derive(Debug)]
pub struct QueueReader {
    received: Received,
}

impl QueueReader {
    pub(crate) fn new(
        connection: Connection,
        headers: &Headers,
        places: Vec<QueuePlace>,
        options: ReaderOptions,
    ) -> Self {
        let start = |place: QueuePlace| QueueStart {
            topic: place.topic,
            queue_id: place.queue_id,
            queue_offset: place.queue_offset,
        };
        let wish = Wish {
            from: From::Queues(QueueSource {
                queues: places.into_iter().map(start).collect(),
            }),
            filter: options.filter.into_wire(),
            invisible: FOREVER,
            mapped: options.mapped,
        };
        // There is nothing to settle.
        let (_, _, settling) = settling::channel();
        let window = (options.messages, options.bytes);
        Self {
            received: Subscribing::start(connection, headers, wish, window, settling),
        }
    }

    /// The next message; waits until there is one, over as many connections as it takes.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) if the broker refuses, for an unknown topic or queue, or a filter that is none; after that
    /// [`Error::Closed`](crate::Error::Closed).
    pub async fn next(&mut self) -> Result<MessageView> {
        std::future::poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<MessageView>> {
        let taken = std::task::ready!(self.received.poll_taken(context));
        Poll::Ready(taken.map(|taken| taken.message))
    }
}

impl Stream for QueueReader {
    type Item = Result<MessageView>;

    /// Never ends by itself; after a refusal it does.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<MessageView>>> {
        let message = std::task::ready!(self.poll_message(context));
        Poll::Ready(match message {
            Err(crate::Error::Closed) => None,
            message => Some(message),
        })
    }
}
