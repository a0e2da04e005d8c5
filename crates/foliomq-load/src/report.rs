//! What a load found.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// What a load found. Everything is of the time after the warm-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was done.
    pub plan: Plan,
    /// How long, seconds.
    pub seconds: f64,
    /// Messages acknowledged, or received.
    pub messages: u64,
    /// Messages per second.
    pub rate: f64,
    /// Bytes of their bodies per second, millions.
    pub megabytes: f64,
    /// From the intended departure; all zero for a consumer of stored messages. At a rate, those that are outstanding in the
    /// end are in it with their age, which is less than they take; but for those that are younger than the median.
    pub latency: Latency,
    /// How much later than intended requests left: what the generator itself adds.
    pub late: Latency,
    /// Messages that were to leave, and had no answer in the end. In a closed loop as many as it keeps in flight.
    #[serde(default)]
    pub outstanding: u64,
    /// How long ago the oldest of them was to leave, microseconds.
    #[serde(default)]
    pub oldest: f64,
    /// Processor time that the generator's process took, seconds.
    pub generator_cpu: f64,
}

/// Times in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were taken.
    pub count: u64,
    /// Half are no longer.
    pub p50: f64,
    /// Nine of ten are no longer.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// 9,999 of 10,000.
    pub p9999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max() as f64 / 1e3,
        }
    }

    /// Share and time, from the median to the longest: for a plot.
    pub fn quantiles(&self) -> [(&'static str, f64); 6] {
        [
            ("50%", self.p50),
            ("90%", self.p90),
            ("99%", self.p99),
            ("99.9%", self.p999),
            ("99.99%", self.p9999),
            ("longest", self.max),
        ]
    }
}

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        took: Duration,
        messages: u64,
        (latency, late): (Latency, Latency),
        generator_cpu: Duration,
    ) -> Self {
        let seconds = took.as_secs_f64();
        let rate = messages as f64 / seconds.max(f64::MIN_POSITIVE);
        Self {
            plan: plan.clone(),
            seconds,
            messages,
            rate,
            megabytes: rate * plan.body as f64 / 1e6,
            latency,
            late,
            outstanding: 0,
            oldest: 0.0,
            generator_cpu: generator_cpu.as_secs_f64(),
        }
    }

    pub(crate) fn with_outstanding(mut self, ages: &Histogram<u64>) -> Self {
        self.outstanding = ages.len();
        self.oldest = ages.max() as f64 / 1e3;
        self
    }
}
