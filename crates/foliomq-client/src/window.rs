//! How much a subscription may hold that the program has not taken yet.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Messages, and bytes of their bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: u32,
    pub(crate) bytes: u64,
}

/// The buffer of one subscription, as numbers: what the broker may send is what is not in it.
#[derive(Debug)]
pub(crate) struct Window {
    size: Amount,
    state: Mutex<State>,
    free: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Received, and not taken.
    held: Amount,
    /// Taken, and not told to the broker.
    owed: Amount,
}

impl Amount {
    pub(crate) fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn subtract(&mut self, other: Self) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl Window {
    /// Of at least one message and one byte.
    pub(crate) fn new(messages: u32, bytes: u64) -> Self {
        Self {
            // The broker takes no more at once.
            size: Amount {
                messages: messages.clamp(1, 1 << 20),
                bytes: bytes.clamp(1, 1 << 40),
            },
            state: Mutex::default(),
            free: Notify::new(),
        }
    }

    /// The credit that a new stream begins with: what is free, and at least a byte, since 0 would stand for no bound.
    pub(crate) fn open(&self) -> Amount {
        let mut state = self.state.lock();
        state.owed = Amount::default();
        let mut credit = self.size;
        credit.subtract(state.held);
        credit.bytes = credit.bytes.max(1);
        credit
    }

    /// So much came.
    pub(crate) fn receive(&self, amount: Amount) {
        self.state.lock().held.add(amount);
    }

    /// The program took so much.
    pub(crate) fn take(&self, amount: Amount) {
        let mut state = self.state.lock();
        state.held.subtract(amount);
        state.owed.add(amount);
        if self.is_much(state.owed) {
            self.free.notify_one();
        }
    }

    /// Waits until a quarter of the window is to be given to the broker, and takes it.
    pub(crate) async fn due(&self) -> Amount {
        loop {
            {
                let mut state = self.state.lock();
                if self.is_much(state.owed) {
                    return std::mem::take(&mut state.owed);
                }
            }
            self.free.notified().await;
        }
    }

    /// Whether it is a quarter of the window.
    pub(crate) fn is_much(&self, Amount { messages, bytes }: Amount) -> bool {
        4 * u64::from(messages) >= u64::from(self.size.messages) || 4 * bytes >= self.size.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn amount(messages: u32, bytes: u64) -> Amount {
        Amount { messages, bytes }
    }

    fn due(window: &Window) -> Option<Amount> {
        match pin!(window.due()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(amount) => Some(amount),
            Poll::Pending => None,
        }
    }

    #[test]
    fn credit_is_given_back_by_the_quarter() {
        let window = Window::new(8, 1000);
        assert_eq!(window.open(), amount(8, 1000));
        window.receive(amount(3, 300));
        window.take(amount(1, 100));
        assert_eq!(due(&window), None);
        window.take(amount(1, 100));
        assert_eq!(due(&window), Some(amount(2, 200)));
        assert_eq!(due(&window), None, "given once");
        window.take(amount(1, 250));
        assert_eq!(due(&window), Some(amount(1, 250)), "bytes are enough");
    }

    #[test]
    fn a_new_stream_begins_with_what_is_free() {
        let window = Window::new(8, 1000);
        window.receive(amount(2, 5000));
        assert_eq!(window.open(), amount(6, 1));
        window.take(amount(2, 5000));
        assert_eq!(window.open(), amount(8, 1000));
        assert_eq!(due(&window), None, "it was told to the new stream");
    }
}
