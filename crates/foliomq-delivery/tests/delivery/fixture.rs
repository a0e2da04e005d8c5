//! A store with groups on it, in a folder of its own, with a clock that the test moves.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use event_listener::Listener as _;
use foliomq_delivery::{
    Delivery, DeliveryError, Filter, Groups, Options, Receive, Received, Timestamp,
};
use foliomq_store::{
    Flush, Message, Options as StoreOptions, Preheat, Retention, Store, StoredMessage, Topic,
    TopicOptions, TopicType,
};
use tempfile::TempDir;

pub const GROUP: &str = "g";
pub const TOPIC: &str = "t";
pub const INVISIBLE: Duration = Duration::from_secs(30);
/// Beyond any wait of these tests: passed only when something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Fixture {
    pub dir: TempDir,
    pub store: Store,
    pub groups: Groups,
    pub now: Timestamp,
    options: Options,
}

impl Fixture {
    /// A topic of `queues` queues.
    pub fn new(queues: u32) -> Self {
        Self::with(queues, Options::default())
    }

    pub fn with(queues: u32, options: Options) -> Self {
        Self::within(tempfile::tempdir().unwrap(), queues, options)
    }

    pub fn within(dir: TempDir, queues: u32, options: Options) -> Self {
        let store = open_store(dir.path());
        store
            .create_topic(
                TOPIC,
                TopicOptions {
                    queues,
                    kind: TopicType::Any,
                },
            )
            .unwrap();
        let groups = Groups::open(store.clone(), options.clone()).unwrap();
        Self {
            dir,
            store,
            groups,
            now: 1_790_000_000_000,
            options,
        }
    }

    /// The same after a kill at this moment: what is in the files now, opened anew.
    pub fn after_kill(self) -> Self {
        let beside = self.dir.path().parent().unwrap();
        let dir = tempfile::tempdir_in(beside).unwrap();
        copy(self.dir.path(), dir.path());
        Self::open(dir, self.options.clone(), self.now)
    }

    /// The same after a clean stop.
    pub fn after_close(self) -> Self {
        self.groups.close().unwrap();
        self.store.close().unwrap();
        let Self {
            dir,
            store,
            groups,
            now,
            options,
        } = self;
        drop((groups, store));
        Self::open(dir, options, now)
    }

    pub fn open(dir: TempDir, options: Options, now: Timestamp) -> Self {
        Self::on(open_store(dir.path()), dir, options, now)
    }

    fn on(store: Store, dir: TempDir, options: Options, now: Timestamp) -> Self {
        let groups = Groups::open(store.clone(), options.clone()).unwrap();
        Self {
            dir,
            store,
            groups,
            now,
            options,
        }
    }

    /// The same after a clean stop, with a store that takes bodies of at most `limit` bytes.
    pub fn after_close_with_max_body(self, limit: usize) -> Self {
        self.groups.close().unwrap();
        self.store.close().unwrap();
        let Self {
            dir,
            store,
            groups,
            now,
            options,
        } = self;
        drop((groups, store));
        let mut store_options = store_options(dir.path());
        store_options.max_body = limit;
        Self::on(store_options.open().unwrap(), dir, options, now)
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time.as_millis() as u64;
    }

    /// Appends a message and waits until it can be read.
    pub fn append(&self, queue: u32, message: &Message<'_>) -> u64 {
        let offset = self
            .store
            .append_to(TOPIC, queue, message)
            .unwrap()
            .queue_offset;
        self.wait_for(TOPIC, queue, offset + 1);
        offset
    }

    pub fn append_bodies(&self, queue: u32, bodies: &[&str]) {
        for body in bodies {
            self.append(queue, &Message::new(body.as_bytes()));
        }
    }

