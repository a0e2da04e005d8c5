//! The gRPC messages of a request's body, each in one piece.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tonic::Status;

/// Bytes before a gRPC message: compressed or not 1, length 4.
pub(crate) const PREFIX: usize = 5;
/// Room that is made for a message on its own word; the rest as it comes.
const ROOM: usize = 1 << 20;

/// Hands out the messages of a body: a slice of what arrived where a message arrived in one piece, put together otherwise.
#[derive(Debug)]
pub(crate) struct Framed<B> {
    body: B,
    /// What arrived last and is not handed out.
    rest: Bytes,
    /// The beginning of a message, prefix included, of which more is to come.
    begun: BytesMut,
    largest: usize,
}

impl<B> Framed<B>
where
    B: Body<Data = Bytes> + Unpin,
    Status: From<B::Error>,
{
    /// Of messages of at most `largest` bytes.
    pub(crate) fn new(body: B, largest: usize) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            begun: BytesMut::new(),
            largest,
        }
    }

    /// The next message; `None`: the body is over. Nothing is lost if it is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The only message of a body.
    pub(crate) async fn only(mut self) -> Result<Bytes, Status> {
        let Some(message) = self.next().await else {
            return Err(Status::invalid_argument("the request holds no message"));
        };
        let message = message?;
        match self.next().await {
            None => Ok(message),
            Some(Ok(_)) => {
                let what = "the request is not one whole message";
                Err(Status::invalid_argument(what))
            }
            Some(Err(error)) => Err(error),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if let Some(message) = self.take().transpose() {
                return Poll::Ready(Some(message));
            }
            let frame = match self.body.is_end_stream() {
                true => None,
                false => ready!(Pin::new(&mut self.body).poll_frame(context)),
            };
            match frame {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None if self.begun.is_empty() => return Poll::Ready(None),
                None => {
                    self.begun.clear();
                    let what = "the request ends within a message";
                    return Poll::Ready(Some(Err(Status::invalid_argument(what))));
                }
            }
        }
    }

    /// A message that is whole.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.begun.is_empty() {
            let whole = match self.rest.first_chunk() {
                Some(prefix) => self.length(prefix)?,
                None => usize::MAX,
            };
            if whole <= self.rest.len() {
                return Ok(Some(self.rest.split_to(whole).split_off(PREFIX)));
            }
        }
        self.gather(PREFIX);
        let Some(prefix) = self.begun.first_chunk() else {
            return Ok(None);
        };
        let whole = self.length(prefix)?;
        self.gather(whole);
        if self.begun.len() < whole {
            return Ok(None);
        }
        // Whole: what is split off a buffer keeps all of it for as long as the rest is there, however long a stream is idle.
        let message = std::mem::take(&mut self.begun).freeze();
        Ok(Some(message.slice(PREFIX..)))
    }

    /// Bytes of the message with this prefix, which is counted.
    fn length(&self, prefix: &[u8; PREFIX]) -> Result<usize, Status> {
        let [compressed, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        match compressed {
            0 if length <= self.largest => Ok(PREFIX + length),
            0 => Err(Status::out_of_range(format!(
                "a message of {length} bytes is larger than the limit of {}",
                self.largest
            ))),
            _ => Err(Status::unimplemented(
                "compressed requests are not supported",
            )),
        }
    }

    /// Moves what came to what has begun, up to `wanted` bytes of that.
    fn gather(&mut self, wanted: usize) {
        let missing = wanted.saturating_sub(self.begun.len());
        if self.begun.capacity() < wanted {
            self.begun.reserve(missing.min(ROOM));
        }
        let more = self.rest.len().min(missing);
        self.begun.extend_from_slice(&self.rest[..more]);
        self.rest.advance(more);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::BufMut;
    use http_body::Frame;
    use proptest::prelude::*;

    use super::*;

    /// A body that arrives in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn framed(messages: &[Vec<u8>]) -> Bytes {
        let mut bytes = BytesMut::new();
        for message in messages {
            bytes.put_u8(0);
            bytes.put_u32(message.len() as u32);
            bytes.put_slice(message);
        }
        bytes.freeze()
    }

    fn read(pieces: Vec<Bytes>, largest: usize) -> (Vec<Bytes>, Option<tonic::Code>) {
        let mut framed = Framed::new(Pieces(pieces.into()), largest);
        let mut messages = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        loop {
            match framed.poll_next(&mut context) {
                Poll::Ready(Some(Ok(message))) => messages.push(message),
                Poll::Ready(Some(Err(status))) => return (messages, Some(status.code())),
                Poll::Ready(None) => return (messages, None),
                Poll::Pending => unreachable!("the pieces are there"),
            }
        }
    }

    proptest! {
        #[test]
        fn messages_come_whole_however_they_arrive(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            sizes in prop::collection::vec(0..30usize, 0..60),
            cut in 0..20usize,
        ) {
            let mut bytes = framed(&messages);
            let last_begins = bytes.len() - messages.last().map_or(0, |last| last.len() + PREFIX);
            bytes.truncate(bytes.len().saturating_sub(cut));
            let len = bytes.len();
            let mut pieces = Vec::new();
            for size in sizes {
                pieces.push(bytes.split_to(size.min(bytes.len())));
            }
            pieces.push(bytes);
            let (found, error) = read(pieces, 64);
            if cut == 0 {
                prop_assert_eq!((&found, error), (&messages.iter().cloned().map(Bytes::from).collect(), None));
            } else if len > last_begins {
                prop_assert_eq!(&found[..], &messages[..messages.len() - 1]);
                prop_assert_eq!(error, Some(tonic::Code::InvalidArgument));
            }
        }
    }

    #[test]
    fn a_message_that_arrives_in_one_piece_is_not_copied() {
        let bytes = framed(&[b"one".to_vec(), b"two".to_vec()]);
        let (found, error) = read(vec![bytes.clone()], 3);
        assert_eq!((found.len(), error), (2, None));
        assert_eq!(found[1].as_ptr(), bytes[13..].as_ptr());
    }

    #[test]
    fn what_is_too_large_or_compressed_is_refused() {
        let large = framed(&[vec![1; 10]]);
        let code = |bytes| read(vec![bytes], 9).1;
        assert_eq!(code(large.slice(..5)), Some(tonic::Code::OutOfRange));
        assert_eq!(code(large), Some(tonic::Code::OutOfRange));
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 0]);
        assert_eq!(code(compressed), Some(tonic::Code::Unimplemented));
    }
}
