//! A device under a folder: it watches what the store does to the disk, fails or lies when told to, and knows at any
//! moment what a power cut would leave.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use foliomq_segment::disk::{self, Flush, Operation, Verdict, Watch, Watcher};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::contents::Contents;
use crate::fault::Fault;
use crate::image::Image;
use crate::state::{Names, State};

/// The moments before the first so many operations of a name are always kept, if any are.
const ALWAYS_KEPT: u64 = 2;

/// What was on the device, and what was not yet, at one moment.
#[derive(Debug, Clone)]
pub struct Cut {
    state: State,
    /// What [`Device::promise`] said last before it.
    pub moment: u64,
    /// What came next: the name of an operation.
    pub before: &'static str,
}

impl Cut {
    /// What a power cut at this moment may leave.
    pub fn power(&self, random: &mut StdRng) -> Image {
        Image::after_power_cut(&self.state, random)
    }

    /// What the death of the process at this moment leaves.
    pub fn kill(&self, random: &mut StdRng) -> Image {
        Image::after_kill(&self.state, random)
    }
}

/// A flush under way: what there was when it began.
#[derive(Debug)]
enum Pending {
    File(u64, Contents, Range<u64>),
    /// And how many flushes of folders had begun.
    Folder(u64, Names, u64),
}

/// The device under one folder. It sees what goes through [`foliomq_segment::disk`] until it is dropped.
pub struct Device {
    inner: Arc<Inner>,
    _watch: Watch,
}

struct Inner {
    root: PathBuf,
    state: Mutex<State>,
    pending: Mutex<HashMap<ThreadId, Pending>>,
    /// Flushes of folders that have begun.
    flushes: AtomicU64,
    /// Nothing is seen any more.
    unplugged: AtomicBool,
    /// What has been promised so far, by the test's own count.
    moment: AtomicU64,
    /// A flush that is left out.
    lie: Option<Flush>,
    /// How often it was.
    lies: AtomicU64,
    fault: Option<Fault>,
    sampling: Mutex<Sampling>,
}

/// Which moments are kept.
struct Sampling {
    random: StdRng,
    /// The share of all operations before which one is kept.
    share: f64,
    /// How many operations of each name were seen: the first ones are always kept.
    seen: HashMap<&'static str, u64>,
    cuts: Vec<Cut>,
}

/// What a device does besides keeping bytes.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// The share of all operations before which a [`Cut`] is kept.
    pub share: f64,
    /// A flush that says it was done, and was not.
    pub lie: Option<Flush>,
    /// An operation that fails.
    pub fault: Option<Fault>,
    /// For what is chosen at random.
    pub seed: u64,
}

impl Behaviour {
    /// Nothing but a flush that is left out, if any.
    pub fn leaving_out(lie: Option<Flush>) -> Self {
        Self {
            lie,
            ..Self::default()
        }
    }

    /// The same, and every moment is kept.
    pub fn keeping_all(lie: Option<Flush>) -> Self {
        Self {
            share: 1.0,
            ..Self::leaving_out(lie)
        }
    }
}

impl Device {
    /// A device that holds all that is in `root`, a path without links.
    pub fn new(root: &Path, behaviour: Behaviour) -> io::Result<Self> {
        let state = State::durable(root)?;
        Ok(Self::with_state(root, behaviour, state))
    }

    /// A device under a folder made of a killed process's files: what that process had not flushed is still not.
    pub fn after_kill(root: &Path, behaviour: Behaviour, cut: &Cut) -> io::Result<Self> {
        let mut state = State::durable(root)?;
        state.undo_flushes(&cut.state);
        Ok(Self::with_state(root, behaviour, state))
    }

    fn with_state(root: &Path, behaviour: Behaviour, state: State) -> Self {
        let inner = Arc::new(Inner {
            root: root.to_path_buf(),
            state: Mutex::new(state),
            pending: Mutex::default(),
            flushes: AtomicU64::new(0),
            unplugged: AtomicBool::new(false),
            moment: AtomicU64::new(0),
            lie: behaviour.lie,
            lies: AtomicU64::new(0),
            fault: behaviour.fault,
            sampling: Mutex::new(Sampling {
                random: StdRng::seed_from_u64(behaviour.seed),
                share: behaviour.share,
                seen: HashMap::new(),
                cuts: Vec::new(),
            }),
        });
        let _watch = disk::watch(inner.clone());
        Self { inner, _watch }
    }

