//! Every system call that changes the disk, or waits for it, in one place, so that a test can watch, refuse or fake it.
//!
//! Without a watcher each costs one relaxed load more than the system call alone. An append makes none of these calls:
//! stores into a mapping need no watching, since what a flush has not covered may be lost or not.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use rustix::fs::FallocateFlags;

/// Makes [`Flush`], and the list of all its values.
macro_rules! flushes {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Each place of the store's source that waits for the device, by what it makes durable. They stand together
        /// here, and not in the crates that call them, so that a test can leave out one after the other.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Flush {
            $($(#[$doc])* $name,)*
        }

        impl Flush {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

flushes! {
    /// The name of a new folder, in the one above.
    FolderMade,
    /// The length and blocks of a new segment, before it gets its name.
    SegmentMade,
    /// The name of a new segment.
    SegmentNamed,
    /// Records of the log.
    Records,
    /// The name of the log's checkpoint, and everything else in the folder when a log is opened.
    LogOpened,
    /// What the log's checkpoint held when it was opened.
    LogCheckpointOpened,
    /// A slot of the log's checkpoint.
    LogCheckpoint,
    /// The removal of segments behind a torn tail.
    TailDropped,
    /// What recovery found and sealed.
    TailSealed,
    /// The removal of segments by retention.
    SegmentsDropped,
    /// A segment that salvage brought to a sound length.
    SalvagedLength,
    /// A filler of salvage.
    SalvagedFiller,
    /// The name of the checkpoint that salvage made.
    SalvagedCheckpoint,
    /// The length and blocks of a new file of words.
    WordsMade,
    /// The name of a new file of words.
    WordsNamed,
    /// The words of a file: entries of consume queues.
    Words,
    /// Names in the folder of the consume queues, when they are opened.
    QueuesOpened,
    /// What the directory of extents held when it was opened.
    ExtentsOpened,
    /// Records of the directory of extents.
    Extents,
    /// An index file that replaces another, before it gets its name.
    Replacement,
    /// The name of an index file that replaced another.
    ReplacementNamed,
    /// Runs of the key index.
    KeyRuns,
    /// The names of new files of the key index.
    KeyFilesNamed,
    /// A merged file of the key index, before it gets its name.
    KeysMerged,
    /// The name of the indexes' checkpoint.
    IndexCheckpointNamed,
    /// What the indexes' checkpoint held when it was opened.
    IndexCheckpointOpened,
    /// A slot of the indexes' checkpoint.
    IndexCheckpoint,
    /// The secret of receipt handles, before it gets its name.
    HandleKey,
}

/// One call that changes the disk, or waits for it.
#[derive(Debug)]
pub enum Operation<'a> {
    /// A file is opened, and made if it is not there.
    Create(&'a Path),
    /// A folder is made.
    MakeFolder(&'a Path),
    /// Bytes are written to a file.
    Write(&'a File),
    /// Blocks are reserved for a file, which may grow.
    Allocate(&'a File),
    /// Blocks of a file are given back, or made as if never written.
    Punch(&'a File),
    /// The length of a file is set.
    SetLen(&'a File),
    /// A name is given to a file, instead of the one it had.
    Rename(&'a Path, &'a Path),
    /// A name is removed, of a file or an empty folder.
    Unlink(&'a Path),
    /// A range of a file (bytes) is brought to the device.
    Flush(Flush, &'a File, Range<u64>),
    /// The names in a folder are brought to the device.
    FlushFolder(Flush, &'a File),
}

impl Operation<'_> {
    /// What kind it is, or which flush.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "Create",
            Self::MakeFolder(_) => "MakeFolder",
            Self::Write(_) => "Write",
            Self::Allocate(_) => "Allocate",
            Self::Punch(_) => "Punch",
            Self::SetLen(_) => "SetLen",
            Self::Rename(..) => "Rename",
            Self::Unlink(_) => "Unlink",
            Self::Flush(what, ..) | Self::FlushFolder(what, _) => what.name(),
        }
    }

    /// Whether it is about `folder` or something in it.
    pub fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::Create(path) | Self::MakeFolder(path) | Self::Unlink(path) => {
                path.starts_with(folder)
            }
            Self::Rename(_, to) => to.starts_with(folder),
            Self::Write(file)
            | Self::Allocate(file)
            | Self::Punch(file)
            | Self::SetLen(file)
            | Self::Flush(_, file, _)
            | Self::FlushFolder(_, file) => {
                let link = format!("/proc/self/fd/{}", file.as_raw_fd());
                fs::read_link(link).is_ok_and(|path| path.starts_with(folder))
            }
        }
    }
}

/// What becomes of an operation.
#[derive(Debug)]
pub enum Verdict {
    /// It is done.
    Go,
    /// It is not done, and fails.
    Fail(io::Error),
    /// It is not done, and says that it was.
    Skip,
}

/// Watches the operations of the whole process, from many threads at once; those on files that are not its own it lets go.
pub trait Watcher: Send + Sync {
    /// Before an operation: says what becomes of it.
    fn before(&self, operation: &Operation<'_>) -> Verdict;

    /// After one that was done and went well.
    fn after(&self, operation: &Operation<'_>);
}

/// How many watch: looked at without a lock.
static WATCHING: AtomicUsize = AtomicUsize::new(0);
static WATCHERS: RwLock<Vec<Arc<dyn Watcher>>> = RwLock::new(Vec::new());

/// A watcher's place; it sees nothing more once this is dropped.
pub struct Watch(Arc<dyn Watcher>);

/// Lets `watcher` see, and decide on, every operation from now on.
pub fn watch(watcher: Arc<dyn Watcher>) -> Watch {
    let mut watchers = WATCHERS.write();
    watchers.push(watcher.clone());
    WATCHING.store(watchers.len(), Ordering::SeqCst);
    Watch(watcher)
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = WATCHERS.write();
        watchers.retain(|other| !Arc::ptr_eq(other, &self.0));
        WATCHING.store(watchers.len(), Ordering::SeqCst);
    }
}

/// Opens a file for reading and writing, and makes it if it is not there.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    run(&Operation::Create(path), || options.open(path).map(Some))?.ok_or_else(skipped)
}

/// The same, without what it held.
pub fn create_empty(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(true).read(true).write(true);
    run(&Operation::Create(path), || options.open(path).map(Some))?.ok_or_else(skipped)
}

/// Makes a folder, and those above it, durably and with mode 0700. One that is there is made durable all the same: it
/// may come from a process that was killed.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let above = above(path);
    if path.is_dir() {
        return match File::open(above) {
            // Not made by us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            above => flush_folder(Flush::FolderMade, &above?),
        };
    }
    make_folder(above)?;
    run(
        &Operation::MakeFolder(path),
        || match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        },
    )?;
    flush_folder(Flush::FolderMade, &File::open(above)?)
}

/// Writes all of `bytes` at `offset`.
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    run(&Operation::Write(file), || file.write_all_at(bytes, offset))
}

/// Reserves real blocks for the first `len` bytes of a file.
pub fn allocate(file: &File, len: u64) -> io::Result<()> {
    run(&Operation::Allocate(file), || {
        Ok(rustix::fs::fallocate(
            file,
            FallocateFlags::empty(),
            0,
            len,
        )?)
    })
}

/// Gives the blocks of `range` (bytes) back; they read as zeros. [`io::ErrorKind::Unsupported`] where that cannot be.
pub fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    run(&Operation::Punch(file), || {
        Ok(rustix::fs::fallocate(
            file,
            flags,
            range.start,
            range.end - range.start,
        )?)
    })
}

/// Makes the blocks of `range` (bytes) as if they had never been written: they stay reserved, and read as zeros without
/// the device. [`io::ErrorKind::Unsupported`] where that cannot be.
pub fn unwrite(file: &File, range: Range<u64>) -> io::Result<()> {
    run(&Operation::Punch(file), || {
        Ok(rustix::fs::fallocate(
            file,
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
            range.start,
            range.end - range.start,
        )?)
    })
}

/// Sets the length of a file.
pub fn set_len(file: &File, len: u64) -> io::Result<()> {
    run(&Operation::SetLen(file), || file.set_len(len))
}

/// Gives a file another name, in place of whatever has it.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    run(&Operation::Rename(from, to), || fs::rename(from, to))
}

/// Removes a name.
pub fn unlink(path: &Path) -> io::Result<()> {
    run(&Operation::Unlink(path), || fs::remove_file(path))
}

/// Removes a folder and all that is in it, one name after the other: a power cut may leave any of them.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return unlink(path);
    }
    for entry in fs::read_dir(path)? {
        remove_folder(&entry?.path())?;
    }
    run(&Operation::Unlink(path), || fs::remove_dir(path))
}

