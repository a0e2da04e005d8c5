//! Single bits are flipped in the files of the indexes, which are opened alone, as the store opens them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use foliomq_consumequeue::{Checkpoint, ConsumeQueues, Entry, IndexError, KeyIndex, key_hash};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Flips, Outcome, is_gap};
use crate::chain::text;
use crate::history::TOPIC;
use crate::mode::SEGMENT;

/// Bytes of an entry of the pool: what is not covered is all zero.
const PLACE: usize = 32;
/// Messages that are looked for by id with each flip.
const LOOKUPS: u64 = 8;

/// The indexes of a closed store.
pub(super) struct Indexes {
    scratch: PathBuf,
    checkpoint: u64,
    /// The messages `m0` and so on.
    messages: u64,
    queues: Vec<(u32, Vec<Entry>)>,
    /// Files by their path in the store, without the zeros at the end; and their length.
    files: Vec<(PathBuf, Vec<u8>, u64)>,
}

/// What indexes with a flipped bit came to.
enum Found {
    /// They were not opened, and are made anew.
    Damaged,
    /// A look-up was an error.
    Refused,
    Same,
    Other,
}

impl Indexes {
    /// Copies those of the store in `dir`, which holds so many messages.
    pub(super) fn of(dir: &Path, scratch: PathBuf, messages: u64) -> Result<Self, String> {
        let mut files = Vec::new();
        for folder in ["consumequeue", "keys"] {
            fs::create_dir_all(scratch.join(folder)).map_err(text)?;
            for file in fs::read_dir(dir.join(folder)).map_err(text)? {
                let path = Path::new(folder).join(file.map_err(text)?.file_name());
                files.push(read(dir, path)?);
            }
        }
        files.push(read(dir, PathBuf::from("index-checkpoint"))?);
        let mut indexes = Self {
            scratch,
            checkpoint: Checkpoint::open(&dir.join("index-checkpoint"))
                .map_err(text)?
                .position(),
            messages,
            queues: Vec::new(),
            files,
        };
        indexes.restore(None)?;
        let queues = ConsumeQueues::open(&indexes.scratch.join("consumequeue"), indexes.checkpoint);
        indexes.queues = entries(&queues.map_err(text)?).map_err(text)?;
        let known: usize = indexes.queues.iter().map(|queue| queue.1.len()).sum();
        match known as u64 == messages {
            true => Ok(indexes),
            false => Err(format!("{known} entries for {messages} messages")),
        }
    }

    /// Paths of the files in a folder, or of one file.
    pub(super) fn paths(&self, under: &str) -> Vec<PathBuf> {
        let paths = self.files.iter().map(|file| file.0.clone());
        paths.filter(|path| path.starts_with(under)).collect()
    }

    /// Flips so many bits of one file, one at a time; every bit once if it has no more.
    pub(super) fn flip(
        &self,
        path: &Path,
        flips: u64,
        random: &mut StdRng,
    ) -> Result<Flips, String> {
        let bytes = &self.files.iter().find(|file| file.0 == path);
        let bytes = &bytes.ok_or("no such file")?.1;
        let bits = bytes.len() as u64 * 8;
        let mut counted = Flips::default();
        for n in 0..flips.min(bits) {
            let bit = match flips >= bits {
                true => n,
                false => random.random_range(0..bits),
            };
            self.restore(Some((path, bit)))?;
            let found = match path.components().next() {
                Some(first) if first.as_os_str() == "consumequeue" => self.look_at_queues(),
                Some(first) if first.as_os_str() == "keys" => self.look_at_keys(random),
                _ => self.look_at_checkpoint(),
            }
            .map_err(text)?;
            let place = bytes.chunks(PLACE).nth(bit as usize / 8 / PLACE);
            let empty = place.is_some_and(|place| place.iter().all(|&byte| byte == 0));
            counted.count(match found {
                Found::Damaged => Outcome::Repaired,
                Found::Refused => Outcome::Refused,
                Found::Same if empty || is_gap(path, bit / 8) => Outcome::Unused,
                // A seal, which is put there again, or the slot of a checkpoint that is not needed.
                Found::Same if !path.starts_with("consumequeue/pool-000000") => Outcome::Repaired,
                Found::Same | Found::Other => {
                    Outcome::Served(format!("bit {bit} of {}", path.display()))
                }
            })?;
        }
        Ok(counted)
    }

