//! Random programs of everything that delivery does, over a real store, against a naive model with a simulated clock.
//!
//! `MODEL_SEED=7 cargo test -p foliomq-delivery --lib model -- --nocapture` repeats a run, `MODEL_STEPS` says how long it is.
//! That the model finds bugs is shown by planting some: see [`planted`](crate::planted).

#[path = "../../tests/delivery/fixture.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
pub(crate) mod fixture;
mod hidden;
mod ordered;
mod program;
mod seen;
mod settle;
mod world;

use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::planted::{Bug, plant};
use program::{Program, program};
use seen::Seen;
use world::World;

/// What a run has at least.
const STEPS: u64 = 100_000;
/// Within which a planted bug must be found.
const ENOUGH: u64 = 20_000;
const THREADS: usize = 2;
/// Attempts at making a program that fails smaller.
const SHRINKS: u32 = 2000;

/// What programs have done so far.
#[derive(Default)]
struct Run {
    steps: AtomicU64,
    seen: Mutex<Seen>,
}

impl Run {
    fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    fn execute(&self, program: Program) {
        let mut world = World::new(program.order);
        for step in &program.steps {
            world = step.take(world);
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        let seen = world.drain();
        self.seen.lock().add(&seen);
    }

    /// Makes the program of a seed and runs it; the error names the smallest program found that fails.
    fn try_seed(&self, seed: u64, max_shrink_iters: u32) -> Result<(), String> {
        let mut runner = TestRunner::new(Config {
            cases: 1,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_iters,
            failure_persistence: None,
            ..Config::default()
        });
        let execute = |program| {
            self.execute(program);
            Ok(())
        };
        runner
            .run(&program(), execute)
            .map_err(|error| error.to_string())
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let value = text.parse().ok();
    Some(value.unwrap_or_else(|| panic!("{name}={text} is no number")))
}

#[test]
fn delivery_does_as_the_model() {
    let random = || RandomState::new().hash_one(0) >> 32;
    let seed = setting("MODEL_SEED").unwrap_or_else(random);
    let wanted = setting("MODEL_STEPS").unwrap_or(STEPS);
    println!("MODEL_SEED={seed} MODEL_STEPS={wanted}");
    let (run, next) = (Run::default(), AtomicU64::new(seed));
    let work = || {
        while run.steps() < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            run.try_seed(seed, SHRINKS)
                .unwrap_or_else(|error| panic!("MODEL_SEED={seed} MODEL_STEPS=1: {error}"));
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| _ = scope.spawn(work)));
    let seen = run.seen.into_inner();
    let steps = run.steps.into_inner();
    println!("{steps} steps\n{seen}");
    assert!(steps >= wanted);
    if wanted >= STEPS {
        seen.assert_all();
    }
}

/// Runs the same programs until one fails: the steps, and how.
fn search(bug: Option<Bug>) -> (u64, Option<String>) {
    plant(bug);
    let run = Run::default();
    let mut seeds = 1..;
    let mut found = None;
    while found.is_none() && run.steps() < ENOUGH {
        found = run.try_seed(seeds.next().unwrap(), 0).err();
    }
    plant(None);
    (run.steps(), found)
}

#[test]
fn planted_bugs_are_found() {
    for bug in Bug::ALL {
        let (steps, found) = search(Some(bug));
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {steps} steps"));
        let how = found.lines().next().unwrap_or_default();
        println!("{bug:?} is found after {steps} steps: {how}");
    }
    let (steps, found) = search(None);
    assert_eq!(found, None, "with nothing planted");
    println!("nothing planted, nothing found in {steps} steps");
}
