//! Calls by method: how many there were, how many are under way, and how soon their answers began.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Upper bounds of the times that are told apart, seconds.
pub(crate) const BOUNDS: [f64; 10] = [
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0, 10.0, 60.0,
];

/// Every method of the protocols in [`foliomq_proto`], and the others together.
#[derive(Debug)]
pub(crate) struct Calls {
    methods: Vec<Method>,
}

/// The calls of one method.
#[derive(Debug, Default)]
pub(crate) struct Method {
    /// As a request names it.
    path: String,
    /// With its package; `other` of all that is in none of these protocols.
    pub(crate) service: String,
    pub(crate) name: String,
    begun: AtomicU64,
    running: AtomicU64,
    /// By bound, the last without one.
    answered: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// One call, until it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    calls: Arc<Calls>,
    index: usize,
    begun: Instant,
}

impl Default for Calls {
    fn default() -> Self {
        let mut methods = methods();
        methods.push(Method {
            service: "other".to_owned(),
            name: "other".to_owned(),
            ..Method::default()
        });
        Self { methods }
    }
}

impl Calls {
    /// A call of this path begins.
    pub(crate) fn begin(self: &Arc<Self>, path: &str) -> Call {
        let found = self.methods.iter().position(|method| method.path == path);
        let index = found.unwrap_or(self.methods.len() - 1);
        let method = &self.methods[index];
        method.begun.fetch_add(1, Ordering::Relaxed);
        method.running.fetch_add(1, Ordering::Relaxed);
        Call {
            calls: self.clone(),
            index,
            begun: Instant::now(),
        }
    }

    /// Those that were called.
    pub(crate) fn called(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| method.begun() > 0)
    }
}

impl Method {
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// How many were answered, by bound: each count is of that bound alone.
    pub(crate) fn answered(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|n| self.answered[n].load(Ordering::Relaxed))
    }

    /// Time until the answers began, all together.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let slot = BOUNDS.partition_point(|&bound| bound < seconds);
        self.answered[slot].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Call {
    /// Its answer begins.
    pub(crate) fn answered(&self) {
        self.method().add(self.begun.elapsed());
    }

    /// Of its method; `other` if there is none of that name.
    pub(crate) fn name(&self) -> &str {
        &self.method().name
    }

    fn method(&self) -> &Method {
        &self.calls.methods[self.index]
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method().running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the protocols' descriptions name.
fn methods() -> Vec<Method> {
    let set = FileDescriptorSet::decode(foliomq_proto::DESCRIPTORS).unwrap_or_default();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let whole = format!("{}.{}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| Method {
                path: format!("/{whole}/{}", method.name()),
                service: whole.clone(),
                name: method.name().to_owned(),
                ..Method::default()
            }));
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_as_long_as_they_are_under_way() {
        let calls = Arc::new(Calls::default());
        let send = "/apache.rocketmq.v2.MessagingService/SendMessage";
        let (first, second) = (calls.begin(send), calls.begin(send));
        first.answered();
        drop((first, calls.begin("/made.up/Path"), calls.begin("")));
        let seen: Vec<_> = calls
            .called()
            .map(|method| (method.name.as_str(), method.begun(), method.running()))
            .collect();
        assert_eq!(seen, [("SendMessage", 2, 1), ("other", 2, 0)]);
        let answered = |calls: &Calls| {
            calls
                .called()
                .next()
                .unwrap()
                .answered()
                .iter()
                .sum::<u64>()
        };
        assert_eq!(answered(&calls), 1);
        second.answered();
        assert_eq!(answered(&calls), 2);
    }

    #[test]
    fn a_time_counts_at_the_bound_that_it_does_not_exceed() {
        let method = Method::default();
        for time in [0, 100_000, 100_001, 59_000_000_000, 61_000_000_000] {
            method.add(Duration::from_nanos(time));
        }
        let mut expected = [0; BOUNDS.len() + 1];
        (expected[0], expected[1], expected[9], expected[10]) = (2, 1, 1, 1);
        assert_eq!(method.answered(), expected);
        assert_eq!(method.time(), Duration::from_nanos(120_000_200_001));
    }
}
