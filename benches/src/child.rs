//! Stores in processes of their own: their memory can be measured, and they can be killed.
//!
//! The program starts itself again with a [`Task`] in its environment. The child does it, prints one line of JSON, and
//! waits to be told that it may end.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_store::{Flush, Message, Options, Preheat, Retention, Store, TopicOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bench::{FLUSH_INTERVAL, WINDOW};
use crate::payload::Payload;
use crate::procfs;

/// The variable that holds the task.
const TASK: &str = "FOLIOMQ_BENCHES_TASK";
/// A step from one queue to the next one used, prime, so that every queue comes once before any comes twice.
const STRIDE: u64 = 611_953;
/// How long the dispatcher may take for what a run appended.
const DISPATCH_LIMIT: Duration = Duration::from_secs(120);

/// What a child does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// Makes a store, or opens one, and appends to all of its queues in turn.
    Fill(Fill),
    /// Opens a store.
    Open {
        /// Its folder.
        folder: PathBuf,
        /// Bytes of a segment.
        segment: u64,
    },
}

/// What is appended to which store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fill {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of a segment.
    pub segment: u64,
    /// Topics that it has.
    pub topics: u32,
    /// Queues of each topic.
    pub queues: u32,
    /// Messages, spread over all queues.
    pub messages: u64,
    /// Bytes of each body.
    pub body: usize,
    /// Whether sealed segments are to lose their blocks, but for their first page: a large log on a small disk.
    pub sparse: bool,
    /// Whether to go on appending until the process is killed.
    pub endless: bool,
}

/// What a fill found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Filled {
    /// Private memory before the store was opened, bytes.
    pub private_before: u64,
    /// The same with all topics made and nothing appended.
    pub private_made: u64,
    /// The same with everything appended and in the indexes.
    pub private_after: u64,
    /// Bytes on the disk, beside the commit log, with all topics made and nothing appended.
    pub disk_made: u64,
    /// The same with everything appended.
    pub disk_after: u64,
    /// Open files then.
    pub handles: u64,
    /// Mapped regions then.
    pub maps: u64,
    /// Messages per second of the append.
    pub appended: f64,
    /// Messages per second until all could be read through their queues.
    pub dispatched: f64,
}

/// What an open found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Opened {
    /// Seconds.
    pub seconds: f64,
    /// Whether the store had been closed.
    pub clean: bool,
    /// The log's end.
    pub end: u64,
    /// Private memory that the store takes, bytes.
    pub private: u64,
}

/// A child that has done its task, and waits.
#[derive(Debug)]
pub struct Child(process::Child);

impl Child {
    /// Starts it, and waits for its figures.
    pub fn run<T: DeserializeOwned>(task: &Task) -> Result<(Self, T)> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .env(TASK, serde_json::to_string(task)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process for a store")?;
        let mut line = String::new();
        let output = child.stdout.take().context("no output of the child")?;
        BufReader::new(output).read_line(&mut line)?;
        let figures = serde_json::from_str(&line);
        let figures = figures.with_context(|| format!("the child failed at {task:?}"))?;
        Ok((Self(child), figures))
    }

