//! Single bits are flipped in every file of a store: each is noticed, or does no harm, and none is served.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use foliomq_commitlog::{self as commitlog, ReadMode};
use foliomq_store::{Entry, Message, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::chain::{in_memory, text};
use crate::consumer::Consumer;
use crate::history::{Contents, GROUP, QUEUES, TOPIC, make_topic};
use crate::mode::{MODES, SEGMENT};

mod index;
mod read;

use index::Indexes;
use read::Reads;

/// What became of the flips in one kind of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flips {
    /// All of them.
    pub flips: u64,
    /// Refused, with the position.
    pub refused: u64,
    /// Made good: from the other slot, or from the log.
    pub repaired: u64,
    /// In bytes that nothing reads: behind a filler, or between two slots.
    pub unused: u64,
    /// An index led to other messages, or to fewer: `verify` says so, nothing else does.
    pub verified: u64,
    /// The same, and not even `verify` says so.
    pub served: u64,
}

/// What one flip led to.
enum Outcome {
    Refused,
    Repaired,
    Unused,
    Verified,
    Served(String),
}

/// Flips bits in files of each kind: `many` in each, or every bit of a small one; with `few` flips in files of the indexes
/// the whole store is opened, too. Returns by kind what became of them; an error says what was served.
pub fn flip(many: u64, few: u64, seed: u64) -> Result<Vec<(&'static str, Flips)>, String> {
    let folder = in_memory().map_err(text)?;
    let dir = folder.path().join("store");
    let random = StdRng::seed_from_u64(seed);
    let mut sweep = Sweep {
        dir,
        scratch: folder.path().join("copy"),
        random,
        messages: 0,
    };
    sweep.make_store()?;
    let mut kinds = Vec::new();
    for (name, log, flips) in [
        ("messages", "commitlog", many),
        ("metadata", "meta", many / 4),
        ("delivery journal", "delivery", many / 4),
    ] {
        kinds.push((name, sweep.log(log, flips)?));
    }
    let mut read = Flips::default();
    for mode in [ReadMode::Mapped, ReadMode::Buffered] {
        read.add(sweep.read(mode, many / 2)?);
    }
    kinds.push(("messages, read", read));
    let mut checkpoints = Flips::default();
    for log in ["commitlog", "meta", "delivery"] {
        checkpoints.add(sweep.log_checkpoint(log)?);
    }
    kinds.push(("checkpoints of logs", checkpoints));
    let indexes = Indexes::of(&sweep.dir, folder.path().join("indexes"), sweep.messages)?;
    for (name, under, flips) in [
        ("checkpoint of the indexes", "index-checkpoint", many),
        ("directory of extents", "consumequeue/extents", many),
        ("consume queues", "consumequeue/pool-000000", 2 * many),
        ("key index", "keys", many),
    ] {
        let paths = indexes.paths(under);
        let (flips, few) = (
            flips / paths.len().max(1) as u64,
            few / paths.len().max(1) as u64,
        );
        let mut counted = Flips::default();
        for path in paths {
            counted.add(indexes.flip(&path, flips, &mut sweep.random)?);
            counted.add(sweep.index(&path, few)?);
        }
        kinds.push((name, counted));
    }
    Ok(kinds)
}

impl Flips {
    fn count(&mut self, outcome: Outcome) -> Result<(), String> {
        self.flips += 1;
        match outcome {
            Outcome::Refused => self.refused += 1,
            Outcome::Repaired => self.repaired += 1,
            Outcome::Unused => self.unused += 1,
            Outcome::Verified => self.verified += 1,
            Outcome::Served(_) => self.served += 1,
        }
        match outcome {
            Outcome::Served(what) => Err(what),
            _ => Ok(()),
        }
    }

    fn add(&mut self, other: Self) {
        self.flips += other.flips;
        self.refused += other.refused;
        self.repaired += other.repaired;
        self.unused += other.unused;
        self.verified += other.verified;
        self.served += other.served;
    }
}

struct Sweep {
    dir: PathBuf,
    /// Where a store is opened, since that changes it.
    scratch: PathBuf,
    random: StdRng,
    /// In the store.
    messages: u64,
}

