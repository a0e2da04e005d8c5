//! Receiving for a group, over a stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use foliomq_proto::v1::{GroupSource, open::From};
use foliomq_proto::v2::{FilterExpression, FilterType};
use tokio_stream::Stream;

use crate::client::Connection;
use crate::convert::duration;
use crate::error::Result;
use crate::headers::Headers;
use crate::lease::Lease;
use crate::received::{Received, Taken};
use crate::settlements::Settlement;
use crate::settling::{self, Asking, Returning};
use crate::subscribing::{Subscribing, Wish};

/// How a [`Consumer`] receives.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Which messages; the group is done with the others. Default: all.
    pub filter: Filter,
    /// How long a message is ours until it is settled, 10 s to 12 h. Default 60 s.
    pub invisible: Duration,
    /// Messages that may wait in the consumer, at most. Default 1024.
    pub messages: u32,
    /// Bytes of the bodies of those, at most; one more message may exceed it. Default 8 MiB.
    pub bytes: u64,
    /// Read messages from the broker's own pages where its store's folder can be opened: no copy between log and program.
    /// Where it cannot, or no longer can, they come over the connection. Each is compared with what the broker says of it
    /// (topic, queue and offset), and with its checksum. Default false.
    pub mapped: bool,
}

/// Which messages a group or a reader of queues wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// All.
    #[default]
    All,
    /// Those with one of these tags: `A || B`.
    Tags(String),
    /// Those for which an expression of SQL-92 over their properties is true.
    Sql(String),
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            filter: Filter::All,
            invisible: Duration::from_secs(60),
            messages: 1024,
            bytes: 8 << 20,
            mapped: false,
        }
    }
}

impl Filter {
    pub(crate) fn into_wire(self) -> Option<FilterExpression> {
        let (kind, expression) = match self {
            Self::All => return None,
            Self::Tags(tags) => (FilterType::Tag, tags),
            Self::Sql(expression) => (FilterType::Sql, expression),
        };
        Some(FilterExpression {
            r#type: kind.into(),
            expression,
        })
    }
}

/// Receives messages for a group, as they come: each message goes to one consumer of the group at a time, and those of one
/// message group in order, one after the other, where the group is ordered.
///
/// A stream that breaks is opened again, after a pause that grows and is random in part; what was received stays, and what
/// was lost on the way comes again. Dropping the consumer gives back at once what it has not handed out.
#[derive(Debug)]
pub struct Consumer {
    received: Received,
    asking: Asking,
    returning: Returning,
}

impl Consumer {
    pub(crate) fn new(
        connection: Connection,
        headers: &Headers,
        group: String,
        topics: Vec<String>,
        options: ConsumerOptions,
    ) -> Self {
        let wish = Wish {
            from: From::Group(GroupSource {
                group,
                topics,
                invisible: Some(duration(options.invisible)),
            }),
            filter: options.filter.into_wire(),
            invisible: options.invisible,
            mapped: options.mapped,
        };
        let (asking, returning, settling) = settling::channel();
        let window = (options.messages, options.bytes);
        let received = Subscribing::start(connection, headers, wish, window, settling);
        Self {
            received,
            asking,
            returning,
        }
    }

    /// The next message; waits until there is one, over as many connections as it takes.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) if the broker refuses the subscription, of an unknown topic say; after that
    /// [`Error::Closed`](crate::Error::Closed).
    pub async fn next(&mut self) -> Result<Lease> {
        std::future::poll_fn(|context| self.poll_lease(context)).await
    }

    fn poll_lease(&mut self, context: &mut Context<'_>) -> Poll<Result<Lease>> {
        loop {
            match std::task::ready!(self.received.poll_taken(context)) {
                Ok(taken) if taken.is_held_back() => self.give_back(taken),
                Ok(taken) => return Poll::Ready(Ok(Lease::new(taken, self.asking.clone()))),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Nobody has seen it.
    fn give_back(&self, taken: Taken) {
        let topic = taken.message.topic().to_owned();
        let settlement = Settlement::release(topic, taken.handle);
        // The task is gone only if the broker takes no more of this subscription: then it comes again once its time is over.
        let _ = self.returning.send(settlement);
    }
}

impl Stream for Consumer {
    type Item = Result<Lease>;

    /// Never ends by itself; after a refusal it does.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Lease>>> {
        let lease = std::task::ready!(self.poll_lease(context));
        Poll::Ready(match lease {
            Err(crate::Error::Closed) => None,
            lease => Some(lease),
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for taken in self.received.close() {
            self.give_back(taken);
        }
    }
}
