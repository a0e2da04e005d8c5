//! Lives of one store, each on what the one before has left, and the images of power cuts in each.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use foliomq_segment::disk::Flush;
use foliomq_store::Store;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::consumer::Consumer;
use crate::device::{Behaviour, Cut, Device};
use crate::episode::Episode;
use crate::history::{Contents, History, Promise, check_appends};
use crate::image::Image;
use crate::mode::Mode;

/// The share of a life's operations before which a moment is kept.
const KEPT: f64 = 0.2;
/// Moments of one life that are checked, besides one before each kind of operation.
const CHECKED: usize = 20;
/// Images of one moment.
const IMAGES: usize = 4;
/// One image in so many is cut again while it recovers.
const CUT_AGAIN: f64 = 0.1;
/// In one image in so many a group receives all that is left.
const CONSUMED: f64 = 0.2;
/// The moments of one recovery that are cut again.
const MOMENTS: usize = 4;
/// One image in so many is looked at by `verify` after all.
const VERIFIED: f64 = 0.05;

/// The folder of the indexes, which is removed when they are made anew.
pub(crate) const INDEX: &str = "consumequeue";

/// What images showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Images of a power cut.
    pub power: u64,
    /// Images of a power cut during recovery.
    pub again: u64,
    /// Images of a process killed.
    pub kill: u64,
    /// Of all these, how many made their indexes anew though these were flushed: it takes time, and loses nothing.
    pub anew: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.power += other.power;
        self.again += other.again;
        self.kill += other.kill;
        self.anew += other.anew;
    }
}

/// How a life begins.
enum Start {
    /// In an empty folder.
    Fresh,
    /// After a clean stop: what the device holds is not all that the kernel has.
    Stopped(Cut),
    /// After a kill: the same.
    Killed(Cut),
    /// After a power cut: the image is all there is.
    Cut(Image),
}

/// A store and its history.
pub(crate) struct Chain {
    mode: Mode,
    lie: Option<Flush>,
    random: StdRng,
    folder: TempDir,
    lives: u64,
    history: History,
    pub(crate) tally: Tally,
    /// How often the flush that is left out was called.
    pub(crate) lies: u64,
}

impl Chain {
    pub(crate) fn new(mode: Mode, lie: Option<Flush>, seed: u64) -> io::Result<Self> {
        Ok(Self {
            mode,
            lie,
            random: StdRng::seed_from_u64(seed),
            folder: in_memory()?,
            lives: 0,
            history: History {
                promises: vec![Default::default()],
                ..History::default()
            },
            tally: Tally::default(),
            lies: 0,
        })
    }

    /// A few lives, the first on an empty folder. The first image that breaks a promise ends it.
    pub(crate) fn run(&mut self, lives: usize) -> Result<(), String> {
        let mut start = Start::Fresh;
        for _ in 0..lives {
            let (cuts, clean) = self.live(start)?;
            for cut in self.choose(&cuts) {
                self.check_cut(cut)?;
            }
            start = self.next(cuts, clean)?;
        }
        Ok(())
    }

