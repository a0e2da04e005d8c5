//! A clock that can be put forward, so that messages of the far future are due soon.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foliomq_delivery::Timestamp;

/// The machine's clock and so many milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    ahead: u64,
}

impl Clock {
    /// One that shows `then` in `wait`.
    pub fn before(then: Timestamp, wait: Duration) -> Self {
        let shown = then.saturating_sub(wait.as_millis() as u64);
        Self {
            ahead: shown.saturating_sub(Self::default().now()),
        }
    }

    /// Unix milliseconds.
    pub fn now(self) -> Timestamp {
        self.exact().as_millis() as u64
    }

    /// Since 1970.
    pub fn exact(self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default() + Duration::from_millis(self.ahead)
    }
}