/// Waits until the device has a file's bytes and its length.
pub fn flush(what: Flush, file: &File) -> io::Result<()> {
    run(&Operation::Flush(what, file, 0..u64::MAX), || {
        file.sync_data()
    })
}

/// Waits, by `flush`, until the device has a range of a file.
pub(crate) fn flush_range(
    what: Flush,
    file: &File,
    range: Range<u64>,
    flush: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    run(&Operation::Flush(what, file, range), flush)
}

/// Waits until the device has the names in a folder.
pub fn flush_folder(what: Flush, folder: &File) -> io::Result<()> {
    run(&Operation::FlushFolder(what, folder), || folder.sync_all())
}

/// The same for the folder that holds `path`.
pub fn flush_beside(what: Flush, path: &Path) -> io::Result<()> {
    flush_folder(what, &File::open(above(path))?)
}

/// The folder that holds `path`.
fn above(path: &Path) -> &Path {
    path.parent()
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn run<T: Default>(
    operation: &Operation<'_>,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if WATCHING.load(Ordering::Relaxed) == 0 {
        return act();
    }
    // A copy: an operation may take long, or start others.
    let watchers = WATCHERS.read().clone();
    for watcher in &watchers {
        match watcher.before(operation) {
            Verdict::Go => {}
            Verdict::Fail(error) => return Err(error),
            Verdict::Skip => return Ok(T::default()),
        }
    }
    let done = act()?;
    watchers.iter().for_each(|watcher| watcher.after(operation));
    Ok(done)
}

fn skipped() -> io::Error {
    io::Error::other("a watcher cannot skip the making of a file")
}
