//! The task behind a publisher: one stream at a time.

use std::time::Duration;

use foliomq_proto::v1::PublishRequest;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::batches::Batches;
use crate::client::{Connection, Native};
use crate::error::{Code, Error, Result};
use crate::headers::Headers;
use crate::publisher::{PublisherOptions, Queued};

/// Frames that wait for the transport.
const OUTGOING: usize = 16;
/// How long a stream may take to open.
const OPEN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Publishing {
    connection: Connection,
    calls: Native,
    linger: Duration,
    batches: Batches,
    backoff: Backoff,
}

type Acks = Streaming<foliomq_proto::v1::PublishResponse>;

impl Publishing {
    pub(crate) fn new(
        connection: Connection,
        headers: &Headers,
        options: PublisherOptions,
    ) -> Self {
        Self {
            calls: connection.native(headers),
            connection,
            linger: options.linger,
            // Never 0, which stands for no id.
            batches: Batches::new(rand::random::<u64>().max(1), options.batch_bytes),
            backoff: Backoff::default(),
        }
    }

    /// Until every publisher is dropped and all is acknowledged or given up.
    pub(crate) async fn run(mut self, mut queued: mpsc::Receiver<Queued>) {
        loop {
            let error = match self.stream(&mut queued).await {
                Ok(()) => return,
                Err(error) => error,
            };
            tracing::debug!(%error, "a publish stream ended; it is opened again");
            let endpoint = self.connection.endpoint();
            if error.code() == Some(Code::BadRequest) {
                self.batches.blame(|| told(endpoint, &error));
            }
            // What waits meanwhile has its time, too.
            while let Ok(next) = queued.try_recv() {
                self.batches.add(next);
            }
            self.batches.seal_all();
            self.batches
                .expire(Instant::now(), || told(endpoint, &error));
            self.backoff.pause().await;
        }
    }

    /// One stream: sends what there is again, then what comes. `Ok` when nothing more can come.
    async fn stream(&mut self, queued: &mut mpsc::Receiver<Queued>) -> Result<()> {
        self.batches.rewind();
        // Nothing to send: no connection is needed yet.
        if self.batches.is_empty() {
            match queued.recv().await {
                Some(first) => self.batches.add(first),
                None => return Ok(()),
            }
        }
        let (frames, outgoing) = mpsc::channel(OUTGOING);
        let opened = timeout(OPEN, self.calls.publish(ReceiverStream::new(outgoing))).await;
        let opened = opened.map_err(|_| self.connection.silent("the stream did not open"))?;
        let acks = opened.map_err(|status| self.connection.error(status))?;
        self.exchange(queued, &frames, acks.into_inner()).await
    }

    async fn exchange(
        &mut self,
        queued: &mut mpsc::Receiver<Queued>,
        frames: &mpsc::Sender<PublishRequest>,
        mut acks: Acks,
    ) -> Result<()> {
        let mut seal_at = Instant::now() + self.linger;
        let mut ended = false;
        loop {
            if ended {
                self.batches.seal_all();
                if self.batches.is_empty() {
                    return Ok(());
                }
            }
            let deadline = self.batches.deadline();
            let unsent = self.batches.unsent().is_some();
            tokio::select! {
                biased;
                response = acks.message() => {
                    let response = response.map_err(|status| self.connection.error(status))?;
                    let response = response.ok_or_else(|| self.connection.silent("the stream ended"))?;
                    for ack in response.acks {
                        self.batches.acknowledge(ack)?;
                    }
                    self.backoff.reset();
                }
                room = frames.reserve(), if unsent => {
                    let room = room.map_err(|_| self.connection.silent("the stream broke"))?;
                    if let Some(request) = self.batches.unsent() {
                        room.send(request.clone());
                        self.batches.note_sent();
                    }
                }
                next = queued.recv(), if !ended => match next {
                    Some(next) => {
                        if !self.batches.has_open() {
                            seal_at = Instant::now() + self.linger;
                        }
                        self.batches.add(next);
                    }
                    None => ended = true,
                },
                () = sleep_until(seal_at), if self.batches.has_open() => self.batches.seal_all(),
                () = sleep_until(deadline.unwrap_or(seal_at)), if deadline.is_some() => {
                    return Err(self.connection.silent("no acknowledgement came in time"));
                }
            }
        }
    }
}

/// What a sender is told whose message was given up when the stream ended so.
fn told(endpoint: &str, error: &Error) -> Error {
    match error {
        Error::Refused { code, text } => Error::Refused {
            code: *code,
            text: text.clone(),
        },
        other => Error::Transport {
            endpoint: endpoint.to_owned(),
            reason: other.to_string(),
        },
    }
}
