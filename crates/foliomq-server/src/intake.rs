//! How many bytes of requests are in memory at once.
//!
//! Each request is bounded, and so are the requests of a connection and the connections; all of them together would
//! still be more than a machine has. A request that does not fit is refused, and not kept waiting: requests that
//! arrived in part would wait for each other.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// The bytes that all requests together may take.
#[derive(Debug, Clone)]
pub(crate) struct Intake(Arc<AtomicUsize>);

impl Intake {
    /// Of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// The share of one request, empty as yet.
    pub(crate) fn share(&self) -> Arc<Share> {
        Arc::new(Share {
            intake: self.clone(),
            bytes: AtomicUsize::new(0),
        })
    }
}

/// What one request holds; given back when the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    intake: Intake,
    bytes: AtomicUsize,
}

impl Share {
    fn grow(&self, bytes: usize) -> Result<(), Status> {
        let free = &self.intake.0;
        let taken = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            free.checked_sub(bytes)
        });
        if taken.is_err() {
            return Err(Status::resource_exhausted(
                "the broker holds as many bytes of requests as max-request-bytes allows; try again later",
            ));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Share {
    /// What has come so far is done with: for a stream, whose messages go one by one.
    pub(crate) fn release(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.intake.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.intake
            .0
            .fetch_add(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// A request's body, whose bytes are counted as they arrive.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    body: B,
    share: Arc<Share>,
}

impl<B> Counted<B> {
    pub(crate) fn new(body: B, share: Arc<Share>) -> Self {
        Self { body, share }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let counted = |frame: Frame<Bytes>| {
            let bytes = frame.data_ref().map_or(0, Buf::remaining);
            self.share.grow(bytes).map(|()| frame)
        };
        let frame = frame.map(|frame| {
            frame
                .map_err(|error| Status::from_error(Box::new(error)))
                .and_then(counted)
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_until_another_request_is_over() {
        let intake = Intake::new(1000);
        let read = async |bytes: usize| {
            let share = intake.share();
            let body = Counted::new(Full::new(Bytes::from(vec![0; bytes])), share.clone());
            let read = body.collect().await.map(|body| body.to_bytes().len());
            (read.map_err(|status| status.code()), share)
        };
        let (first, held) = read(600).await;
        assert_eq!(first, Ok(600));
        assert_eq!(read(401).await.0, Err(tonic::Code::ResourceExhausted));
        assert_eq!(read(400).await.0, Ok(400));
        drop(held);
        assert_eq!(read(1000).await.0, Ok(1000));
    }
}
