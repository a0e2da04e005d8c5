//! A stream that looks at the addresses of what is written into it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use foliomq_store::Store;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was written: bytes of the memory that is looked for, and all.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) inside: AtomicUsize,
    pub(super) all: AtomicUsize,
}

/// Says something of bytes.
pub(super) type Test = Box<dyn Fn(&[u8]) -> bool + Send>;

/// Looks at the addresses of what goes into a stream.
pub(super) struct Spy<S> {
    pub(super) stream: S,
    /// Whether these bytes lie in the memory that is looked for.
    pub(super) inside: Test,
    pub(super) seen: Arc<Seen>,
}

impl<S> Spy<S> {
    /// Looks for the log's pages.
    pub(super) fn of_pages(stream: S, store: Store, seen: Arc<Seen>) -> Self {
        let inside = Box::new(move |bytes: &[u8]| store.is_mapped(bytes));
        Self {
            stream,
            inside,
            seen,
        }
    }

    fn wrote(&self, mut written: usize, slices: &[IoSlice<'_>]) {
        self.seen.all.fetch_add(written, Ordering::Relaxed);
        for slice in slices {
            let part = &slice[..slice.len().min(written)];
            if !part.is_empty() && (self.inside)(part) {
                self.seen.inside.fetch_add(part.len(), Ordering::Relaxed);
            }
            written -= part.len();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spy<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spy<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(written)) = written {
            self.wrote(written, slices);
        }
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
