//! The run: recordings in turn for each mode, until enough images were cut or time is up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::report::{Line, Table};
use crate::settings::{Fault, Mode};
use crate::take::{Cut, Take};

/// Images that are cut from one recording, at most.
const IMAGES_PER_TAKE: usize = 25;
/// Of an image that is bad, so many problems are told.
const PROBLEMS_TOLD: usize = 3;

/// How long and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How many images for each mode.
    #[arg(long, default_value_t = 100, value_name = "N")]
    images: usize,
    /// Goes on until so many seconds have passed, however many images that makes.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Repeats a run's random choices (the load's threads still race). Default: random.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only this mode.
    #[arg(long)]
    mode: Option<Mode>,
    /// What happens to the store; may be repeated.
    #[arg(long, default_values = ["power-cut"])]
    fault: Vec<Fault>,
    /// The store does without this flush, by its name in the source; the rig must find it. Files are not lost on ext4
    /// for want of a flush of their folder as long as another flush commits its journal.
    #[arg(long, value_name = "FLUSH")]
    without: Option<String>,
    /// Also write the table here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Whether all was as it must be.
pub fn run(arguments: &Arguments, folder: &Path) -> Result<bool> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut table = Table::default();
    let end = arguments
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut done = 0;
    let mut n = 0;
    while done < arguments.images || end.is_some_and(|end| Instant::now() < end) {
        let images = match end {
            Some(_) => IMAGES_PER_TAKE,
            None => IMAGES_PER_TAKE.min(arguments.images - done),
        };
        for (mode, fault) in arguments.lines() {
            let take = Take {
                mode,
                fault,
                seed: seed.wrapping_add(n),
                images,
                without: arguments.without.clone(),
            };
            table.add(run_one(&take, n, folder).with_context(|| format!("seed {seed}"))?);
            n += 1;
        }
        done += images;
    }
    table.print();
    if let Some(path) = &arguments.json {
        table.write_json(path)?;
    }
    Ok(table.good())
}

/// Makes recording `n`, and tells what was found.
fn run_one(take: &Take, n: u64, folder: &Path) -> Result<Line> {
    let what = format!("recording {n}, {}, {}", take.mode.name(), take.fault.name());
    let cuts = take.run(&folder.join(n.to_string()));
    let cuts = cuts.with_context(|| what.clone())?;
    tell(&what, take, &cuts);
    Ok(Line::of(take, &cuts))
}

impl Arguments {
    /// What is recorded in turn.
    fn lines(&self) -> Vec<(Mode, Fault)> {
        let modes = self
            .mode
            .map_or(vec![Mode::Sync, Mode::Async], |mode| vec![mode]);
        let lines = self
            .fault
            .iter()
            .flat_map(|&fault| modes.iter().map(move |&mode| (mode, fault)));
        // In async mode nothing is acknowledged that could be so too early.
        lines
            .filter(|line| *line != (Mode::Async, Fault::AcknowledgedEarly))
            .collect()
    }
}

fn tell(what: &str, take: &Take, cuts: &[Cut]) {
    let found: usize = cuts.iter().map(|cut| cut.outcome.found.len()).sum();
    println!("{what}: {} images, {found} messages", cuts.len());
    if take.planted() {
        return;
    }
    for cut in cuts.iter().filter(|cut| !cut.outcome.good()) {
        let (promised, lost) = (cut.outcome.promised, cut.outcome.lost);
        let again = if cut.again { " in the recovery" } else { "" };
        println!("  {:?}{again}: {lost} of {promised} lost", cut.point);
        for problem in cut.outcome.problems.iter().take(PROBLEMS_TOLD) {
            println!("    {problem}");
        }
    }
}
