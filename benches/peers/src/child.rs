//! One run of one system in a process of its own: it shares no memory, no globals and no caches with the next.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use foliomq_benches::payload::Payload;
use foliomq_benches::procfs;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use crate::peer::{Flush, Name, Peer, Touched};

/// Appends between two looks at the clock.
const LOOK: u64 = 16;

/// What a run does.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// The system.
    #[arg(long)]
    pub peer: Name,
    /// Where its files go.
    #[arg(long)]
    pub dir: PathBuf,
    /// When an append is on the device.
    #[arg(long)]
    pub flush: Flush,
    /// Bytes of a body.
    #[arg(long)]
    pub body: usize,
    /// Messages of an append.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Messages at most; 0 only reads what is there.
    #[arg(long)]
    pub messages: u64,
    /// Milliseconds at most.
    #[arg(long, default_value_t = u64::MAX)]
    pub limit: u64,
    /// Passes over what was appended.
    #[arg(long, default_value_t = 0)]
    pub passes: usize,
    /// Ends by `kill -9` right after the last append returned.
    #[arg(long)]
    pub die: bool,
}

/// What a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// Messages appended.
    pub messages: u64,
    /// Messages appended per second, until all of them could be read.
    pub append: f64,
    /// Messages read per second in each pass, in order.
    pub read: Vec<f64>,
    /// The same per second of processor time of the reading thread.
    pub read_processor: Vec<f64>,
    /// Messages that the last pass found.
    pub found: u64,
}

impl Run {
    /// Runs it here.
    pub fn here(&self) -> Result<Found> {
        let mut peer = self.peer.open(&self.dir, self.flush)?;
        let payload = Payload::new(self.body);
        let (messages, append) = self.append(&mut *peer, &payload)?;
        if self.die {
            println!("{messages}");
            kill_process(getpid(), Signal::KILL)?;
        }
        let expected =
            (self.messages > 0 && peer.finds_all()).then(|| expected(&payload, messages));
        let passes = if peer.reads_again() {
            self.passes
        } else {
            self.passes.min(1)
        };
        let (mut read, mut read_processor, mut found) = (Vec::new(), Vec::new(), 0);
        for _ in 0..passes {
            let (begin, processor) = (Instant::now(), procfs::thread_time());
            let touched = peer.read()?;
            let per = |time: Duration| touched.messages as f64 / time.as_secs_f64();
            read.push(per(begin.elapsed()));
            read_processor.push(per(procfs::thread_time() - processor));
            found = touched.messages;
            ensure!(
                expected.is_none_or(|expected| expected == touched),
                "read {touched:?}, not {expected:?}"
            );
        }
        Ok(Found {
            messages,
            append,
            read,
            read_processor,
            found,
        })
    }

    /// How many messages were appended, and how many per second.
    fn append(&self, peer: &mut dyn Peer, payload: &Payload) -> Result<(u64, f64)> {
        let limit = Duration::from_millis(self.limit);
        let mut bodies = Vec::with_capacity(self.batch);
        let (mut next, begin) = (0, Instant::now());
        let looks = LOOK * self.batch as u64;
        while next < self.messages && (next % looks > 0 || begin.elapsed() < limit) {
            let end = next + self.batch as u64;
            bodies.clear();
            bodies.extend((next..end).map(|number| payload.body(number)));
            peer.append(next, &bodies)?;
            next = end;
        }
        peer.settle()?;
        Ok((next, next as f64 / begin.elapsed().as_secs_f64()))
    }
}

fn expected(payload: &Payload, messages: u64) -> Touched {
    let mut touched = Touched::default();
    (0..messages).for_each(|number| touched.add(payload.body(number)));
    touched
}