    /// Has it close its store, and waits for its end.
    pub fn finish(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the child ended with {status}");
        Ok(())
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

/// Does the task that this process was started for, if it was; for the beginning of `main`.
pub fn run_if_told() -> Result<bool> {
    let Ok(task) = std::env::var(TASK) else {
        return Ok(false);
    };
    match serde_json::from_str(&task)? {
        Task::Fill(task) => fill(&task)?,
        Task::Open { folder, segment } => open(&folder, segment)?,
    }
    Ok(true)
}

fn fill(task: &Fill) -> Result<()> {
    let names: Vec<String> = (0..task.topics).map(|n| format!("topic-{n:07}")).collect();
    let references: Vec<&str> = names.iter().map(String::as_str).collect();
    let payload = Payload::new(task.body);
    let private_before = procfs::private_memory()?;
    let store = options(&task.folder, task.segment).open()?;
    let queues = task.queues;
    store.create_topics(
        &references,
        TopicOptions {
            queues,
            ..TopicOptions::default()
        },
    )?;
    let (private_made, disk_made) = (procfs::private_memory()?, index_bytes(&task.folder)?);
    let begin = Instant::now();
    let append = |index: u64| {
        let queue = index * STRIDE % (u64::from(task.topics) * u64::from(queues));
        let topic = &names[(queue / u64::from(queues)) as usize];
        let message = Message::new(payload.body(index));
        store.append_to(topic, (queue % u64::from(queues)) as u32, &message)
    };
    for index in 0..task.messages {
        append(index)?;
        if task.sparse && index % 64 == 0 {
            punch_sealed(&store)?;
        }
    }
    let appended = begin.elapsed();
    wait_dispatched(&store)?;
    let dispatched = begin.elapsed();
    let rate = |time: Duration| task.messages as f64 / time.as_secs_f64();
    print(&Filled {
        private_before,
        private_made,
        private_after: procfs::private_memory()?,
        disk_made,
        disk_after: index_bytes(&task.folder)?,
        handles: count("/proc/self/fd")?,
        maps: procfs::read("/proc/self/maps")?.lines().count() as u64,
        appended: rate(appended),
        dispatched: rate(dispatched),
    })?;
    for index in (task.messages..).take_while(|_| task.endless) {
        append(index)?;
    }
    await_end()?;
    Ok(store.close()?)
}

fn open(folder: &Path, segment: u64) -> Result<()> {
    let before = procfs::private_memory()?;
    let begin = Instant::now();
    let store = options(folder, segment).open()?;
    let seconds = begin.elapsed().as_secs_f64();
    print(&Opened {
        seconds,
        clean: store.recovery().clean,
        end: store.recovery().end,
        private: procfs::private_memory()?.saturating_sub(before),
    })?;
    await_end()?;
    Ok(store.close()?)
}

/// Options that drop nothing.
fn options(folder: &Path, segment: u64) -> Options {
    let retention = Retention {
        age: None,
        size: None,
        disk: None,
        ..Retention::default()
    };
    Options::new(folder)
        .segment_size(segment)
        .flush(Flush::Async {
            interval: FLUSH_INTERVAL,
        })
        .preheat(Preheat::Window { bytes: WINDOW })
        .retention(retention)
}

fn wait_dispatched(store: &Store) -> Result<()> {
    let begin = Instant::now();
    loop {
        let watermarks = store.watermarks();
        if watermarks.dispatched >= watermarks.appended {
            return Ok(());
        }
        let behind = watermarks.appended - watermarks.dispatched;
        ensure!(
            begin.elapsed() < DISPATCH_LIMIT,
            "the dispatcher is {behind} bytes behind"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes the blocks of sealed, indexed segments away, but for the first page.
fn punch_sealed(store: &Store) -> Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    const PAGE: u64 = 4096;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let watermarks = store.watermarks();
    let indexed = watermarks.dispatched.min(watermarks.durable);
    for segment in store.segments() {
        let whole = segment.allocated >= segment.size;
        if whole && segment.sealed && segment.base + segment.size <= indexed {
            let file = fs::File::options().write(true).open(&segment.path)?;
            fallocate(&file, flags, PAGE, segment.size - PAGE)?;
        }
    }
    Ok(())
}

/// Bytes on the disk of everything in the store but its commit log.
fn index_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != "commitlog" {
            bytes += procfs::allocated(&entry.path())?;
        }
    }
    Ok(bytes)
}

fn count(folder: &str) -> Result<u64> {
    Ok(fs::read_dir(folder)?.count() as u64)
}

fn print(figures: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(io::stdout().flush()?)
}

/// Until the parent closes the pipe.
fn await_end() -> Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
