//! What comes back: whole messages, or bytes that are only counted.

use std::future::poll_fn;

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use crate::error::LoadError;

/// Bytes before each gRPC message: compressed or not 1, length 4.
pub(crate) const PREFIX: usize = 5;

pub(crate) type Answer = Result<RecvStream, LoadError>;

/// The messages of an answer, one after the other.
#[derive(Debug)]
pub struct Call {
    body: RecvStream,
    gathered: BytesMut,
}

impl Call {
    pub(crate) fn new(body: RecvStream) -> Self {
        Self {
            body,
            gathered: BytesMut::new(),
        }
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// The connection's, or [`LoadError::Status`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, LoadError> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            match chunk(&mut self.body).await? {
                Some(chunk) => self.gathered.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let len = self.gathered.get(1..PREFIX)?.get_u32() as usize;
        if self.gathered.len() < PREFIX + len {
            return None;
        }
        self.gathered.advance(PREFIX);
        Some(self.gathered.split_to(len).freeze())
    }
}

/// The next bytes of an answer, whose place in the window is given back; `None` at its end, if that is a good one.
pub(crate) async fn chunk(body: &mut RecvStream) -> Result<Option<Bytes>, LoadError> {
    match body.data().await {
        Some(chunk) => {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            Ok(Some(chunk))
        }
        None => {
            let trailers = body.trailers().await?;
            trailers.as_ref().map_or(Ok(()), status_of)?;
            Ok(None)
        }
    }
}

/// The one message of an answer.
pub(crate) async fn collect(mut body: RecvStream) -> Result<Bytes, LoadError> {
    let mut message: Option<Bytes> = None;
    while let Some(chunk) = chunk(&mut body).await? {
        message = Some(match message {
            None => chunk,
            Some(first) => [first, chunk].concat().into(),
        });
    }
    let mut message = message.unwrap_or_default();
    if message.len() < PREFIX {
        return Err(LoadError::Protocol("it is empty".to_owned()));
    }
    message.advance(PREFIX);
    Ok(message)
}

/// Sends bytes as the peer's window allows.
pub(crate) async fn send(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
) -> Result<(), LoadError> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        while stream.capacity() == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(capacity) => capacity?,
                None => return Err(LoadError::Protocol("the stream ended".to_owned())),
            };
        }
        let part = bytes.split_to(stream.capacity().min(bytes.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}

/// The error that a head or a tail tells of.
pub(crate) fn status_of(headers: &HeaderMap) -> Result<(), LoadError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").and_then(|code| code.parse().ok()) {
        None | Some(0) => Ok(()),
        Some(code) => Err(LoadError::Status {
            code,
            text: text("grpc-message").unwrap_or_default().to_owned(),
        }),
    }
}
