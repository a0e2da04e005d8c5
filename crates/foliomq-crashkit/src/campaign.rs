//! Many chains at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use foliomq_segment::disk::Flush;
use parking_lot::Mutex;

use crate::chain::{Chain, Tally};
use crate::directed;
use crate::mode::{MODES, Mode};

/// Lives of one chain.
const LIVES: usize = 6;

/// A seed, from the environment (`SEED`) if it is there; printed.
pub fn seed() -> u64 {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("SEED={seed}");
    seed
}

/// Cuts the power until there were `images` images of it. An error names the image that broke a promise.
pub fn cut_power(mode: Mode, images: u64, seed: u64) -> Result<Tally, String> {
    let next = AtomicU64::new(seed);
    let done = Mutex::new(Ok(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |n| n.get().min(4)) {
            scope.spawn(|| {
                loop {
                    match &*done.lock() {
                        Ok(tally) if tally.power < images => {}
                        _ => return,
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = run_chain(mode, seed);
                    let mut done = done.lock();
                    match (&mut *done, outcome) {
                        (Ok(tally), Ok(more)) => tally.add(more),
                        (Ok(_), Err(error)) => *done = Err(error),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    done.into_inner()
}

fn run_chain(mode: Mode, seed: u64) -> Result<Tally, String> {
    let mut chain = Chain::new(mode, None, seed).map_err(|error| error.to_string())?;
    match chain.run(LIVES) {
        Ok(()) => Ok(chain.tally),
        Err(error) => {
            let folder = chain.keep_folder();
            Err(format!(
                "{error} (mode {}, SEED={seed}, image in {})",
                mode.name,
                folder.display()
            ))
        }
    }
}

/// The same for what has a scenario of its own. Returns how many images there were.
pub fn cut_power_apart(images: u64, seed: u64) -> Result<u64, String> {
    for (name, round) in directed::ALL {
        directed::repeat(round, None, images, seed)
            .map_err(|(_, what)| format!("{name}: {what} (SEED={seed})"))?;
    }
    Ok(directed::ALL.len() as u64 * images)
}

/// Leaves out a flush until a promise is broken, for at most `images` images. Returns after how many it was, and how
/// the promise was broken. The error, that none was, says how often the flush was called.
pub fn leave_out(flush: Flush, images: u64, seed: u64) -> Result<(u64, String), u64> {
    if let Some(round) = directed::scenario(flush) {
        return match directed::repeat(round, Some(flush), images, seed) {
            Ok(called) => Err(called),
            Err(noticed) => Ok(noticed),
        };
    }
    let (mut seen, mut called) = (0, 0);
    for (n, &mode) in (0..).zip(MODES.iter().cycle()) {
        let Ok(mut chain) = Chain::new(mode, Some(flush), seed.wrapping_add(n)) else {
            break;
        };
        let outcome = chain.run(LIVES);
        seen += chain.tally.power + chain.tally.again + chain.tally.kill;
        called += chain.lies;
        match outcome {
            Err(error) => return Ok((seen, error)),
            Ok(()) if seen >= images => break,
            Ok(()) => {}
        }
    }
    Err(called)
}
