//! The load: one life of a store, with all that a broker does to it, in a process that ends in one of several ways.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use foliomq_store::{
    Flush, Message, Options, Preheat, Retention, Store, Submitted, TopicOptions, WriterKind,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{Advice, fadvise};

use crate::body::{body, id};
use crate::note::{Note, Notebook, Placed};
use crate::settings::{Fault, Mode};
use crate::without;

/// The group whose progress is kept.
pub const GROUP: &str = "load";
/// Queues of the topic that all lives use.
pub const QUEUES: u32 = 4;
/// Bytes of a segment.
pub const SEGMENT: u64 = 16 << 20;
/// The log is kept at about this many bytes.
pub const KEPT: u64 = 3 * SEGMENT;

const APPENDERS: u32 = 4;
/// Messages that are appended as one batch, at most.
const BATCH: u32 = 8;
/// Writers are numbered on over the lives.
const WRITERS_PER_LIFE: u32 = 16;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(3600);

/// The name of a topic: 0 is the one that all lives use.
pub fn topic_name(topic: u32) -> String {
    format!("topic-{topic}")
}

/// What the load's process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The store.
    #[arg(long)]
    pub store: PathBuf,
    /// The file for notes.
    #[arg(long)]
    pub notes: PathBuf,
    #[arg(long)]
    pub mode: Mode,
    #[arg(long)]
    pub fault: Fault,
    /// The store does without this flush.
    #[arg(long)]
    pub without: Option<String>,
    /// Which life of the store, from 1.
    #[arg(long)]
    pub life: u32,
    #[arg(long)]
    pub seed: u64,
    /// The life ends after this many bytes of bodies.
    #[arg(long)]
    pub bytes: u64,
}

fn flush(arguments: &Arguments, random: &mut StdRng) -> Flush {
    let interval = if random.random_bool(0.5) {
        NEVER
    } else {
        Duration::from_millis(random.random_range(1..100))
    };
    match (arguments.mode, arguments.fault) {
        (Mode::Sync, Fault::AcknowledgedEarly) => Flush::Async { interval: NEVER },
        (Mode::Sync, _) => Flush::Sync,
        (Mode::Async, _) => Flush::Async { interval },
    }
}

/// Opens the store with settings that differ from life to life.
fn open(arguments: &Arguments, random: &mut StdRng) -> Result<Store> {
    let flush = flush(arguments, random);
    let preheat = match random.random_range(0..3) {
        0 => Preheat::Off,
        1 => Preheat::Segment,
        _ => Preheat::Window { bytes: 1 << 20 },
    };
    let writer = match random.random_bool(0.5) {
        true => WriterKind::Mapped,
        false => WriterKind::Staged,
    };
    let retention = Retention {
        age: None,
        size: Some(KEPT),
        disk_refuse: 1.0,
        interval: Duration::from_millis(20),
        ..Default::default()
    };
    let options = Options::new(&arguments.store)
        .segment_size(SEGMENT)
        .flush(flush)
        .preheat(preheat)
        .writer(writer)
        .retention(retention);
    options.open().context("opening the store")
}

/// One life.
pub fn run(arguments: &Arguments) -> Result<()> {
    crate::process::die_with_parent()?;
    let without = arguments
        .without
        .as_deref()
        .map(without::find)
        .transpose()?;
    let _watch = without.map(without::leave_out);
    let mut random = StdRng::seed_from_u64(arguments.seed ^ u64::from(arguments.life));
    let store = open(arguments, &mut random)?;
    let life = Life {
        arguments,
        store,
        notes: Notebook::open(&arguments.notes).context("opening the notes")?,
        appended: AtomicU64::new(0),
        topics: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    // What opening found is durable, whatever it was before.
    life.note_durable()?;
    life.create_topic(0)?;
    let killed = random.random_bool(0.5);
    life.run(killed)?;
    life.store.close().context("closing the store")?;
    life.note_durable()
}

struct Life<'a> {
    arguments: &'a Arguments,
    store: Store,
    notes: Notebook,
    /// Bytes of bodies so far.
    appended: AtomicU64,
    /// Bit `n`: topic `n` is there.
    topics: AtomicU64,
    over: AtomicBool,
}

