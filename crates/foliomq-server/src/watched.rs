//! A socket, and whether its peer still takes and says something.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Passes everything on, and notes what passes.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
}

/// What was seen of a peer.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    blocked: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When it said something last.
    heard: Instant,
    /// Since when it takes nothing of what is there for it.
    blocked: Option<Instant>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<Watch>) {
        let seen = Seen {
            heard: Instant::now(),
            blocked: None,
        };
        let watch = Arc::new(Watch {
            seen: Mutex::new(seen),
            blocked: Notify::new(),
        });
        let watched = Self {
            stream,
            watch: watch.clone(),
        };
        (watched, watch)
    }
}

impl Watch {
    /// When the peer said something last.
    pub(crate) fn heard(&self) -> Instant {
        self.seen.lock().heard
    }

    /// Resolves once the peer has taken nothing for so long, although there was something for it.
    pub(crate) async fn blocked_for(&self, age: Duration) {
        loop {
            let since = self.seen.lock().blocked;
            let Some(since) = since else {
                self.blocked.notified().await;
                continue;
            };
            sleep_until(since + age).await;
            if self.seen.lock().blocked == Some(since) {
                return;
            }
        }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut seen = self.seen.lock();
        match written {
            Poll::Pending if seen.blocked.is_none() => {
                seen.blocked = Some(Instant::now());
                self.blocked.notify_one();
            }
            Poll::Pending => {}
            Poll::Ready(_) => seen.blocked = None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.watch.seen.lock().heard = Instant::now();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_found_and_one_that_takes_all_is_not() {
        let (mut peer, stream) = duplex(4);
        let (mut stream, watch) = Watched::new(stream);
        let writing = tokio::spawn(async move { stream.write_all(&[1; 100]).await });
        watch.blocked_for(Duration::from_millis(1)).await;
        let mut bytes = [0; 100];
        peer.read_exact(&mut bytes).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(watch.seen.lock().blocked, None);
    }
}