impl Sweep {
    /// A store with some of everything, closed.
    fn make_store(&mut self) -> Result<(), String> {
        let store = self.open(&self.dir.clone())?;
        make_topic(&store).map_err(text)?;
        let consumer = Consumer::open(&store, 0).map_err(text)?;
        let mut n = 0;
        while store.watermarks().appended < 2 * SEGMENT + SEGMENT / 2 {
            let body: Vec<u8> = (0..self.random.random_range(50..900))
                .map(|_| self.random.random())
                .collect();
            let (id, tag) = (format!("m{n}"), format!("tag{}", n % 5));
            let message = Message::new(&body).id(&id).tag(&tag).key("k");
            store.append_to(TOPIC, n % QUEUES, &message).map_err(text)?;
            n += 1;
            if n % 10 == 0 {
                store
                    .set_progress(GROUP, TOPIC, 0, u64::from(n))
                    .map_err(text)?;
                for received in consumer.receive(2).map_err(text)? {
                    consumer.ack(&received.handle).map_err(text)?;
                }
            }
        }
        self.messages = u64::from(n);
        consumer.close().map_err(text)?;
        store.close().map_err(text)
    }

    fn open(&mut self, dir: &Path) -> Result<Store, String> {
        let mut options = MODES[0].options(dir, &mut self.random);
        options.retention.size = None;
        options.open().map_err(text)
    }

    /// Flips bits of a log's records, fillers included, and lets the log be verified.
    fn log(&mut self, name: &str, flips: u64) -> Result<Flips, String> {
        let dir = self.dir.join(name);
        let survey = commitlog::verify(&dir).map_err(text)?;
        let end = survey.end();
        let mut counted = Flips::default();
        for _ in 0..flips {
            let bit = self.random.random_range(0..end * 8);
            let Some(segment) = survey
                .segments
                .iter()
                .find(|segment| (segment.base..segment.base + segment.size).contains(&(bit / 8)))
            else {
                continue;
            };
            let file = Flip::new(&segment.path, bit - segment.base * 8).map_err(text)?;
            let found = commitlog::verify(&dir).map_err(text)?;
            let outcome = match found.damage.first() {
                Some(_) => Outcome::Refused,
                None if is_filling(&dir, bit / 8)? => Outcome::Unused,
                None => Outcome::Served(format!("bit {bit} of {name} is not covered")),
            };
            file.undo().map_err(text)?;
            counted.count(outcome)?;
        }
        Ok(counted)
    }

    /// Flips bits of the messages of an open log, and reads them.
    fn read(&mut self, mode: ReadMode, flips: u64) -> Result<Flips, String> {
        let dir = self.dir.join("commitlog");
        let reads = Reads::of(&dir, self.scratch.clone(), mode)?;
        let counted = reads.flip(flips, &mut self.random)?;
        reads.close()?;
        Ok(counted)
    }

    /// Flips every bit of a log's checkpoint, slots and what is between them.
    fn log_checkpoint(&mut self, name: &str) -> Result<Flips, String> {
        let dir = self.dir.join(name);
        let path = dir.join("checkpoint");
        let load = || commitlog::Checkpoint::load(&dir).ok().flatten();
        let sound = load().ok_or("no checkpoint")?;
        let mut older = None;
        let mut counted = Flips::default();
        let len = fs::metadata(&path).map_err(text)?.len();
        for bit in 0..len * 8 {
            // What is between the slots is zero, and never read: a few of these bits stand for all.
            let in_slot = bit / 8 % 4096 < 64;
            if !in_slot && self.random.random_range(0..100) > 0 {
                continue;
            }
            let file = Flip::new(&path, bit).map_err(text)?;
            let loaded = load();
            file.undo().map_err(text)?;
            let outcome = match loaded {
                Some(loaded) if loaded == sound && in_slot => Outcome::Repaired,
                Some(loaded) if loaded == sound => Outcome::Unused,
                None => Outcome::Refused,
                // Any flip in the newer slot leaves the same older one.
                Some(loaded) if *older.get_or_insert(loaded) == loaded => Outcome::Repaired,
                Some(loaded) => Outcome::Served(format!("bit {bit}: {loaded:?}")),
            };
            counted.count(outcome)?;
        }
        Ok(counted)
    }

