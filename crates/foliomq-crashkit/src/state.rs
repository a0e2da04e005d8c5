//! A folder as the kernel has it, and as the device has it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::contents::Contents;

/// Versions of a file, between what is on the device and what was written last, that are kept.
const VERSIONS: usize = 3;

/// Names and the files that they name.
pub(crate) type Names = BTreeMap<String, u64>;

/// A file.
#[derive(Debug, Clone)]
pub(crate) struct FileState {
    /// Keeps the number from being given to another file.
    handle: Arc<File>,
    /// As flushed.
    pub(crate) durable: Contents,
    /// As written. Any of its sectors may be on the device.
    pub(crate) now: Contents,
    /// A flush of it has failed: the kernel calls its pages clean all the same, and no later flush writes them.
    pub(crate) failed: bool,
    /// What it was in between: any sector may be on the device as it was then.
    pub(crate) older: Vec<Contents>,
}

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct FolderState {
    _handle: Arc<File>,
    /// As flushed.
    pub(crate) durable: Names,
    /// As it is now.
    pub(crate) now: Names,
    /// What led from one to the other: a name, and what it came to name.
    pub(crate) changes: Vec<(String, Option<u64>)>,
    /// When the flush began, counted in flushes, that the device has it from.
    flushed: u64,
}

/// A tree of folders. Files and folders go by their number in the file system, so that what a name named before is
/// still known.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) root: u64,
    pub(crate) files: BTreeMap<u64, Arc<FileState>>,
    pub(crate) folders: BTreeMap<u64, Arc<FolderState>>,
}

impl State {
    /// The tree in `root` as it is; all of it is on the device.
    pub(crate) fn durable(root: &Path) -> io::Result<Self> {
        let mut state = Self {
            root: fs::metadata(root)?.ino(),
            ..Self::default()
        };
        state.refresh(root)?;
        for file in state.files.values_mut().map(Arc::make_mut) {
            file.durable = file.now.clone();
            file.older.clear();
        }
        for folder in state.folders.values_mut().map(Arc::make_mut) {
            folder.durable = folder.now.clone();
            folder.changes.clear();
        }
        Ok(state)
    }

    /// Takes in what has changed under `root`.
    pub(crate) fn refresh(&mut self, root: &Path) -> io::Result<()> {
        self.refresh_folder(root, self.root)
    }

    fn refresh_folder(&mut self, path: &Path, number: u64) -> io::Result<()> {
        let mut now = Names::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let there = |result: io::Result<fs::Metadata>| match result {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                other => other.map(Some),
            };
            // Another thread may have removed it meanwhile.
            let Some(metadata) = there(entry.metadata())? else {
                continue;
            };
            let taken = match metadata.is_dir() {
                true => self.refresh_folder(&entry.path(), metadata.ino()),
                false => self.refresh_file(&entry.path(), metadata.ino()),
            };
            match taken {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            }
            now.insert(
                entry.file_name().to_string_lossy().into_owned(),
                metadata.ino(),
            );
        }
        self.folder(path, number)?.become_now(now);
        Ok(())
    }

    fn folder(&mut self, path: &Path, number: u64) -> io::Result<&mut FolderState> {
        let folder = match self.folders.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Arc::new(FolderState {
                _handle: Arc::new(File::open(path)?),
                durable: Names::new(),
                now: Names::new(),
                changes: Vec::new(),
                flushed: 0,
            })),
        };
        Ok(Arc::make_mut(folder))
    }

    fn refresh_file(&mut self, path: &Path, number: u64) -> io::Result<()> {
        if let Entry::Vacant(place) = self.files.entry(number) {
            place.insert(Arc::new(FileState {
                handle: Arc::new(File::open(path)?),
                durable: Contents::default(),
                now: Contents::default(),
                failed: false,
                older: Vec::new(),
            }));
        }
        self.reread(number)
    }

    /// Takes in what a file holds now.
    pub(crate) fn reread(&mut self, number: u64) -> io::Result<()> {
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(());
        };
        let now = Contents::read(&file.handle, &file.now)?;
        if !now.is(&file.now) {
            Arc::make_mut(file).become_now(now);
        }
        Ok(())
    }

    /// What a file holds now, as far as is known.
    pub(crate) fn written(&self, number: u64) -> Contents {
        self.files
            .get(&number)
            .map(|file| file.now.clone())
            .unwrap_or_default()
    }

    /// The device has `contents` in a range of a file.
    pub(crate) fn flushed(&mut self, number: u64, contents: &Contents, range: &Range<u64>) {
        if let Some(file) = self.files.get_mut(&number).map(Arc::make_mut)
            && !file.failed
        {
            file.durable.take(contents, range);
            file.durable.len = contents.len;
            file.older
                .iter_mut()
                .for_each(|older| older.take(contents, range));
        }
    }

    /// A flush of a file has failed.
    pub(crate) fn flush_failed(&mut self, number: u64) {
        if let Some(file) = self.files.get_mut(&number).map(Arc::make_mut) {
            file.failed = true;
        }
    }

    /// The device has these names of a folder, as they were when the flush began, the `began`th of all. One that began
    /// later and ended before takes nothing back.
    pub(crate) fn folder_flushed(&mut self, number: u64, names: Names, began: u64) {
        if let Some(folder) = self.folders.get_mut(&number).map(Arc::make_mut)
            && folder.flushed < began
        {
            folder.flushed = began;
            folder.changes.clear();
            let now = std::mem::replace(&mut folder.now, names.clone());
            folder.durable = names;
            folder.become_now(now);
        }
        self.forget_unnamed();
    }

    /// Forgets files and folders that nothing names or may come to name again.
    fn forget_unnamed(&mut self) {
        let mut named = BTreeSet::from([self.root]);
        let mut open = vec![self.root];
        while let Some(folder) = open.pop().and_then(|number| self.folders.get(&number)) {
            let changed = folder.changes.iter().filter_map(|(_, file)| file.as_ref());
            for &number in folder
                .durable
                .values()
                .chain(folder.now.values())
                .chain(changed)
            {
                if named.insert(number) && self.folders.contains_key(&number) {
                    open.push(number);
                }
            }
        }
        self.files.retain(|number, _| named.contains(number));
        self.folders.retain(|number, _| named.contains(number));
    }
}