    /// Some of the moments, with one before each kind of operation, and the last.
    fn choose<'c>(&mut self, cuts: &'c [Cut]) -> Vec<&'c Cut> {
        let mut names = BTreeSet::new();
        let mut left: Vec<&Cut> = cuts.iter().rev().collect();
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for n in (0..left.len()).rev() {
            let cut = left.swap_remove(self.random.random_range(0..=n));
            match names.insert(cut.before) {
                true => chosen.push(cut),
                false => rest.push(cut),
            }
        }
        rest.truncate(CHECKED);
        chosen.append(&mut rest);
        chosen.extend(cuts.last());
        chosen
    }

    fn live(&mut self, start: Start) -> Result<(Vec<Cut>, bool), String> {
        self.lives += 1;
        let root = self.folder.path().join(format!("life{}", self.lives));
        let dir = root.join("store");
        let behaviour = Behaviour {
            share: KEPT,
            lie: self.lie,
            seed: self.random.random(),
            fault: None,
        };
        let device = self.begin(&root, start, behaviour).map_err(text)?;
        let history = std::mem::take(&mut self.history);
        let (life, before) = (self.lives, inode(&dir.join(INDEX)));
        let mut episode = Episode::begin(self.mode, &dir, &device, history, &mut self.random, life)
            .map_err(|error| format!("does not open: {error}"))?;
        if before != inode(&dir.join(INDEX)) {
            // Until they are flushed again they may be made anew each time.
            let flushed = &mut episode.history.promises[0].indexes;
            self.tally.anew += u64::from(std::mem::take(flushed));
        }
        episode.settle()?;
        episode
            .run()
            .map_err(|error| format!("cannot be used: {error}"))?;
        let clean = episode.random.random_bool(0.5);
        let (history, cuts) = episode
            .end(clean)
            .map_err(|error| format!("does not end well: {error}"))?;
        self.history = history;
        self.lies += device.lies();
        drop(device);
        fs::remove_dir_all(&root).map_err(text)?;
        Ok((cuts, clean))
    }

    fn begin(&mut self, root: &Path, start: Start, behaviour: Behaviour) -> io::Result<Device> {
        fs::create_dir(root)?;
        match start {
            Start::Fresh => Device::new(root, behaviour),
            Start::Cut(image) => {
                image.write(root)?;
                Device::new(root, behaviour)
            }
            Start::Killed(cut) | Start::Stopped(cut) => {
                cut.kill(&mut self.random).write(root)?;
                Device::after_kill(root, behaviour, &cut)
            }
        }
    }

    /// How the next life begins, and what is promised then.
    fn next(&mut self, mut cuts: Vec<Cut>, clean: bool) -> Result<Start, String> {
        if cuts.is_empty() {
            return Err("no moment was kept".to_owned());
        }
        if clean && self.random.random_bool(0.3) {
            let cut = cuts.remove(cuts.len() - 1);
            self.history.promises = vec![self.promised(&cut)];
            return Ok(Start::Stopped(cut));
        }
        // What is rare counts as much as what is frequent.
        let names: BTreeSet<&str> = cuts.iter().map(|cut| cut.before).collect();
        let n = self.random.random_range(0..names.len());
        let name = names.into_iter().nth(n).unwrap_or_default();
        cuts.retain(|cut| cut.before == name);
        let cut = cuts.remove(self.random.random_range(0..cuts.len()));
        self.history.promises = vec![self.promised(&cut)];
        if self.random.random_bool(0.4) {
            return Ok(Start::Killed(cut));
        }
        let promise = &mut self.history.promises[0];
        promise.appended = promise.messages;
        Ok(Start::Cut(cut.power(&mut self.random)))
    }

    fn promised(&self, cut: &Cut) -> Promise {
        self.history.promises[cut.moment as usize].clone()
    }

    fn check_cut(&mut self, cut: &Cut) -> Result<(), String> {
        for _ in 0..IMAGES {
            let image = cut.power(&mut self.random);
            self.tally.power += 1;
            let dir = self.image(&image)?;
            let found = self.check_image(&dir, cut)?;
            fs::remove_dir_all(&dir).map_err(text)?;
            if self.random.random_bool(CUT_AGAIN) {
                self.check_again(&image, cut, &found)?;
            }
        }
        if self.random.random_bool(0.3) {
            self.tally.kill += 1;
            let image = cut.kill(&mut self.random);
            let dir = self.image(&image)?;
            let found = self.check_image(&dir, cut)?;
            if self.mode.survives_kill() {
                self.history.check_appended(&found, cut.moment)?;
            }
            fs::remove_dir_all(&dir).map_err(text)?;
        }
        Ok(())
    }

    fn image(&self, image: &Image) -> Result<PathBuf, String> {
        let dir = self.folder.path().join("image");
        image.write(&dir).map_err(text)?;
        Ok(dir)
    }

    /// Opens the store in an image, which need not make its indexes anew if they were flushed.
    fn open(&mut self, dir: &Path, promise: &Promise) -> Result<Store, String> {
        let dir = dir.join("store");
        let mut options = self.mode.options(&dir, &mut self.random);
        // Nothing is dropped while it is looked at.
        options.retention.size = None;
        let before = inode(&dir.join(INDEX));
        let store = options
            .open()
            .map_err(|error| format!("does not open: {error}"))?;
        if promise.indexes && before != inode(&dir.join(INDEX)) {
            // Without a fault that is planted it is counted: see `Tally::anew`.
            if self.lie.is_some() {
                return Err("lost: the indexes, which were made anew".to_owned());
            }
            self.tally.anew += 1;
        }
        Ok(store)
    }

    /// Opens an image: everything promised is there, and the store goes on.
    fn check_image(&mut self, dir: &Path, cut: &Cut) -> Result<Contents, String> {
        let store = self.open(dir, &self.promised(cut))?;
        let found = Contents::of(&store).map_err(|error| format!("cannot be read: {error}"))?;
        self.history.check(&found, cut.moment)?;
        self.check_ids(&store, &found)?;
        if self.random.random_bool(CONSUMED) {
            self.check_consumer(&store, &found, cut)?;
        }
        check_appends(&store, &found)?;
        store
            .close()
            .map_err(|error| format!("does not close: {error}"))?;
        drop(store);
        if self.random.random_bool(VERIFIED) {
            let report = foliomq_store::verify(&dir.join("store"))
                .map_err(|error| format!("cannot be verified: {error}"))?;
            if !report.sound() {
                return Err(format!("verify finds: {:?}", report.findings));
            }
        }
        Ok(found)
    }

    /// What a group has not finished comes to it.
    fn check_consumer(&self, store: &Store, found: &Contents, cut: &Cut) -> Result<(), String> {
        if !found.topic {
            return Ok(());
        }
        let failed = |error| format!("the groups do not open: {error}");
        let consumer = Consumer::open(store, self.lives + 1).map_err(failed)?;
        let handle = self.promised(cut).handle;
        consumer.check(found, &self.history.acked, handle.as_deref())?;
        consumer.close().map_err(text)
    }

    /// Some of the messages are found by their ids.
    fn check_ids(&mut self, store: &Store, found: &Contents) -> Result<(), String> {
        let total = found.total();
        for _ in 0..total.min(2) {
            let n = self.random.random_range(0..total);
            let sent = &self.history.sent[n];
            let before = &self.history.sent[..n];
            let offset = before
                .iter()
                .filter(|other| other.queue == sent.queue)
                .count() as u64;
            if offset < found.offsets[sent.queue as usize].start {
                continue;
            }
            let id = History::id(n);
            let messages = store
                .find_by_id(crate::history::TOPIC, &id, 1)
                .map_err(|error| format!("message {n} is not found by its id: {error}"))?;
            if messages
                .first()
                .is_none_or(|message| message.body() != sent.body)
            {
                return Err(format!("the index of ids does not find message {n}"));
            }
        }
        Ok(())
    }

    /// Cuts the power while an image recovers: the next start finds the same.
    fn check_again(&mut self, image: &Image, cut: &Cut, found: &Contents) -> Result<(), String> {
        let promise = self.promised(cut);
        let dir = self.image(image)?;
        let behaviour = Behaviour {
            share: 0.3,
            seed: self.random.random(),
            lie: self.lie,
            fault: None,
        };
        let device = Device::new(&dir, behaviour).map_err(text)?;
        let store = self.open(&dir, &promise)?;
        let mut cuts = device.take_cuts();
        cuts.push(device.cut().map_err(text)?);
        while cuts.len() > MOMENTS {
            cuts.swap_remove(self.random.random_range(0..cuts.len()));
        }
        device.unplug();
        drop(store);
        drop(device);
        fs::remove_dir_all(&dir).map_err(text)?;
        for cut in cuts {
            self.tally.again += 1;
            let image = cut.power(&mut self.random);
            let dir = self.image(&image)?;
            let again = Contents::of(&self.open(&dir, &promise)?)
                .map_err(|error| format!("cannot be read after a second crash: {error}"))?;
            if again != *found {
                return Err(format!(
                    "another start after a crash in recovery finds {:?}, not {:?}",
                    again.offsets, found.offsets
                ));
            }
            fs::remove_dir_all(&dir).map_err(text)?;
        }
        Ok(())
    }

    /// Leaves the folder, with the image that broke a promise, to be looked at.
    pub(crate) fn keep_folder(self) -> PathBuf {
        self.folder.keep()
    }
}

/// The number of a file or folder, if it is there.
pub(crate) fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A folder in memory where that is to be had.
pub(crate) fn in_memory() -> io::Result<TempDir> {
    let shared = Path::new("/dev/shm");
    match shared.is_dir() {
        true => TempDir::with_prefix_in("foliomq-crash", shared),
        false => TempDir::with_prefix("foliomq-crash"),
    }
}
