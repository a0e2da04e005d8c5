//! What a subscription has received, and the program has not taken.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::view::MessageView;
use crate::window::{Amount, Window};

/// A message on its way to the program.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) message: MessageView,
    pub(crate) attempt: u32,
    /// Empty without a group.
    pub(crate) handle: String,
    pub(crate) until: Instant,
    /// What it takes of the window.
    pub(crate) amount: Amount,
    /// Shared by those of one response that are of message groups.
    pub(crate) undone: Option<Arc<Undone>>,
}

/// Message groups of which a message of one response was given back. The broker holds back all that come later, but what came
/// in the same response is here already.
#[derive(Debug, Default)]
pub(crate) struct Undone(Mutex<HashSet<String>>);

impl Undone {
    pub(crate) fn add(&self, group: &str) {
        self.0.lock().insert(group.to_owned());
    }
}

impl Taken {
    /// Whether one before it in its message group is not done.
    pub(crate) fn is_held_back(&self) -> bool {
        let groups = self.undone.as_ref().map(|undone| undone.0.lock());
        let group = self.message.message_group();
        groups.is_some_and(|groups| group.is_some_and(|group| groups.contains(group)))
    }
}

/// Batches from the task that holds the stream. Bounded by the credit that the window gives.
pub(crate) type Batches = mpsc::UnboundedReceiver<Result<Vec<Taken>>>;

/// The program's end of a subscription.
#[derive(Debug)]
pub(crate) struct Received {
    batches: Batches,
    batch: VecDeque<Taken>,
    window: Arc<Window>,
    /// Taken, and not told to the window.
    owed: Amount,
    /// Messages are ours for a time.
    leased: bool,
    /// The broker has refused: nothing comes any more, though the task may go on settling.
    refused: bool,
}

impl Received {
    pub(crate) fn new(batches: Batches, window: Arc<Window>, leased: bool) -> Self {
        Self {
            batches,
            batch: VecDeque::new(),
            window,
            owed: Amount::default(),
            leased,
            refused: false,
        }
    }

    /// The next message whose time is not over: one that waited too long comes again.
    pub(crate) fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<Taken>> {
        loop {
            while let Some(taken) = self.batch.pop_front() {
                self.free(taken.amount);
                if !self.leased || taken.until > Instant::now() {
                    return Poll::Ready(Ok(taken));
                }
            }
            if self.refused {
                return Poll::Ready(Err(Error::Closed));
            }
            match ready!(self.batches.poll_recv(context)) {
                Some(Ok(batch)) => self.batch = batch.into(),
                Some(Err(error)) => {
                    self.refused = true;
                    return Poll::Ready(Err(error));
                }
                None => return Poll::Ready(Err(Error::Closed)),
            }
        }
    }

    /// Tells the window by what it would tell the broker, since it has a lock.
    fn free(&mut self, amount: Amount) {
        self.owed.add(amount);
        if self.batch.is_empty() || self.window.is_much(self.owed) {
            self.window.take(std::mem::take(&mut self.owed));
        }
    }

    /// Takes no more, and returns what nobody has taken.
    pub(crate) fn close(&mut self) -> Vec<Taken> {
        self.batches.close();
        let mut left: Vec<_> = self.batch.drain(..).collect();
        while let Ok(batch) = self.batches.try_recv() {
            left.extend(batch.into_iter().flatten());
        }
        left
    }
}
