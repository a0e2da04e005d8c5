//! One pass over everything that is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_benches::figures::Spread;
use hdrhistogram::Histogram;

use crate::consumer::LATEST;
use crate::counters::Counters;
use crate::measure::skip;
use crate::network::{self, Network};
use crate::plan::Plan;
use crate::profile::{self, Profile};
use crate::results::{Cell, Paced, Place};
use crate::run::{Bench, Job};
use crate::source::{Pattern, Piece};
use crate::ways;

/// Most pieces of a check.
const CHECKED_PIECES: usize = 4096;
/// Bytes of a piece when the processor's time is looked at.
const PROFILED: usize = 1 << 20;
/// Bytes per second, at most, of messages at a fixed rate.
const PACED_BYTES: f64 = 160e6;
/// Messages per second, at most, of them.
const PACED_MESSAGES: f64 = 10e3;

/// What a pass needs, and what it left out.
pub struct Session<'a> {
    /// How much.
    pub plan: &'a Plan,
    /// What stays the same.
    pub bench: &'a Bench<'a>,
    /// Those that are up.
    pub networks: &'a [Network],
    /// Nothing that needs root.
    pub loopback: bool,
    /// When it all began.
    pub begin: Instant,
    /// What was left out, and why.
    pub skipped: Vec<String>,
}

