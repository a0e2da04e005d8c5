//! What a power cut may leave of a folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::contents::{Contents, PAGE, Page};
use crate::state::{FileState, FolderState, Names, State};

/// Bytes that a device writes whole or not at all.
const SECTOR: usize = 512;

/// Pages with their numbers.
type Pages = Vec<(usize, Page)>;

/// A tree of files, in memory.
#[derive(Debug, Default)]
pub struct Image {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, u64, Pages)>,
}

/// How much of what was not flushed had reached the device.
#[derive(Debug, Clone, Copy)]
enum Share {
    All,
    None,
    /// Each piece with this probability.
    Some(f64),
}

impl Share {
    /// Often all or none; otherwise anything between almost none and almost all.
    fn random(random: &mut StdRng) -> Self {
        match random.random_range(0..8) {
            0 => Self::All,
            1 => Self::None,
            2..5 => Self::Some(1.0 - random.random_range(0.0..1.0f64).powi(4)),
            _ => Self::Some(random.random_range(0.0..1.0)),
        }
    }

    fn takes(self, random: &mut StdRng) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(share) => random.random_bool(share),
        }
    }
}

impl Image {
    /// What is on the device if the power goes now: all that was flushed, and of the rest any subset of its sectors,
    /// names and lengths, at random.
    pub(crate) fn after_power_cut(state: &State, random: &mut StdRng) -> Self {
        let mut image = Self::default();
        let of_all = Share::random(random);
        image.add_folder(
            state,
            state.root,
            Path::new(""),
            &mut |part, random| match part {
                Part::Folder(folder) => Kept::Names(names(folder, of_all, random)),
                Part::File(file) => {
                    // Some files may be ahead of the others.
                    let share = match random.random_bool(0.3) {
                        true => Share::random(random),
                        false => of_all,
                    };
                    let (len, pages) = bytes(file, share, random);
                    Kept::Bytes(len, pages)
                }
            },
            random,
        );
        image
    }

    /// What the kernel has: what is left if only the process dies.
    pub(crate) fn after_kill(state: &State, random: &mut StdRng) -> Self {
        let mut image = Self::default();
        image.add_folder(
            state,
            state.root,
            Path::new(""),
            &mut |part, _| match part {
                Part::Folder(folder) => Kept::Names(folder.now.clone()),
                Part::File(file) => Kept::Bytes(file.now.len, whole(&file.now)),
            },
            random,
        );
        image
    }

    fn add_folder(
        &mut self,
        state: &State,
        number: u64,
        path: &Path,
        keep: &mut impl FnMut(Part<'_>, &mut StdRng) -> Kept,
        random: &mut StdRng,
    ) {
        let Some(folder) = state.folders.get(&number) else {
            return;
        };
        self.folders.push(path.to_path_buf());
        let Kept::Names(names) = keep(Part::Folder(folder), random) else {
            return;
        };
        for (name, number) in names {
            let path = path.join(name);
            if let Some(file) = state.files.get(&number) {
                if let Kept::Bytes(len, pages) = keep(Part::File(file), random) {
                    self.files.push((path, len, pages));
                }
            } else {
                self.add_folder(state, number, &path, keep, random);
            }
        }
    }

    /// Makes the tree in `dir`, which is made and must hold nothing.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        for folder in &self.folders {
            fs::create_dir_all(dir.join(folder))?;
        }
        for (path, len, pages) in &self.files {
            let file = File::create(dir.join(path))?;
            file.set_len(*len)?;
            for (number, page) in pages {
                let offset = (number * PAGE) as u64;
                let bytes = len.saturating_sub(offset).min(PAGE as u64) as usize;
                file.write_all_at(&page[..bytes], offset)?;
            }
        }
        Ok(())
    }
}

/// What there is to decide about.
enum Part<'a> {
    Folder(&'a FolderState),
    File(&'a FileState),
}

/// What is kept of it.
enum Kept {
    Names(Names),
    Bytes(u64, Pages),
}

/// The names on the device: those flushed, with the first few changes since; or any value that each has had since.
fn names(folder: &FolderState, share: Share, random: &mut StdRng) -> Names {
    let mut names = folder.durable.clone();
    if folder.changes.is_empty() {
        return names;
    }
    let in_order = random.random_bool(0.5);
    let first = random.random_range(0..=folder.changes.len());
    for (n, (name, number)) in folder.changes.iter().enumerate() {
        let takes = match share {
            Share::Some(_) if in_order => n < first,
            share => share.takes(random),
        };
        if takes {
            match number {
                Some(number) => names.insert(name.clone(), *number),
                None => names.remove(name),
            };
        }
    }
    names
}

fn whole(contents: &Contents) -> Pages {
    let page = |number| Some((number, contents.page(number)?.clone()));
    (0..contents.count()).filter_map(page).collect()
}

/// The length and the pages on the device.
fn bytes(file: &FileState, share: Share, random: &mut StdRng) -> (u64, Pages) {
    let count = file.now.count().max(file.durable.count());
    let page = |number| Some((number, page(file, number, share, random)?));
    let pages = (0..count).filter_map(page).collect();
    (length(file, share, random), pages)
}

/// A page whose sectors are each of one of the versions that may be on the device.
fn page(file: &FileState, number: usize, share: Share, random: &mut StdRng) -> Option<Page> {
    let (durable, now) = (file.durable.page(number), file.now.page(number));
    let same = match (durable, now) {
        (Some(durable), Some(now)) => Arc::ptr_eq(durable, now) || durable == now,
        (None, None) => true,
        _ => false,
    };
    match share {
        _ if same && file.older.is_empty() => return now.cloned(),
        Share::All => return now.cloned(),
        Share::None => return durable.cloned(),
        Share::Some(_) => {}
    }
    let mut mixed = [0; PAGE];
    for (n, sector) in mixed.chunks_mut(SECTOR).enumerate() {
        let source = match share.takes(random) {
            false => durable,
            true if file.older.is_empty() || random.random_bool(0.7) => now,
            true => file.older[random.random_range(0..file.older.len())].page(number),
        };
        if let Some(source) = source {
            sector.copy_from_slice(&source[n * SECTOR..][..SECTOR]);
        }
    }
    mixed.iter().any(|&byte| byte != 0).then(|| Arc::new(mixed))
}

/// The flushed length, the one now, or, rarely, one in between.
fn length(file: &FileState, share: Share, random: &mut StdRng) -> u64 {
    let (durable, now) = (file.durable.len, file.now.len);
    if durable == now {
        return now;
    }
    match share {
        Share::Some(_) if durable < now && random.random_bool(0.3) => {
            let between = random.random_range(durable..=now);
            (between / SECTOR as u64 * SECTOR as u64).max(durable)
        }
        share if share.takes(random) => now,
        _ => durable,
    }
}
