//! A mapped file of 64-bit words that are read and written atomically.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::disk::{self, Flush};
use crate::file::reserve_blocks;
use crate::uncached::drop_cached;

/// Bytes of a word.
pub const WORD: usize = size_of::<u64>();

/// A fixed-size file of little-endian `u64` words, preallocated with real blocks and mapped shared.
///
/// Every access is a single atomic load or store, so any number of threads may read while one writes, and no
/// reference into the mapping ever leaves this type. Words of a new file are 0.
#[derive(Debug)]
pub struct Words {
    pages: MmapRaw,
    file: File,
    /// A flush has failed. The kernel calls its pages clean, and the next flush would say that all is well.
    failed: AtomicBool,
}

impl Words {
    /// Creates the file with `words` zero words (blocks reserved: a full disk is an error here), and flushes it and its
    /// folder. It appears under its name whole or not at all.
    pub fn create(path: &Path, words: usize) -> io::Result<Self> {
        let temporary = path.with_extension("tmp");
        let file = reserve_blocks(Flush::WordsMade, &temporary, words as u64 * WORD as u64)
            .and_then(|file| disk::rename(&temporary, path).map(|()| file))
            .and_then(|file| disk::flush_beside(Flush::WordsNamed, path).map(|()| file))
            .inspect_err(|_| {
                // The first error is the one to report; a leftover is overwritten by the next attempt.
                let _ = disk::unlink(&temporary);
            })?;
        Self::map(file)
    }

    /// Opens an existing file as the device has it; its length must be a positive multiple of 8.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        if bytes == 0 || !bytes.is_multiple_of(WORD as u64) {
            let text = format!("a file of words cannot have {bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        drop_cached(&file)?;
        Self::map(file)
    }

    /// Number of words.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a file of no words cannot be made"
    )]
    pub fn len(&self) -> usize {
        self.pages.len() / WORD
    }

    /// Loads one word (acquire). Panics if `index` is out of bounds.
    pub fn load(&self, index: usize) -> u64 {
        u64::from_le(self.word(index).load(Ordering::Acquire))
    }

    /// Stores one word (release). Panics if `index` is out of bounds.
    pub fn store(&self, index: usize, value: u64) {
        self.word(index).store(value.to_le(), Ordering::Release);
    }

    /// Writes dirty pages to the device and waits for it. Once this has failed it fails for good: nobody knows what the
    /// device has.
    pub fn flush(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier flush of this file failed"));
        }
        disk::flush(Flush::Words, &self.file)
            .inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn map(file: File) -> io::Result<Self> {
        let pages = MmapOptions::new().map_raw(&file)?;
        Ok(Self {
            pages,
            file,
            failed: AtomicBool::new(false),
        })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len(), "word {index} of {}", self.len());
        // SAFETY: the word lies in the mapping, which is page-aligned and lives as long as `self`. The file keeps its
        // length (its folder is locked by the log). All access goes through atomics.
        unsafe { AtomicU64::from_ptr(self.pages.as_mut_ptr().cast::<u64>().add(index)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        let words = Words::create(&path, 512).unwrap();
        assert_eq!((words.len(), words.load(511)), (512, 0));
        words.store(3, u64::MAX - 1);
        words.flush().unwrap();
        drop(words);
        assert_eq!(Words::open(&path).unwrap().load(3), u64::MAX - 1);
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        std::fs::write(&path, b"odd").unwrap();
        assert_eq!(
            Words::open(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    #[should_panic(expected = "word 8 of 8")]
    fn an_index_past_the_end_panics() {
        let dir = tempfile::tempdir().unwrap();
        Words::create(&dir.path().join("words"), 8).unwrap().load(8);
    }
}