    /// From here on, by the test's own count, this much is promised.
    pub fn promise(&self, moment: u64) {
        self.inner.moment.fetch_max(moment, Ordering::SeqCst);
    }

    /// This moment.
    pub fn cut(&self) -> io::Result<Cut> {
        let moment = self.inner.moment.load(Ordering::SeqCst);
        let mut state = self.inner.state.lock();
        state.refresh(&self.inner.root)?;
        Ok(Cut {
            state: state.clone(),
            moment,
            before: "nothing",
        })
    }

    /// The moments kept so far.
    pub fn take_cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut self.inner.sampling.lock().cuts)
    }

    /// Sees nothing more, and lets everything go.
    pub fn unplug(&self) {
        self.inner.unplugged.store(true, Ordering::SeqCst);
    }

    /// How often the flush to be left out was.
    pub fn lies(&self) -> u64 {
        self.inner.lies.load(Ordering::SeqCst)
    }

    /// Whether the operation that was to fail has.
    pub fn has_failed(&self) -> bool {
        self.inner.fault.as_ref().is_some_and(Fault::has_struck)
    }
}

impl Inner {
    /// Takes in what has changed, keeps this moment if it is its turn, and notes what a flush finds.
    fn look(&self, operation: &Operation<'_>) -> io::Result<()> {
        let moment = self.moment.load(Ordering::SeqCst);
        let mut state = self.state.lock();
        state.refresh(&self.root)?;
        let before = operation.name();
        if self.sampling.lock().takes(before) {
            let state = state.clone();
            let cut = Cut {
                state,
                moment,
                before,
            };
            self.sampling.lock().cuts.push(cut);
        }
        let pending = match operation {
            Operation::Flush(_, file, range) => {
                let number = file.metadata()?.ino();
                Pending::File(number, state.written(number), range.clone())
            }
            Operation::FlushFolder(_, folder) => {
                let number = folder.metadata()?.ino();
                let names = state.folders.get(&number).map(|folder| folder.now.clone());
                // The lock of the state is held: names and count go together.
                let began = self.flushes.fetch_add(1, Ordering::SeqCst) + 1;
                Pending::Folder(number, names.unwrap_or_default(), began)
            }
            _ => return Ok(()),
        };
        self.pending.lock().insert(thread::current().id(), pending);
        Ok(())
    }

    /// What this thread's flush has found, once.
    fn pending(&self) -> Option<Pending> {
        self.pending.lock().remove(&thread::current().id())
    }

    fn lies_about(&self, operation: &Operation<'_>) -> bool {
        match operation {
            Operation::Flush(what, ..) | Operation::FlushFolder(what, _) => self.lie == Some(*what),
            _ => false,
        }
    }
}

impl Sampling {
    /// Whether to keep the moment before the operation of this name.
    fn takes(&mut self, name: &'static str) -> bool {
        let seen = self.seen.entry(name).or_default();
        *seen += 1;
        *seen <= ALWAYS_KEPT || self.random.random_bool(self.share)
    }
}

impl Watcher for Inner {
    fn before(&self, operation: &Operation<'_>) -> Verdict {
        if self.unplugged.load(Ordering::SeqCst) || !operation.is_in(&self.root) {
            return Verdict::Go;
        }
        if let Err(error) = self.look(operation) {
            let what = format!("the test's device cannot look at {operation:?}: {error}");
            return Verdict::Fail(io::Error::other(what));
        }
        if let Some(error) = self
            .fault
            .as_ref()
            .and_then(|fault| fault.strike(operation))
        {
            if let Some(Pending::File(number, ..)) = self.pending() {
                self.state.lock().flush_failed(number);
            }
            return Verdict::Fail(error);
        }
        if self.lies_about(operation) {
            self.lies.fetch_add(1, Ordering::SeqCst);
            return Verdict::Skip;
        }
        Verdict::Go
    }

    fn after(&self, operation: &Operation<'_>) {
        let flush = matches!(operation, Operation::Flush(..) | Operation::FlushFolder(..));
        if !flush || self.unplugged.load(Ordering::SeqCst) {
            return;
        }
        match self.pending() {
            Some(Pending::File(number, contents, range)) => {
                self.state.lock().flushed(number, &contents, &range);
            }
            Some(Pending::Folder(number, names, began)) => {
                self.state.lock().folder_flushed(number, names, began);
            }
            None => {}
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// The folder's path without links, as the device wants it.
pub fn without_links(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}