    pub fn wait_for(&self, topic: &str, queue: u32, end: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listener = self.store.listen(topic).unwrap();
            if self.store.offsets(topic, queue).unwrap().end >= end {
                return;
            }
            assert!(
                listener.wait_deadline(deadline).is_some(),
                "{topic}/{queue} does not reach {end}"
            );
        }
    }

    /// Retention takes all that the topic holds.
    pub fn empty(&self) {
        let keep = |bytes| {
            let change = |topic: &mut Topic| topic.settings.keep_bytes = bytes;
            self.store.update_topic(TOPIC, change).unwrap().queues
        };
        let queues = keep(Some(1));
        let is_empty = |queue| self.store.offsets(TOPIC, queue).unwrap().is_empty();
        let deadline = Instant::now() + PATIENCE;
        while !(0..queues).all(is_empty) {
            assert!(Instant::now() < deadline, "retention does nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
        keep(None);
    }

    pub fn try_receive(
        &self,
        filter: &Filter,
        most: usize,
        invisible: Duration,
        auto_renew: bool,
    ) -> Result<Received, DeliveryError> {
        let request = Receive {
            group: GROUP,
            topic: TOPIC,
            filter,
            most,
            invisible,
            auto_renew,
        };
        self.groups.receive(&request, self.now)
    }

    pub fn receive(&self, most: usize) -> Vec<Delivery> {
        self.try_receive(&Filter::All, most, INVISIBLE, false)
            .unwrap()
            .messages
    }

    /// One message; there must be one.
    pub fn receive_one(&self) -> Delivery {
        self.receive(1).pop().expect("nothing to deliver")
    }

    pub fn receive_renewed(&self) -> Delivery {
        self.try_receive(&Filter::All, 1, INVISIBLE, true)
            .unwrap()
            .messages
            .pop()
            .expect("nothing to deliver")
    }

    pub fn receive_tags(&self, expression: &str, most: usize) -> Vec<Delivery> {
        let filter = Filter::tags(expression).unwrap();
        self.try_receive(&filter, most, INVISIBLE, false)
            .unwrap()
            .messages
    }

    pub fn ack(&self, handle: &str) -> Result<(), DeliveryError> {
        self.groups.ack(GROUP, TOPIC, handle, self.now)
    }

    pub fn ack_all(&self, handles: &[&String]) -> Vec<Result<(), DeliveryError>> {
        self.groups.ack_all(GROUP, TOPIC, handles, self.now)
    }

    pub fn change(&self, handle: &str, invisible: Duration) -> Result<String, DeliveryError> {
        self.groups
            .change_invisible(GROUP, TOPIC, handle, invisible, self.now)
    }

    pub fn bury(&self, handle: &str) -> Result<(), DeliveryError> {
        self.groups.dead_letter(GROUP, TOPIC, handle, self.now)
    }

    /// The dead letters of the group. `count` must be there, soon.
    pub fn dead_letters(&self, count: u64) -> Vec<StoredMessage> {
        let topic = format!("%DLQ%{GROUP}");
        if self.store.topic(&topic).is_none() {
            assert_eq!(count, 0, "no dead letters");
            return Vec::new();
        }
        self.wait_for(&topic, 0, count);
        let messages = self
            .store
            .read_many(&topic, 0, 0, count as usize + 10)
            .unwrap();
        assert_eq!(messages.len() as u64, count);
        messages
    }
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| std::str::from_utf8(delivery.message.body()).unwrap())
        .collect()
}

pub fn is_invalid<T: std::fmt::Debug>(result: &Result<T, DeliveryError>) -> bool {
    matches!(result, Err(DeliveryError::InvalidHandle { .. }))
}

fn open_store(dir: &Path) -> Store {
    store_options(dir).open().unwrap()
}

fn store_options(dir: &Path) -> StoreOptions {
    let flush = Flush::Async {
        interval: Duration::from_millis(50),
    };
    StoreOptions::new(dir)
        .segment_size(8 << 20)
        .preheat(Preheat::Off)
        .flush(flush)
        .retention(Retention {
            interval: Duration::from_millis(50),
            ..Retention::default()
        })
}

/// Copies a folder as it is at one moment, while threads write to it: until nothing changed meanwhile.
pub fn copy(from: &Path, to: &Path) {
    while !matches!(
        (copy_files(from, to), is_copy(from, to)),
        (Ok(()), Ok(true))
    ) {
        std::fs::remove_dir_all(to).unwrap();
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            let target = File::create(target)?;
            let size = for_each_block(&entry.path(), |offset, block| {
                target.write_all_at(block, offset)
            })?;
            target.set_len(size)?;
        }
    }
    Ok(())
}

fn is_copy(from: &Path, to: &Path) -> io::Result<bool> {
    let count = |dir| std::fs::read_dir(dir).map(Iterator::count);
    let mut same = count(from)? == count(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            same &= is_copy(&path, &copy)?;
        } else {
            same &= content(&path)? == content(&copy)?;
        }
    }
    Ok(same)
}

/// A hash over what is not zero, and the size.
fn content(path: &Path) -> io::Result<(u64, u64)> {
    let mut hash = DefaultHasher::new();
    let size = for_each_block(path, |offset, block| {
        (offset, block).hash(&mut hash);
        Ok(())
    })?;
    Ok((hash.finish(), size))
}

/// Calls `take` with the blocks that are not zero, so that preallocated files cost little; returns the size.
fn for_each_block(
    path: &Path,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    const BLOCK: usize = 1 << 16;
    static ZERO: [u8; BLOCK] = [0; BLOCK];
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    for offset in (0..size).step_by(BLOCK) {
        let part = &mut block[..(size - offset).min(BLOCK as u64) as usize];
        file.read_exact_at(part, offset)?;
        if part[..] != ZERO[..part.len()] {
            take(offset, part)?;
        }
    }
    Ok(size)
}