impl FileState {
    fn become_now(&mut self, now: Contents) {
        let before = std::mem::replace(&mut self.now, now);
        if !before.is(&self.durable) {
            if self.older.len() == VERSIONS {
                self.older.remove(0);
            }
            self.older.push(before);
        }
    }
}

impl FolderState {
    fn become_now(&mut self, now: Names) {
        for name in self.now.keys().filter(|&name| !now.contains_key(name)) {
            self.changes.push((name.clone(), None));
        }
        for (name, number) in &now {
            if self.now.get(name) != Some(number) {
                self.changes.push((name.clone(), Some(*number)));
            }
        }
        self.now = now;
    }
}

impl State {
    /// Takes back, in a copy of the files of `earlier`, what is not on the device there.
    pub(crate) fn undo_flushes(&mut self, earlier: &Self) {
        let mut numbers = BTreeMap::new();
        self.pair(self.root, earlier, earlier.root, &mut numbers);
        // What has no name any more has no copy: it keeps its number, out of the way of the others.
        let number = |old: u64| *numbers.get(&old).unwrap_or(&(old | LOST));
        for (&old, file) in &earlier.files {
            let copy = match self.files.remove(&number(old)) {
                Some(copy) => FileState {
                    handle: copy.handle.clone(),
                    ..FileState::clone(file)
                },
                None => FileState::clone(file),
            };
            self.files.insert(number(old), Arc::new(copy));
        }
        for (&old, folder) in &earlier.folders {
            let rename = |names: &Names| {
                let renamed = names.iter().map(|(name, &old)| (name.clone(), number(old)));
                renamed.collect()
            };
            let changes = folder.changes.iter();
            let changes = changes.map(|(name, old)| (name.clone(), old.map(number)));
            let copy = FolderState {
                _handle: folder._handle.clone(),
                durable: rename(&folder.durable),
                now: rename(&folder.now),
                changes: changes.collect(),
                flushed: 0,
            };
            self.folders.insert(number(old), Arc::new(copy));
        }
    }

    /// Finds which file here is the copy of which there, by their names.
    fn pair(&self, here: u64, earlier: &Self, there: u64, numbers: &mut BTreeMap<u64, u64>) {
        numbers.insert(there, here);
        let (Some(here), Some(there)) = (self.folders.get(&here), earlier.folders.get(&there))
        else {
            return;
        };
        for (name, &old) in &there.now {
            if let Some(&new) = here.now.get(name) {
                self.pair(new, earlier, old, numbers);
            }
        }
    }
}

/// Set in the number of a file that has no name in the copy.
const LOST: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_began_earlier_takes_back_nothing_when_it_ends_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::durable(dir.path()).unwrap();
        let root = state.root;
        let names = |state: &State| state.folders[&root].now.clone();
        let before = names(&state);
        File::create(dir.path().join("segment")).unwrap();
        state.refresh(dir.path()).unwrap();
        let after = names(&state);
        assert_eq!((before.len(), after.len()), (0, 1));
        state.folder_flushed(root, after.clone(), 2);
        state.folder_flushed(root, before, 1);
        assert_eq!(state.folders[&root].durable, after);
        assert_eq!(state.files.len(), 1);
    }
}
