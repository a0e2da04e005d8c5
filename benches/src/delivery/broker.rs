//! A store with groups on it, and what the broker does for them by itself: it delivers what is due, and keeps house.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use event_listener::Listener;
use foliomq_benches::bench::{FLUSH_INTERVAL, WINDOW};
use foliomq_benches::payload::Payload;
use foliomq_delivery::{Groups, Options};
use foliomq_store::{
    Flush, Message, Options as StoreOptions, Preheat, Retention, Store, TopicOptions,
};

use crate::clock::Clock;

/// Bytes of a segment.
pub const SEGMENT: u64 = 256 << 20;
/// Messages of one append.
pub const BATCH: u64 = 32;
/// Bytes of a body, where nothing else is said.
pub const BODY: usize = 1 << 10;
/// The name of the thread that delivers what is due.
pub const DELIVERER: &str = "deliverer";
/// The name of the thread that keeps house.
pub const HOUSEKEEPER: &str = "housekeeper";
/// After each delivery, as in the broker: what comes due meanwhile goes together.
const PAUSE: Duration = Duration::from_millis(10);
/// The broker keeps house so often.
const TICK: Duration = Duration::from_secs(1);

/// Without a network.
#[derive(Debug)]
pub struct Broker {
    pub store: Store,
    pub groups: Groups,
    pub clock: Clock,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// How long a start took, seconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Start {
    pub store: f64,
    pub groups: f64,
}

impl Start {
    /// Both.
    pub fn seconds(self) -> f64 {
        self.store + self.groups
    }
}

impl Broker {
    /// Opens the store in `folder`, and its groups; nothing runs yet.
    pub fn open(folder: &Path) -> Result<(Self, Start)> {
        let retention = Retention {
            age: None,
            size: None,
            disk: None,
            ..Retention::default()
        };
        let options = StoreOptions::new(folder)
            .segment_size(SEGMENT)
            .flush(Flush::Async {
                interval: FLUSH_INTERVAL,
            })
            .preheat(Preheat::Window { bytes: WINDOW })
            .retention(retention);
        let begin = Instant::now();
        let store = options.open().context("opening the store")?;
        let opened = begin.elapsed();
        let groups = Groups::open(store.clone(), Options::default())?;
        let start = Start {
            store: opened.as_secs_f64(),
            groups: (begin.elapsed() - opened).as_secs_f64(),
        };
        let broker = Self {
            store,
            groups,
            clock: Clock::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        Ok((broker, start))
    }

    /// Begins to deliver and to keep house, by this clock.
    pub fn run(&mut self, clock: Clock) -> Result<()> {
        self.clock = clock;
        let (store, groups, stop) = (self.store.clone(), self.groups.clone(), self.stop.clone());
        let deliver = move || deliver(&store, &groups, clock, &stop);
        let (groups, stop) = (self.groups.clone(), self.stop.clone());
        let keep_house = move || keep_house(&groups, clock, &stop);
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        self.threads.push(named(DELIVERER).spawn(deliver)?);
        self.threads.push(named(HOUSEKEEPER).spawn(keep_house)?);
        Ok(())
    }

    /// Stops cleanly.
    pub fn close(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        self.groups.close()?;
        Ok(self.store.close()?)
    }

    pub fn topic(&self, name: &str, queues: u32) -> Result<()> {
        let options = TopicOptions {
            queues,
            ..TopicOptions::default()
        };
        self.store.create_topic(name, options)?;
        Ok(())
    }

    /// Appends messages of `body` bytes in batches, queue after queue; returns once they are in the indexes.
    pub fn fill(&self, topic: &str, messages: u64, body: usize) -> Result<()> {
        let (payload, mut end) = (Payload::new(body), 0);
        for first in (0..messages).step_by(BATCH as usize) {
            let numbers = first..messages.min(first + BATCH);
            let batch: Vec<_> = numbers.map(|n| Message::new(payload.body(n))).collect();
            end = self.store.submit(topic, None, &batch)?.end();
        }
        self.store.wait_committed(end)?;
        self.store.catch_up();
        Ok(())
    }
}

/// Asleep while nothing is due, and woken by what is new.
fn deliver(store: &Store, groups: &Groups, clock: Clock, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let news = store.listen_ledger();
        let due = groups.deliver_due(clock.now())?;
        let wait = due.next.map_or(TICK, |next| {
            Duration::from_millis(next.saturating_sub(clock.now()))
        });
        news.wait_timeout(wait.min(TICK));
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn keep_house(groups: &Groups, clock: Clock, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        groups.tick(clock.now())?;
        thread::park_timeout(TICK);
    }
    Ok(())
}
