//! Images cut from one recording, and what is found in them.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::check::{Outcome, check};
use crate::device::Server;
use crate::events::Record;
use crate::history::Promises;
use crate::image::copy_sparse;
use crate::mount::Mounted;
use crate::recording::Recording;
use crate::replay::{Point, Replay, points};
use crate::settings::{Fault, Mode};

/// The share of images whose recovery is recorded, too, to cut the power in it.
const AGAIN: f64 = 0.25;

/// What one recording is about.
#[derive(Debug, Clone)]
pub struct Take {
    pub mode: Mode,
    pub fault: Fault,
    /// A flush that the store does without.
    pub without: Option<String>,
    pub seed: u64,
    /// How many to cut.
    pub images: usize,
}

/// What was found in one image.
#[derive(Debug)]
pub struct Cut {
    pub point: Point,
    /// Whether it is of a cut during the recovery from another cut.
    pub again: bool,
    pub outcome: Outcome,
}

impl Take {
    /// Whether the rig must find something.
    pub fn planted(&self) -> bool {
        self.fault.planted() || self.without.is_some()
    }

    /// Records in `folder`, which is made and removed, cuts, and checks.
    pub fn run(&self, folder: &Path) -> Result<Vec<Cut>> {
        let mut random = StdRng::seed_from_u64(self.seed);
        fs::create_dir(folder).context("making the folder of a recording")?;
        let recording = Recording::make(self, folder, &mut random)?;
        let cuts = self.cut(folder, &recording, &mut random)?;
        fs::remove_dir_all(folder)?;
        Ok(cuts)
    }

    fn cut(&self, folder: &Path, recording: &Recording, random: &mut StdRng) -> Result<Vec<Cut>> {
        let record = &recording.record;
        let lies = self.fault == Fault::LyingDevice;
        let points = points(record, recording.first, self.images, lies, random);
        let mut replay = Replay::new(record, recording.base.try_clone()?);
        let mut cuts = Vec::with_capacity(self.images);
        for point in points {
            if cuts.len() == self.images {
                break;
            }
            let image = folder.join("image");
            let before = folder.join("before");
            let device = replay.cut(point, random, &image)?;
            let again = cuts.len() + 1 < self.images && random.random_bool(AGAIN);
            let base = again.then(|| copy_sparse(&device, &before)).transpose()?;
            let look = Look {
                recording,
                promises: recording.history.promises(point.at),
                seed: self.seed,
            };
            let outcome = look.at(&image, &folder.join("after"))?;
            fs::remove_file(&image)?;
            if let Some(base) = base {
                cuts.push(look.cut_again(&folder.join("again"), base, &outcome, random)?);
                fs::remove_file(&before)?;
            }
            cuts.push(Cut {
                point,
                again: false,
                outcome,
            });
        }
        Ok(cuts)
    }
}

/// A look at the store in an image.
struct Look<'a> {
    recording: &'a Recording,
    promises: Promises,
    seed: u64,
}

impl Look<'_> {
    /// Mounts the image and checks. A file system that cannot be mounted has lost everything.
    fn at(&self, image: &Path, folder: &Path) -> Result<Outcome> {
        match Mounted::ext4(image, folder, &self.recording.options) {
            Ok(mounted) => {
                let store = folder.join("store");
                let outcome = check(&store, self.seed, &self.recording.history, &self.promises);
                mounted.unmount()?;
                Ok(outcome)
            }
            Err(error) => Ok(Outcome {
                problems: vec![format!("the file system cannot be mounted: {error:#}")],
                ..Outcome::default()
            }),
        }
    }

    /// Recovers on a device that records, cuts the power of that, and checks: the same promises hold, and the same
    /// messages are there as after a recovery that was left alone.
    fn cut_again(
        mut self,
        folder: &Path,
        base: File,
        alone: &Outcome,
        random: &mut StdRng,
    ) -> Result<Cut> {
        let (image, events) = (folder.join("image"), folder.join("events"));
        fs::create_dir(folder)?;
        copy_sparse(&base, &image)?;
        let server = Server::start(&folder.join("device"), &image, &events)?;
        self.at(&server.disk(), &folder.join("first"))?;
        server.stop()?;
        fs::remove_file(&image)?;
        let record = Record::load(&events)?;
        let point = points(&record, 0, 1, false, random);
        let point = *point.first().context("the recovery wrote nothing")?;
        Replay::new(&record, base).cut(point, random, &image)?;
        self.promises.limit = alone.end;
        let mut outcome = self.at(&image, &folder.join("after"))?;
        if outcome.found != alone.found {
            let (now, then) = (outcome.found.len(), alone.found.len());
            let problem = format!("{now} messages, and {then} where the recovery was left alone");
            outcome.problems.push(problem);
        }
        fs::remove_dir_all(folder)?;
        Ok(Cut {
            point,
            again: true,
            outcome,
        })
    }
}
