//! Reading for a while, and counting.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use foliomq_benches::payload::{Random, touch};
use foliomq_benches::procfs;

use crate::plan::Order;
use crate::ways::Reader;

/// Messages between two looks at the clock.
const LOOK: u64 = 64;

/// How far a reader goes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Messages in the queue.
    pub messages: u64,
    /// Where it begins.
    pub from: u64,
    /// Ends after this time.
    pub time: Duration,
    /// Ends after so many messages.
    pub most: u64,
    /// Of the generator of random offsets.
    pub seed: u64,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    /// Messages.
    pub messages: u64,
    /// Of one byte of each of their cache lines.
    pub sum: u64,
    /// In this time.
    pub took: Duration,
    /// In this processor time of the thread.
    pub processor: Duration,
}

/// Reads within the limits, and touches each cache line of every body. In order, it begins anew after the last.
pub fn drive(reader: &mut impl Reader, order: Order, limits: &Limits) -> Result<Count> {
    let (begin, processor) = (Instant::now(), procfs::thread_time());
    let mut count = Count::default();
    reader.seek(limits.from);
    let mut random = Random::new(limits.seed);
    loop {
        let stretch = LOOK.min(limits.most - count.messages);
        match order {
            Order::Random => jumps(reader, &mut random, limits.messages, stretch, &mut count)?,
            _ => in_order(reader, stretch, &mut count)?,
        }
        // At the end: a thread that was kept waiting for its processor has read something all the same.
        if count.messages >= limits.most || begin.elapsed() >= limits.time {
            break;
        }
    }
    count.took = begin.elapsed();
    count.processor = procfs::thread_time() - processor;
    black_box(count.sum);
    Ok(count)
}

fn in_order(reader: &mut impl Reader, stretch: u64, count: &mut Count) -> Result<()> {
    for _ in 0..stretch {
        match reader.next()? {
            Some(body) => count.add(body),
            None => reader.seek(0),
        }
    }
    Ok(())
}

fn jumps(
    reader: &mut impl Reader,
    random: &mut Random,
    messages: u64,
    stretch: u64,
    count: &mut Count,
) -> Result<()> {
    for _ in 0..stretch {
        reader.seek(random.below(messages));
        if let Some(body) = reader.next()? {
            count.add(body);
        }
    }
    Ok(())
}

impl Count {
    #[inline]
    fn add(&mut self, body: &[u8]) {
        self.messages += 1;
        self.sum += touch(body);
    }
}
