//! The body of every response: tonic's, one message, or the frames of a receive, a pull or a subscription.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tokio_stream::Stream as _;

use crate::delivered::Outgoing;
use crate::encode::Frames;
use crate::pulled::Pulled;
use crate::responses::Responses;
use crate::rope::Rope;

/// A response's body, whose data is a [`Rope`].
#[derive(Debug)]
pub(crate) enum Body {
    /// Encoded by tonic.
    Tonic(tonic::body::Body),
    /// One message, encoded with its prefix.
    Unary(Bytes),
    /// Nothing but the status of a success.
    Trailers,
    /// Received messages, from the mapped pages.
    Receive(Frames),
    /// Pulled messages, in the same way.
    Pull(Pulled),
    /// A subscription.
    Subscribe(Responses),
    /// Nothing more.
    End,
}

impl Body {
    /// Its reader takes nothing: it lets go of the log's pages. What a receive has not encoded yet goes to others, and what a
    /// pull has not is pulled again.
    pub(crate) fn unpin(&mut self) {
        match self {
            Self::Receive(frames) => frames.give_back(),
            Self::Pull(pulled) => pulled.cut(),
            Self::Subscribe(responses) => responses.unpin(),
            Self::Tonic(_) | Self::Unary(_) | Self::Trailers | Self::End => {}
        }
    }

    /// These bytes, or the end.
    fn frame(&mut self, rope: Option<Rope>) -> Poll<Option<Result<Frame<Rope>, tonic::Status>>> {
        if rope.is_none() {
            *self = Self::End;
        }
        Poll::Ready(Some(Ok(rope.map_or_else(trailers, Frame::data))))
    }
}

impl http_body::Body for Body {
    type Data = Rope;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Rope>, tonic::Status>>> {
        match &mut *self {
            Self::Tonic(body) => Pin::new(body)
                .poll_frame(context)
                .map_ok(|frame| frame.map_data(Rope::from)),
            Self::Unary(message) => {
                let message = std::mem::take(message);
                *self = Self::Trailers;
                Poll::Ready(Some(Ok(Frame::data(Rope::from(message)))))
            }
            Self::Trailers => self.frame(None),
            Self::Receive(frames) => {
                let rope = frames.next();
                self.frame(rope)
            }
            Self::Pull(pulled) => {
                let rope = pulled.next();
                self.frame(rope)
            }
            Self::Subscribe(responses) => {
                let response = std::task::ready!(Pin::new(responses).poll_next(context));
                self.frame(response.map(Outgoing::into_rope))
            }
            Self::End => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Tonic(body) => body.is_end_stream(),
            Self::End => true,
            _ => false,
        }
    }
}

fn trailers() -> Frame<Rope> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Frame::trailers(trailers)
}
