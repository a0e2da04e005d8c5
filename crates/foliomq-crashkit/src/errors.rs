//! A disk whose n-th operation fails: nothing is acknowledged on it, and nothing that was promised before is lost.

use std::fs;
use std::path::Path;

use foliomq_store::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::io::Errno;

use crate::chain::{in_memory, text};
use crate::device::{Behaviour, Cut, Device};
use crate::episode::Episode;
use crate::fault::{Fault, Kind};
use crate::history::{Contents, History, Promise, TOPIC};
use crate::mode::Mode;

/// Moments of one life that are checked, besides the last ones.
const MOMENTS: usize = 6;
/// Images of each moment.
const IMAGES: usize = 4;

/// What failures showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// Operations that failed.
    pub struck: u64,
    /// Those that the store's user was told of.
    pub told: u64,
    /// Images of a power cut after them.
    pub images: u64,
}

/// Lets one operation of each kind fail, early and late, and cuts the power after it.
pub fn fail(
    mode: Mode,
    kind: Kind,
    error: Errno,
    rounds: u64,
    seed: u64,
) -> Result<Failures, String> {
    let mut failures = Failures::default();
    for n in 0..rounds {
        let seed = seed.wrapping_add(n);
        let mut random = StdRng::seed_from_u64(seed);
        // The first ones come while the store is made, later ones while it is used.
        let fault = Fault::new(kind, n % 40, 1 + random.random_range(0..2), error);
        Round {
            mode,
            kind,
            error,
            random,
        }
        .run(fault, seed, &mut failures)
        .map_err(|what| format!("{what} ({}, {kind:?}, {error}, SEED={seed})", mode.name))?;
    }
    Ok(failures)
}

struct Round {
    mode: Mode,
    kind: Kind,
    error: Errno,
    random: StdRng,
}

impl Round {
    fn run(mut self, fault: Fault, seed: u64, failures: &mut Failures) -> Result<(), String> {
        let folder = in_memory().map_err(text)?;
        let root = folder.path().join("life");
        fs::create_dir(&root).map_err(text)?;
        let behaviour = Behaviour {
            share: 0.05,
            fault: Some(fault),
            seed,
            lie: None,
        };
        let device = Device::new(&root, behaviour).map_err(text)?;
        let (history, cuts, told) = self.live(&root, &device)?;
        failures.struck += u64::from(device.has_failed());
        failures.told += u64::from(told && device.has_failed());
        drop(device);
        for cut in &cuts {
            for _ in 0..IMAGES {
                failures.images += 1;
                self.check(folder.path(), cut, &history)?;
            }
        }
        Ok(())
    }

    /// Uses a store until it refuses, and some more. Whether its user was told of an error is the last of what it returns.
    fn live(&mut self, root: &Path, device: &Device) -> Result<(History, Vec<Cut>, bool), String> {
        let history = History {
            promises: vec![Promise::default()],
            ..History::default()
        };
        let (mode, dir) = (self.mode, root.join("store"));
        let (kind, error) = (self.kind, self.error);
        let begun = Episode::begin(mode, &dir, device, history.clone(), &mut self.random, 1);
        let mut episode = match begun {
            Ok(episode) => episode,
            Err(error) => {
                names_the_error(self.error, &error.to_string())?;
                let cut = device.cut().map_err(text)?;
                return Ok((history, vec![cut], true));
            }
        };
        episode.settle()?;
        let told = match episode.run() {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        let refusing = episode.store.refusing().map(|error| error.to_string());
        let told = told.or(refusing);
        if let Some(what) = &told {
            after_an_error(kind, error, &mut episode, what)?;
        }
        episode.keep().map_err(text)?;
        // To close is refused, too, on a log that has lost something: the messages' own, or the journal, whose last flush
        // nobody may have waited for.
        let closed = episode.close();
        let told = told.is_some() || closed.is_err();
        episode.keep().map_err(text)?;
        device.unplug();
        let mut cuts = device.take_cuts();
        while cuts.len() > MOMENTS {
            cuts.swap_remove(episode.random.random_range(0..cuts.len()));
        }
        cuts.extend(episode.cuts.drain(..).rev().take(2));
        episode.note_dropped().map_err(text)?;
        Ok((std::mem::take(&mut episode.history), cuts, told))
    }

    fn check(&mut self, folder: &Path, cut: &Cut, history: &History) -> Result<(), String> {
        let dir = folder.join("image");
        cut.power(&mut self.random).write(&dir).map_err(text)?;
        let mut options = self.mode.options(&dir.join("store"), &mut self.random);
        options.retention.size = None;
        let store = options
            .open()
            .map_err(|error| format!("does not open: {error}"))?;
        let found = Contents::of(&store).map_err(text)?;
        history.check(&found, cut.moment)?;
        drop(store);
        fs::remove_dir_all(&dir).map_err(text)
    }
}

/// The error says what happened; after a failed flush of the log nothing more is acknowledged, and reads go on.
fn after_an_error(
    kind: Kind,
    error: Errno,
    episode: &mut Episode<'_>,
    what: &str,
) -> Result<(), String> {
    if kind != Kind::FlushRecords {
        return Ok(());
    }
    names_the_error(error, what)?;
    Contents::of(&episode.store).map_err(text)?;
    let poisoned = episode.store.refusing().is_some();
    let before = episode.store.watermarks().durable;
    // The log that failed may be another than the messages' own.
    for _ in 0..if poisoned { 3 } else { 0 } {
        let message = Message::new(b"too late");
        if episode.store.append_to(TOPIC, 0, &message).is_ok() {
            return Err("acknowledged after a failed flush".to_owned());
        }
    }
    match poisoned && episode.store.watermarks().durable != before {
        true => Err("called durable after a failed flush".to_owned()),
        false => Ok(()),
    }
}

fn names_the_error(error: Errno, what: &str) -> Result<(), String> {
    match what.contains(&std::io::Error::from(error).to_string()) {
        true => Ok(()),
        false => Err(format!("the error does not say what happened: {what}")),
    }
}