    /// Flips bits of an index file, and opens a copy of the store: it says what it said before.
    fn index(&mut self, path: &Path, flips: u64) -> Result<Flips, String> {
        let file = self.dir.join(path);
        let bytes = fs::read(&file).map_err(text)?;
        let used = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        let expected = self.answers(None)?;
        let mut counted = Flips::default();
        for n in 0..flips.min(used as u64 * 8) {
            let bit = match flips >= used as u64 * 8 {
                true => n,
                false => self.random.random_range(0..used as u64 * 8),
            };
            let unused = bytes[bit as usize / 8 / 64 * 64..][..1] == [0] && is_gap(path, bit / 8);
            let outcome = match self.answers(Some((path, bit))) {
                Err(_) => Outcome::Refused,
                Ok(answers) if answers == expected && unused => Outcome::Unused,
                Ok(answers) if answers == expected => Outcome::Repaired,
                Ok(_) if self.verify_finds(path, bit)? => Outcome::Verified,
                Ok(_) => Outcome::Served(format!("bit {bit} of {}", path.display())),
            };
            counted.count(outcome)?;
        }
        Ok(counted)
    }

    /// Whether `verify` finds a flipped bit of an index.
    fn verify_finds(&self, path: &Path, bit: u64) -> Result<bool, String> {
        copy(&self.dir, &self.scratch).map_err(text)?;
        Flip::new(&self.scratch.join(path), bit).map_err(text)?;
        let report = foliomq_store::verify(&self.scratch).map_err(text)?;
        fs::remove_dir_all(&self.scratch).map_err(text)?;
        Ok(!report.sound())
    }

    /// What a copy of the store says, with one bit flipped.
    fn answers(&mut self, flip: Option<(&Path, u64)>) -> Result<Answers, String> {
        let scratch = self.scratch.clone();
        copy(&self.dir, &scratch).map_err(text)?;
        if let Some((path, bit)) = flip {
            Flip::new(&scratch.join(path), bit).map_err(text)?;
        }
        let answers = self.open(&scratch).and_then(|store| Answers::of(&store));
        fs::remove_dir_all(&scratch).map_err(text)?;
        answers
    }
}

/// What a store says of all that is in it.
#[derive(PartialEq)]
struct Answers {
    contents: Contents,
    entries: Vec<Entry>,
    /// By id: whether it is found.
    found: Vec<usize>,
}

impl Answers {
    fn of(store: &Store) -> Result<Self, String> {
        let contents = Contents::of(store).map_err(text)?;
        let mut entries = Vec::new();
        for queue in 0..QUEUES {
            // Those before a damaged one are handed out; the next call says so.
            let mut from = 0;
            loop {
                let read = store.entries(TOPIC, queue, from, usize::MAX, &mut entries);
                let read = read.map_err(text)?;
                if read.is_empty() {
                    break;
                }
                from = read.end;
            }
        }
        let mut found = Vec::new();
        for n in 0..contents.total() {
            let id = format!("m{n}");
            found.push(store.find_by_id(TOPIC, &id, 9).map_err(text)?.len());
        }
        Ok(Self {
            contents,
            entries,
            found,
        })
    }
}

/// A flipped bit.
struct Flip {
    file: File,
    at: u64,
    byte: u8,
}

impl Flip {
    fn new(path: &Path, bit: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, bit / 8)?;
        file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8)?;
        Ok(Self {
            file,
            at: bit / 8,
            byte: byte[0],
        })
    }

    fn undo(self) -> io::Result<()> {
        self.file.write_all_at(&[self.byte], self.at)
    }
}

/// Whether a position lies behind the header of a filler, in bytes that stand for nothing.
fn is_filling(dir: &Path, position: u64) -> Result<bool, String> {
    let survey = commitlog::inspect(dir).map_err(text)?;
    let Some(segment) = survey
        .segments
        .iter()
        .find(|segment| (segment.base..segment.base + segment.size).contains(&position))
    else {
        return Ok(false);
    };
    let bytes = fs::read(&segment.path).map_err(text)?;
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n])) as usize;
    let wanted = (position - segment.base) as usize;
    let mut at = 0;
    while at + 64 <= bytes.len() && bytes[at..at + 4] == *b"FOLI" {
        let filler = bytes[at + 5] == 3;
        let end = match word(at + 8) {
            0 => bytes.len(),
            size => at + size,
        };
        if (at..end).contains(&wanted) {
            return Ok(filler && wanted >= at + 64);
        }
        at = end;
    }
    Ok(true)
}

/// Whether a byte lies between the slots of the indexes' checkpoint.
fn is_gap(path: &Path, at: u64) -> bool {
    path == Path::new("index-checkpoint") && at % 4096 >= 24
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => copy_file(&entry.path(), &to)?,
        }
    }
    Ok(())
}

/// Without the zeros at the end, which are most of the file.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    let used = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let file = File::create(to)?;
    file.set_len(bytes.len() as u64)?;
    file.write_all_at(&bytes[..used], 0)
}