impl Life<'_> {
    fn run(&self, killed: bool) -> Result<()> {
        thread::scope(|scope| {
            for appender in 0..APPENDERS {
                scope.spawn(move || end_on_failure(self.append(appender)));
            }
            scope.spawn(|| end_on_failure(self.flush_now_and_then()));
            scope.spawn(|| end_on_failure(self.press()));
            scope.spawn(|| end_on_failure(self.watch()));
            end_on_failure(self.create_topic(self.arguments.life));
            if killed {
                while !self.over() {
                    thread::sleep(PAUSE);
                }
                crate::process::kill_self()?;
            }
            Ok(())
        })
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn random(&self, thread: u32) -> StdRng {
        let own = u64::from(self.arguments.life * WRITERS_PER_LIFE + thread);
        StdRng::seed_from_u64(self.arguments.seed ^ own << 32)
    }

    fn create_topic(&self, topic: u32) -> Result<()> {
        let queues = if topic == 0 { QUEUES } else { 1 };
        let options = TopicOptions {
            queues,
            ..Default::default()
        };
        self.store.create_topic(&topic_name(topic), options)?;
        self.topics.fetch_or(1 << topic, Ordering::Relaxed);
        Ok(self.notes.add(&[Note::Topic { topic }])?)
    }

    fn append(&self, appender: u32) -> Result<()> {
        let writer = self.arguments.life * WRITERS_PER_LIFE + appender;
        let mut random = self.random(appender);
        let mut number = 0;
        while !self.over() {
            let own = self.topics.load(Ordering::Relaxed) >> self.arguments.life & 1 == 1;
            let (topic, queue) = if own && random.random_bool(0.2) {
                (self.arguments.life, 0)
            } else {
                (0, random.random_range(0..QUEUES))
            };
            let count = if random.random_bool(0.2) {
                random.random_range(1..=BATCH)
            } else {
                1
            };
            let target = Target {
                topic,
                queue,
                writer,
            };
            self.append_batch(target, number..number + count)?;
            number += count;
        }
        Ok(())
    }

    /// Appends a batch, waits until it may be acknowledged, and notes it.
    fn append_batch(&self, target: Target, numbers: std::ops::Range<u32>) -> Result<()> {
        let bodies: Vec<Vec<u8>> = numbers
            .clone()
            .map(|number| body(self.arguments.seed, target.writer, number))
            .collect();
        let messages: Vec<Message<'_>> = numbers
            .clone()
            .zip(&bodies)
            .map(|(number, body)| Message::new(body).id(&id(target.writer, number)))
            .collect();
        let submitted =
            self.store
                .submit(&topic_name(target.topic), Some(target.queue), &messages)?;
        self.store.wait_committed(submitted.end())?;
        let mut notes = target.notes(numbers, &submitted);
        if self.arguments.mode == Mode::Sync {
            let position = submitted.end();
            notes.push(Note::Promised { position });
        }
        self.notes.add(&notes)?;
        let bytes: u64 = bodies.iter().map(|body| body.len() as u64).sum();
        if self.appended.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.arguments.bytes {
            self.over.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks for flushes of all there is, and keeps a group's progress.
    fn flush_now_and_then(&self) -> Result<()> {
        let mut random = self.random(APPENDERS);
        while !self.over() {
            thread::sleep(Duration::from_millis(random.random_range(5..60)));
            let queue = random.random_range(0..QUEUES);
            let offset = self.store.offsets(&topic_name(0), queue)?.end;
            self.store
                .set_progress(GROUP, &topic_name(0), queue, offset)?;
            let position = self.store.watermarks().committed;
            self.store.flush()?;
            self.note_promise(position)?;
            let progress = Note::Progress {
                topic: 0,
                queue,
                offset,
            };
            self.notes.add(&[progress])?;
        }
        Ok(())
    }

    /// Has the kernel write pages back in its own order, as it does when memory is short.
    fn press(&self) -> Result<()> {
        let mut random = self.random(APPENDERS + 1);
        while !self.over() {
            thread::sleep(Duration::from_millis(random.random_range(1..15)));
            let files = files(&self.arguments.store)?;
            if files.is_empty() {
                continue;
            }
            let path = &files[random.random_range(0..files.len())];
            // Retention may have removed it.
            let Ok(file) = File::open(path) else { continue };
            let pages = file.metadata()?.len() / 4096;
            let start = random.random_range(0..=pages) * 4096;
            fadvise(&file, start, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// Notes how far the store says it is durable.
    fn watch(&self) -> Result<()> {
        while !self.over() {
            self.note_durable()?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn note_durable(&self) -> Result<()> {
        self.note_promise(self.store.watermarks().durable)
    }

    fn note_promise(&self, position: u64) -> Result<()> {
        Ok(self.notes.add(&[Note::Promised { position }])?)
    }
}

/// Where an appender's next messages go.
#[derive(Debug, Clone, Copy)]
struct Target {
    topic: u32,
    queue: u32,
    writer: u32,
}

impl Target {
    /// Where each message went.
    fn notes(&self, numbers: std::ops::Range<u32>, submitted: &Submitted) -> Vec<Note> {
        let each = numbers.zip(&submitted.appended);
        each.map(|(number, appended)| {
            Note::Placed(Placed {
                position: appended.position,
                end: appended.end(),
                topic: self.topic,
                queue: self.queue,
                offset: appended.queue_offset,
                writer: self.writer,
                number,
            })
        })
        .collect()
    }
}

/// A thread that fails ends the process: the others would not notice.
fn end_on_failure(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("the load failed: {error:#}");
        std::process::exit(1);
    }
}

/// All files under `folder`.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
