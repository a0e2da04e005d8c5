//! The responses of a subscription between the task that makes them and the socket.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;

use crate::delivered::Outgoing;

/// Responses that wait for the connection. One place is kept for messages while there are none, so that it takes another
/// for the answers to settlements.
const WAITING: usize = 2;

/// What goes to the client.
#[derive(Debug)]
pub(crate) struct Responses {
    waiting: mpsc::Receiver<Outgoing>,
    /// Those that keep no pages any more.
    copied: VecDeque<Outgoing>,
    pause: Arc<Pause>,
}

/// Where responses are put.
#[derive(Debug)]
pub(crate) struct Sender {
    waiting: mpsc::Sender<Outgoing>,
    pause: Arc<Pause>,
}

/// Room for one response.
pub(crate) struct Room<'a> {
    permit: mpsc::Permit<'a, Outgoing>,
    pause: &'a Pause,
}

/// Set while the reader takes nothing: then no more messages are fetched for it.
#[derive(Debug, Default)]
struct Pause {
    paused: Mutex<bool>,
    over: Notify,
}

/// Both ends.
pub(crate) fn channel() -> (Sender, Responses) {
    let (sender, waiting) = mpsc::channel(WAITING);
    let pause = Arc::<Pause>::default();
    let responses = Responses {
        waiting,
        copied: VecDeque::new(),
        pause: pause.clone(),
    };
    let waiting = sender;
    (Sender { waiting, pause }, responses)
}

impl Responses {
    /// Copies what waits, and lets nothing follow until the next is asked for.
    pub(crate) fn unpin(&mut self) {
        let mut paused = self.pause.paused.lock();
        *paused = true;
        while let Ok(mut response) = self.waiting.try_recv() {
            response.unpin();
            self.copied.push_back(response);
        }
    }
}

impl Stream for Responses {
    type Item = Outgoing;

    /// Whoever asks for the next is ready to take it.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        if let Some(response) = self.copied.pop_front() {
            return Poll::Ready(Some(response));
        }
        self.pause.end();
        self.waiting.poll_recv(context)
    }
}

impl Sender {
    /// Waits until there is room and somebody takes what comes; `None` once nobody will.
    pub(crate) async fn room(&self) -> Option<Room<'_>> {
        let permit = self.waiting.reserve().await.ok()?;
        tokio::select! {
            () = self.pause.wait() => {}
            () = self.waiting.closed() => return None,
        }
        let pause = &self.pause;
        Some(Room { permit, pause })
    }

    /// Sends what keeps no pages; `false` once nobody takes it.
    pub(crate) async fn send(&self, response: Outgoing) -> bool {
        self.waiting.send(response).await.is_ok()
    }

    /// Resolves once nobody takes anything.
    pub(crate) async fn closed(&self) {
        self.waiting.closed().await;
    }
}

impl Room<'_> {
    /// Puts a response there.
    pub(crate) fn send(self, mut response: Outgoing) {
        let paused = self.pause.paused.lock();
        if *paused {
            response.unpin();
        }
        self.permit.send(response);
    }
}

impl Pause {
    async fn wait(&self) {
        while *self.paused.lock() {
            self.over.notified().await;
        }
    }

    fn end(&self) {
        if std::mem::take(&mut *self.paused.lock()) {
            self.over.notify_one();
        }
    }
}