impl Session<'_> {
    /// Round after round over all networks, patterns and sizes, the ways next to each other: A B C, then C B A.
    pub fn full_speed(&mut self) -> Result<Vec<Cell>> {
        let mut cells = self.checked()?;
        for round in 0..self.plan.rounds {
            self.say(&format!("round {} of {}", round + 1, self.plan.rounds));
            let mut order: Vec<usize> = (0..cells.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let place = cells[index].place;
                let pieces = self.pieces(place);
                let sample = self.bench.time(self.job(place, pieces)?, self.plan.run);
                cells[index]
                    .rounds
                    .push(sample.with_context(|| format!("{place:?}"))?);
            }
        }
        Ok(cells)
    }

    /// The round that compares every byte.
    fn checked(&mut self) -> Result<Vec<Cell>> {
        let places = self.places();
        let counters = self.counters();
        self.say("checking that every way delivers the right bytes");
        let check = |place: Place| -> Result<Cell> {
            let all = self.pieces(place);
            let pieces = &all[..all
                .len()
                .min((self.plan.checked_bytes / place.size).clamp(1, CHECKED_PIECES))];
            let checked = self
                .bench
                .check(self.job(place, pieces)?, counters.as_ref());
            let checked = checked.with_context(|| format!("{place:?}"))?;
            Ok(Cell {
                place,
                checked,
                rounds: Vec::new(),
            })
        };
        places.into_iter().map(check).collect()
    }

    /// Everything that can be measured here. A way that the kernel refuses ends here, with a note.
    fn places(&mut self) -> Vec<Place> {
        let offered: Vec<_> = ways::Kind::ALL
            .into_iter()
            .filter(|way| self.is_offered(*way))
            .collect();
        let mut places = Vec::new();
        for network in self.networks.iter().map(|network| network.kind) {
            for pattern in Pattern::ALL
                .into_iter()
                .filter(|pattern| network.carries(*pattern))
            {
                for &size in &self.plan.sizes {
                    let ways = offered.iter().filter(|way| way.fits(pattern));
                    places.extend(ways.map(|&way| Place {
                        network,
                        pattern,
                        size,
                        way,
                    }));
                }
            }
        }
        places
    }

    fn is_offered(&mut self, way: ways::Kind) -> bool {
        let Some(network) = self.networks.first() else {
            return false;
        };
        let ready = network
            .connect(network::Delay::None)
            .and_then(|(socket, _)| way.ready(&socket).map(drop));
        let refused = |error| skip(&mut self.skipped, format!("{}: {error:#}", way.name()));
        ready.map_err(refused).is_ok()
    }

    fn counters(&mut self) -> Option<Counters> {
        if self.loopback {
            return None;
        }
        let refused = |error| {
            skip(
                &mut self.skipped,
                format!("the kernel's count of system calls and packets: {error:#}"),
            );
        };
        Counters::open(self.networks).map_err(refused).ok()
    }

    /// Single messages, again round after round.
    pub fn paced(&self, cells: &[Cell]) -> Result<Vec<Paced>> {
        self.say("single messages at a fixed rate");
        let wanted = |place: &Place| {
            let alone = place.pattern == Pattern::Scattered && place.way.fits_alone();
            alone && self.plan.paced_sizes.contains(&place.size)
        };
        let places: Vec<Place> = cells.iter().map(|cell| cell.place).filter(wanted).collect();
        let mut rounds: Vec<Vec<Histogram<u64>>> = places.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.plan.rounds {
            for (place, rounds) in places.iter().zip(&mut rounds) {
                let pieces = self.pieces(*place);
                let pace = (
                    interval(place.size),
                    messages(place.size, self.plan.paced_run),
                );
                rounds.push(self.bench.pace(self.job(*place, pieces)?, pace)?);
            }
        }
        places
            .into_iter()
            .zip(rounds)
            .map(|(place, rounds)| summary(place, &rounds))
            .collect()
    }

    /// Where the processor's time goes when the log is sent in bulk.
    pub fn profiles(&mut self, cells: &[Cell], folder: &Path) -> Vec<Profile> {
        let looked_at = |place: &Place| {
            let in_bulk = place.pattern == Pattern::Bulk && place.size == PROFILED;
            in_bulk && self.plan.profiled.contains(&place.network)
        };
        let places: Vec<Place> = cells
            .iter()
            .map(|cell| cell.place)
            .filter(looked_at)
            .collect();
        if self.loopback || places.is_empty() {
            return Vec::new();
        }
        self.say("where the processor's time goes");
        let take = |place: Place| -> Result<Profile> {
            profile::possible(self.bench)?;
            let pieces = self.pieces(place);
            let length = (4 * self.plan.run).max(Duration::from_millis(200));
            profile::take(self.bench, self.job(place, pieces)?, length, folder)
        };
        let profiles: Result<Vec<Profile>> = places.into_iter().map(take).collect();
        let refused = |error| {
            skip(
                &mut self.skipped,
                format!("where the processor's time goes: {error:#}"),
            )
        };
        profiles.map_err(refused).unwrap_or_default()
    }

    fn pieces(&self, place: Place) -> &[Piece] {
        self.bench.source.pieces(place.pattern, place.size)
    }

    fn job<'a>(&'a self, place: Place, pieces: &'a [Piece]) -> Result<Job<'a>> {
        let network = self
            .networks
            .iter()
            .find(|network| network.kind == place.network);
        Ok(Job {
            network: network.context("a network that is not up")?,
            place,
            pieces,
        })
    }

    fn say(&self, what: &str) {
        eprintln!("{:>5.0} s  {what}", self.begin.elapsed().as_secs_f64());
    }
}

/// Between two messages: neither too many nor too many bytes.
fn interval(size: usize) -> Duration {
    Duration::from_secs_f64((1.0 / PACED_MESSAGES).max(size as f64 / PACED_BYTES))
}

fn messages(size: usize, run: Duration) -> u32 {
    (run.as_secs_f64() / interval(size).as_secs_f64()).max(1.0) as u32
}

fn summary(place: Place, rounds: &[Histogram<u64>]) -> Result<Paced> {
    let of_each = |quantile: f64| {
        let values: Vec<f64> = rounds
            .iter()
            .map(|round| round.value_at_quantile(quantile) as f64)
            .collect();
        Spread::of(&values)
    };
    let mut all = Histogram::new_with_max(LATEST, 3)?;
    rounds
        .iter()
        .try_for_each(|round| all.add(round))
        .context("adding histograms")?;
    Ok(Paced {
        place,
        interval: interval(place.size).as_nanos() as u64,
        messages: all.len(),
        p50: of_each(0.5),
        p90: of_each(0.9),
        p99: of_each(0.99),
        p999: all.value_at_quantile(0.999),
        max: all.max(),
    })
}
