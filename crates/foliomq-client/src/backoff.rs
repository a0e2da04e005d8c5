//! Pauses between tries to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles with each pause; the half of it is random, so that clients do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub(crate) async fn pause(&mut self) {
        let pause = self.next.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.next = (2 * self.next).min(LONGEST);
        tokio::time::sleep(pause).await;
    }

    /// It worked: the next pause is a short one.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}
