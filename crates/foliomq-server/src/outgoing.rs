//! An answer on its way to a reader that may stop reading.
//!
//! HTTP/2 tells how much a reader is ready for, and no more than that is handed on: what else there is stays here, where it
//! can be let go of. A reader that takes nothing for [`Patience::pin`] is left copies, so that the log's pages go; after
//! [`Patience::unread`] its stream is reset, and what it did not get goes back to its group. Other streams of the same
//! connection notice nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use h2::{Reason, SendStream};
use http_body::Body as _;
use tokio::time::{Instant, timeout_at};

use crate::body::Body;
use crate::rope::Rope;
use crate::wire::Wire;

/// Most bytes that are asked for at once: streams of one connection share its window.
const STEP: usize = 64 << 10;

/// How long a reader may take nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until what is kept for it is copied.
    pub(crate) pin: Duration,
    /// Until its stream is reset.
    pub(crate) unread: Duration,
}

/// Why an answer did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the reader took nothing for {0:?}; its stream is reset")]
    Unread(Duration),
    #[error("the stream ended: {0}")]
    Ended(#[from] h2::Error),
    #[error("the reader reset the stream: {0}")]
    Reset(Reason),
    #[error("the stream is gone")]
    Gone,
    #[error("the answer failed: {0}")]
    Failed(tonic::Status),
}

/// One answer, and the stream that takes it.
pub(crate) struct Outgoing {
    stream: SendStream<Rope>,
    body: Body,
    patience: Patience,
    wire: Arc<Wire>,
}

impl Outgoing {
    pub(crate) fn new(
        stream: SendStream<Rope>,
        body: Body,
        patience: Patience,
        wire: Arc<Wire>,
    ) -> Self {
        Self {
            stream,
            body,
            patience,
            wire,
        }
    }

    /// Sends all of it. However it ends, nothing of it is kept.
    pub(crate) async fn send(mut self) -> Result<(), Cut> {
        let sent = self.send_frames().await;
        match &sent {
            // Explicitly: a stream that is only dropped waits for its reader with what it holds.
            Err(Cut::Unread(_)) => self.stream.send_reset(Reason::CANCEL),
            Err(Cut::Failed(_)) => self.stream.send_reset(Reason::INTERNAL_ERROR),
            _ => {}
        }
        sent
    }

    async fn send_frames(&mut self) -> Result<(), Cut> {
        loop {
            let next = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let reset = poll_fn(|context| self.stream.poll_reset(context));
            let frame = tokio::select! {
                biased;
                frame = next => frame,
                reset = pin!(reset) => return Err(Cut::Reset(reset?)),
            };
            let Some(frame) = frame else {
                return Ok(self.stream.send_data(Rope::default(), true)?);
            };
            match frame.map_err(Cut::Failed)?.into_data() {
                Ok(rope) => self.send_rope(rope.counted(&self.wire)).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Ok(self.stream.send_trailers(trailers)?);
                    }
                }
            }
        }
    }

    async fn send_rope(&mut self, mut rope: Rope) -> Result<(), Cut> {
        while rope.has_remaining() {
            self.stream.reserve_capacity(rope.remaining().min(STEP));
            let capacity = match self.stream.capacity() {
                0 => self.capacity(&mut rope).await?,
                capacity => capacity,
            };
            self.stream.send_data(rope.split_to(capacity), false)?;
        }
        Ok(())
    }

    /// Waits until the reader is ready for more.
    async fn capacity(&mut self, rope: &mut Rope) -> Result<usize, Cut> {
        let begin = Instant::now();
        let mut ages = [self.patience.pin, self.patience.unread];
        ages.sort_unstable();
        for age in ages {
            let capacity = timeout_at(begin + age, free(&mut self.stream)).await;
            match capacity {
                Ok(capacity) => return capacity,
                Err(_) if age == self.patience.unread => break,
                Err(_) => {
                    rope.unpin();
                    self.body.unpin();
                }
            }
        }
        Err(Cut::Unread(self.patience.unread))
    }
}

/// How many bytes the stream takes now: at least one.
async fn free(stream: &mut SendStream<Rope>) -> Result<usize, Cut> {
    loop {
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(Ok(0)) => {}
            Some(capacity) => return Ok(capacity?),
            None => return Err(Cut::Gone),
        }
    }
}
