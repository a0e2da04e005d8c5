//! When the messages of an open loop are meant to leave.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A rate. The runtime's own timer goes in steps of a millisecond; this one is the kernel's, which is good to microseconds.
#[derive(Debug)]
pub struct Pace {
    timer: AsyncFd<OwnedFd>,
    begin: Instant,
    interval: f64,
    sent: u64,
}

impl Pace {
    /// So many a second from `begin` on.
    ///
    /// # Errors
    /// The system's, if it has no more timers.
    pub fn new(rate: f64, begin: Instant) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // The runtime's own deprecation is about types whose descriptor may change; this one owns its own for good.
        #[expect(deprecated, reason = "the other constructor is unsafe")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self {
            timer,
            begin,
            interval: 1.0 / rate,
            sent: 0,
        })
    }

    /// The moment at which the next one is meant to leave.
    pub fn due(&self) -> Instant {
        self.begin + Duration::from_secs_f64(self.interval * self.sent as f64)
    }

    /// Takes the moments up to `end`, so many that none is left.
    pub(crate) fn due_until(&mut self, end: Instant) -> impl Iterator<Item = Instant> {
        std::iter::from_fn(move || {
            let due = self.due();
            (due <= end).then(|| {
                self.sent += 1;
                due
            })
        })
    }

    /// How many moments were taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits for that moment, if it is not over, and returns it.
    ///
    /// # Errors
    /// The system's.
    pub async fn next(&mut self) -> io::Result<Instant> {
        let due = self.due();
        // Nothing is lost if this is dropped here: the count goes on only below.
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            self.sleep(wait).await?;
        }
        self.sent += 1;
        Ok(due)
    }

    async fn sleep(&self, wait: Duration) -> io::Result<()> {
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let once = Itimerspec {
            it_interval: none,
            it_value: value,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut count = [0; 8];
            match rustix::io::read(self.timer.get_ref(), &mut count) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moments_are_those_of_the_rate_and_none_comes_early() {
        let begin = Instant::now();
        let mut pace = Pace::new(2000.0, begin).unwrap();
        for n in 0..20 {
            let due = pace.next().await.unwrap();
            assert!(due <= Instant::now());
            let exact = Duration::from_micros(500 * n);
            let off = due.duration_since(begin).abs_diff(exact);
            assert!(off < Duration::from_micros(1), "{n}: {off:?}");
        }
    }

    #[tokio::test]
    async fn what_is_late_is_not_left_out() {
        let begin = Instant::now() - Duration::from_millis(100);
        let mut pace = Pace::new(1000.0, begin).unwrap();
        for n in 0..100u64 {
            let due = pace.next().await.unwrap().duration_since(begin);
            assert!(due.abs_diff(Duration::from_millis(n)) < Duration::from_micros(1));
        }
    }
}
