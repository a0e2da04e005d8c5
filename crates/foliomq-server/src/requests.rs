//! The requests of a stream, one after the other. Between two of them nothing is kept of what they took, and while one
//! arrives it counts against what all requests may take.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use prost::Message;
use tonic::Status;

use crate::framed::Framed;
use crate::incoming::Incoming;
use crate::intake::{Counted, Intake, Share};

/// Those of type `T` in a body.
#[derive(Debug)]
pub(crate) struct Requests<T, B = Incoming> {
    frames: Framed<Counted<B>>,
    share: Arc<Share>,
    kind: PhantomData<fn() -> T>,
}

impl<T, B> Requests<T, B>
where
    T: Message + Default,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    /// Of at most `largest` bytes each.
    pub(crate) fn new(body: B, intake: &Intake, largest: usize) -> Self {
        let share = intake.share();
        Self {
            frames: Framed::new(Counted::new(body, share.clone()), largest),
            share,
            kind: PhantomData,
        }
    }

    /// The next one; `None`: the stream is over. Nothing is lost if it is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Option<Result<T, Status>> {
        let bytes = self.frames.next().await?;
        let malformed = |error| Status::invalid_argument(format!("malformed request: {error}"));
        let request = bytes.and_then(|bytes| T::decode(bytes).map_err(malformed));
        self.share.release();
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use foliomq_proto::v1::ChangeLogRequest;
    use http_body_util::Full;

    use super::*;

    fn framed(filter: &str) -> Vec<u8> {
        let message = ChangeLogRequest {
            filter: filter.to_owned(),
        };
        let message = message.encode_to_vec();
        let len = u32::try_from(message.len()).unwrap();
        [&[0][..], &len.to_be_bytes(), &message].concat()
    }

    #[tokio::test]
    async fn requests_come_in_turn_and_give_back_what_they_took() {
        let intake = Intake::new(100);
        let body = Full::new(Bytes::from([framed("a"), framed("b")].concat()));
        let mut requests = Requests::<ChangeLogRequest, _>::new(body, &intake, 50);
        for filter in ["a", "b"] {
            assert_eq!(requests.next().await.unwrap().unwrap().filter, filter);
        }
        assert!(requests.next().await.is_none());
        let again = Full::new(Bytes::from(framed(&"x".repeat(80))));
        let mut again = Requests::<ChangeLogRequest, _>::new(again, &intake, 100);
        assert!(
            again.next().await.unwrap().is_ok(),
            "the share is whole again"
        );
        let large = Full::new(Bytes::from(framed(&"x".repeat(120))));
        let mut large = Requests::<ChangeLogRequest, _>::new(large, &intake, 1000);
        let refused = large.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }
}