    /// Writes all files of the flipped one's folder again, with the bit flipped.
    fn restore(&self, flip: Option<(&Path, u64)>) -> Result<(), String> {
        let same_folder =
            |path: &Path| flip.is_none_or(|(flipped, _)| flipped.parent() == path.parent());
        for (path, bytes, len) in self.files.iter().filter(|file| same_folder(&file.0)) {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(self.scratch.join(path))
                .map_err(text)?;
            file.set_len(*len).map_err(text)?;
            file.write_all_at(bytes, 0).map_err(text)?;
            if let Some((_, bit)) = flip.filter(|flip| flip.0 == path) {
                let byte = bytes[bit as usize / 8] ^ 1 << (bit % 8);
                file.write_all_at(&[byte], bit / 8).map_err(text)?;
            }
        }
        Ok(())
    }

    fn look_at_queues(&self) -> Result<Found, IndexError> {
        let queues = ConsumeQueues::open(&self.scratch.join("consumequeue"), self.checkpoint);
        let Some(queues) = unless_damaged(queues)? else {
            return Ok(Found::Damaged);
        };
        Ok(match entries(&queues) {
            Err(IndexError::DamagedEntry { .. }) => Found::Refused,
            Err(error) => return Err(error),
            Ok(found) if found == self.queues => Found::Same,
            Ok(_) => Found::Other,
        })
    }

    /// Looks for the key that all messages have, and for some by their id.
    fn look_at_keys(&self, random: &mut StdRng) -> Result<Found, IndexError> {
        let keys = KeyIndex::open(&self.scratch.join("keys"), self.checkpoint, SEGMENT);
        let Some(keys) = unless_damaged(keys)? else {
            return Ok(Found::Damaged);
        };
        let mut wanted = vec![("k".to_owned(), self.messages as usize)];
        let ids = (0..LOOKUPS).map(|_| random.random_range(0..self.messages));
        wanted.extend(ids.map(|n| (format!("m{n}"), 1)));
        let mut refused = false;
        for (key, expected) in wanted {
            match keys.positions(key_hash(TOPIC, &key), usize::MAX) {
                Err(IndexError::Damaged { .. }) => refused = true,
                Err(error) => return Err(error),
                Ok(found) if found.len() != expected => return Ok(Found::Other),
                Ok(_) => {}
            }
        }
        Ok(if refused { Found::Refused } else { Found::Same })
    }

    /// The older slot is as good as the newer: more of the log is read again.
    fn look_at_checkpoint(&self) -> Result<Found, IndexError> {
        let checkpoint = Checkpoint::open(&self.scratch.join("index-checkpoint"));
        Ok(match unless_damaged(checkpoint)? {
            None => Found::Damaged,
            Some(checkpoint) if checkpoint.position() <= self.checkpoint => Found::Same,
            Some(_) => Found::Other,
        })
    }
}

fn unless_damaged<T>(opened: Result<T, IndexError>) -> Result<Option<T>, IndexError> {
    match opened {
        Err(IndexError::Damaged { .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// All entries, by queue.
fn entries(queues: &ConsumeQueues) -> Result<Vec<(u32, Vec<Entry>)>, IndexError> {
    let mut all = Vec::new();
    for (queue, end) in queues.ends() {
        let mut entries = Vec::new();
        while (entries.len() as u64) < end {
            let from = entries.len() as u64;
            if queues.entries(queue, from, usize::MAX, &mut entries)? == 0 {
                break;
            }
        }
        all.push((queue, entries));
    }
    Ok(all)
}

fn read(dir: &Path, path: PathBuf) -> Result<(PathBuf, Vec<u8>, u64), String> {
    let mut bytes = fs::read(dir.join(&path)).map_err(text)?;
    let len = bytes.len() as u64;
    let last = bytes.iter().rposition(|&byte| byte != 0);
    bytes.truncate(last.map_or(0, |last| last + 1));
    Ok((path, bytes, len))
}
