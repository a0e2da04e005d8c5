//! What has happened so far: counted by every sender and consumer, looked at by the live line and the report.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::plan::{Plan, Until};

/// Histograms that senders share: each takes a quarter of a megabyte.
const SHARDS: usize = 8;
/// The longest latency that is told apart, nanoseconds.
const LONGEST: u64 = 120_000_000_000;

/// Counts, from the end of the warm-up on.
#[derive(Debug)]
pub(crate) struct Meter {
    shards: Vec<Mutex<Shard>>,
    /// Stamps count from here.
    pub(crate) epoch: Instant,
    measuring: AtomicBool,
    /// Messages still to be taken, for a load that ends by number.
    budget: Option<AtomicI64>,
    messages: AtomicU64,
    /// The same, those of the warm-up included.
    arrived: AtomicU64,
    /// When a load that ends by time ended; from then on senders tell what was not answered.
    end: OnceLock<Instant>,
    outstanding: Mutex<Histogram<u64>>,
}

#[derive(Debug)]
struct Shard {
    latency: Histogram<u64>,
    late: Histogram<u64>,
}

/// How it goes, for a live line.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    /// Since the load began, the warm-up included.
    pub elapsed: Duration,
    /// Whether the warm-up is over.
    pub measuring: bool,
    /// Messages measured so far.
    pub messages: u64,
    /// Latencies so far in microseconds: p50 and p99; 0 where none are taken.
    pub latency: (f64, f64),
}

impl Meter {
    pub(crate) fn new(plan: &Plan) -> Self {
        let budget = match plan.until {
            Until::Messages(messages) => Some(AtomicI64::new(messages as i64)),
            Until::Time(_) => None,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            epoch: Instant::now(),
            // A load that ends by number has no warm-up.
            measuring: AtomicBool::new(budget.is_some()),
            budget,
            messages: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            end: OnceLock::new(),
            outstanding: Mutex::new(histogram()),
        }
    }

    pub(crate) fn start(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.measuring.store(false, Ordering::Relaxed);
        // One that ends by number ends when all is answered.
        if self.budget.is_none() {
            self.end.get_or_init(Instant::now);
        }
    }

    /// When the load ended, once it has.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end.get().copied()
    }

    /// So many messages were meant to leave then, and had no answer when the load ended.
    pub(crate) fn unanswered(&self, intended: Instant, messages: u64) {
        if let Some(end) = self.end() {
            let age = end.saturating_duration_since(intended);
            self.unanswered_for(age, messages);
        }
    }

    fn unanswered_for(&self, age: Duration, messages: u64) {
        let mut outstanding = self.outstanding.lock();
        outstanding.saturating_record_n(whole_nanos(age), messages);
    }

    /// So many messages were due, at this rate in all, and those that have not arrived are outstanding: the last ones, since
    /// nobody knows which. So each has at least the age that is noted.
    pub(crate) fn not_arrived(&self, due: u64, rate: f64) {
        let arrived = self.arrived.load(Ordering::Relaxed);
        for place in 0..due.saturating_sub(arrived) {
            self.unanswered_for(Duration::from_secs_f64(place as f64 / rate), 1);
        }
    }

    /// What was not answered in the end, by age.
    pub(crate) fn outstanding(&self) -> Histogram<u64> {
        self.outstanding.lock().clone()
    }

    /// Takes so many messages out of the budget; `false` once it is used up.
    pub(crate) fn take(&self, messages: usize) -> bool {
        let budget = self.budget.as_ref();
        budget.is_none_or(|budget| budget.fetch_sub(messages as i64, Ordering::Relaxed) > 0)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// So many messages came, of which no latency is known.
    pub(crate) fn came(&self, messages: u64) {
        if self.measuring.load(Ordering::Relaxed) {
            self.messages.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// So many messages are done that were meant to leave then.
    pub(crate) fn done(&self, shard: usize, intended: Instant, messages: u64) {
        self.arrived.fetch_add(messages, Ordering::Relaxed);
        if !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        self.messages.fetch_add(messages, Ordering::Relaxed);
        let mut shard = self.shards[shard % SHARDS].lock();
        shard.latency.saturating_record_n(nanos(intended), messages);
    }

    /// One leaves now that was meant to leave then.
    pub(crate) fn left(&self, shard: usize, intended: Instant) {
        if self.measuring.load(Ordering::Relaxed) {
            let mut shard = self.shards[shard % SHARDS].lock();
            shard.late.saturating_record(nanos(intended));
        }
    }

    /// All latencies, and how late messages left. Histograms of the same bounds add up.
    pub(crate) fn histograms(&self) -> (Histogram<u64>, Histogram<u64>) {
        let mut sum = Shard::new();
        for shard in &self.shards {
            let shard = shard.lock();
            sum.latency += &shard.latency;
            sum.late += &shard.late;
        }
        (sum.latency, sum.late)
    }

    pub(crate) fn glance(&self) -> Glance {
        let (latency, _) = self.histograms();
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        Glance {
            elapsed: self.epoch.elapsed(),
            measuring: self.measuring.load(Ordering::Relaxed),
            messages: self.messages(),
            latency: (at(0.5), at(0.99)),
        }
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            latency: histogram(),
            late: histogram(),
        }
    }
}

/// To three digits.
#[expect(clippy::expect_used, reason = "constants")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds and digits that a histogram can have")
}

fn nanos(since: Instant) -> u64 {
    whole_nanos(since.elapsed())
}

fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
