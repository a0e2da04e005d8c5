//! Everything in turn.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_benches::figures::Spread;
use foliomq_benches::machine::Machine;
use foliomq_benches::procfs;
use hdrhistogram::Histogram;

use crate::consumer::LATEST;
use crate::counters::{Counters, KernelThreads};
use crate::network::{self, CONGESTION, Network};
use crate::plan::Plan;
use crate::profile::{self, Profile};
use crate::results::{Cell, Paced, Place, Results};
use crate::run::{Bench, Cores};
use crate::source::{Pattern, Source};
use crate::ways;

/// Most pieces and bytes that are sent for a check.
const CHECKED_PIECES: usize = 4096;
const CHECKED_BYTES: usize = 32 << 20;
/// Bytes of a piece when the processor's time is looked at.
const PROFILED: usize = 1 << 20;
/// Bytes per second, at most, of messages at a fixed rate, and messages per second.
const PACED_BYTES: f64 = 160e6;
const PACED_MESSAGES: f64 = 10e3;

/// Measures everything; the store lies below `dir` meanwhile.
pub fn all(plan: Plan, dir: &Path, loopback: bool) -> Result<Results> {
    let begin = Instant::now();
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let folder = tempfile::Builder::new()
        .prefix("transfer-")
        .tempdir_in(dir)
        .context("creating a folder")?;
    let machine = Machine::of(folder.path())?;
    let source = Source::write(&folder.path().join("store"), &plan)?;
    let mut skipped = Vec::new();
    let networks = networks(loopback, &mut skipped);
    let cores = Cores::choose();
    let pinned: Vec<usize> = cores
        .iter()
        .flat_map(|cores| [cores.sender, cores.consumer])
        .collect();
    let bench = Bench {
        source: &source,
        cores,
        kernel_threads: KernelThreads::of(&pinned),
    };
    let mut session = Session {
        plan: &plan,
        bench: &bench,
        networks: &networks,
        begin,
        skipped,
    };
    let cells = session.full_speed(loopback)?;
    let paced = session.paced(&cells)?;
    let profiles = session.profiles(&cells, folder.path(), loopback);
    let skipped = session.skipped;
    Ok(Results {
        command: command(),
        machine,
        settings: settings(),
        cores,
        log_bytes: source.written(),
        skipped,
        cells,
        paced,
        profiles,
        took: begin.elapsed().as_secs_f64(),
        plan,
    })
}

/// The networks that can be brought up here.
fn networks(loopback: bool, skipped: &mut Vec<String>) -> Vec<Network> {
    let wanted = network::Kind::ALL
        .into_iter()
        .filter(|kind| !loopback || *kind == network::Kind::Loopback);
    let mut networks = Vec::new();
    for kind in wanted {
        match Network::up(kind) {
            Ok(network) => networks.push(network),
            Err(error) => skip(skipped, format!("network {}: {error:#}", kind.name())),
        }
    }
    networks
}

fn skip(skipped: &mut Vec<String>, what: String) {
    eprintln!("skipped: {what}");
    skipped.push(what);
}

/// One pass over everything.
struct Session<'a> {
    plan: &'a Plan,
    bench: &'a Bench<'a>,
    networks: &'a [Network],
    begin: Instant,
    skipped: Vec<String>,
}

impl Session<'_> {
    /// Round after round over all networks, patterns and sizes, the ways next to each other: A B C, then C B A.
    fn full_speed(&mut self, loopback: bool) -> Result<Vec<Cell>> {
        let mut cells = self.checked(loopback)?;
        for round in 0..self.plan.rounds {
            self.say(&format!("round {} of {}", round + 1, self.plan.rounds));
            let mut order: Vec<usize> = (0..cells.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let Place {
                    network,
                    pattern,
                    size,
                    way,
                } = cells[index].place;
                let pieces = self.bench.source.pieces(pattern, size);
                let network = self.network(network)?;
                let sample = self.bench.time(network, way, &pieces, self.plan.run)?;
                cells[index].rounds.push(sample);
            }
        }
        Ok(cells)
    }

    /// The round that compares every byte. A way that the kernel refuses ends here.
    fn checked(&mut self, loopback: bool) -> Result<Vec<Cell>> {
        self.say("checking that every way delivers the right bytes");
        let counters = if loopback { None } else { self.counters() };
        let mut cells = Vec::new();
        for network in self.networks {
            for pattern in [Pattern::Scattered, Pattern::Bulk] {
                for &size in &self.plan.sizes {
                    let mut pieces = self.bench.source.pieces(pattern, size);
                    pieces.truncate((CHECKED_BYTES / size).clamp(1, CHECKED_PIECES));
                    for way in ways::Kind::ALL.into_iter().filter(|way| way.fits(pattern)) {
                        let place = Place {
                            network: network.kind,
                            pattern,
                            size,
                            way,
                        };
                        if self.is_refused(way) {
                            continue;
                        }
                        let checked = self.bench.check(network, way, &pieces, counters.as_ref());
                        let checked = checked.with_context(|| format!("{place:?}"))?;
                        cells.push(Cell {
                            place,
                            checked,
                            rounds: Vec::new(),
                        });
                    }
                }
            }
        }
        Ok(cells)
    }

    fn counters(&mut self) -> Option<Counters> {
        let counters = Counters::open(self.networks);
        let refused = |error| {
            skip(
                &mut self.skipped,
                format!("the kernel's count of system calls and packets: {error:#}"),
            );
        };
        counters.map_err(refused).ok()
    }

    /// Whether the kernel does not offer a way; the first time, this is noted.
    fn is_refused(&mut self, way: ways::Kind) -> bool {
        let mark = format!("{}: ", way.name());
        if self
            .skipped
            .iter()
            .any(|skipped| skipped.starts_with(&mark))
        {
            return true;
        }
        let ready = || {
            way.ready(&self.networks.first()?.connect(false).ok()?.0)
                .err()
        };
        let refused = ready();
        if let Some(error) = &refused {
            skip(&mut self.skipped, format!("{mark}{error:#}"));
        }
        refused.is_some()
    }

    /// Single messages, again round after round.
    fn paced(&self, cells: &[Cell]) -> Result<Vec<Paced>> {
        self.say("single messages at a fixed rate");
        let wanted = |cell: &&Cell| {
            let Place {
                pattern, size, way, ..
            } = cell.place;
            pattern == Pattern::Scattered
                && way.fits_alone()
                && self.plan.paced_sizes.contains(&size)
        };
        let places: Vec<Place> = cells.iter().filter(wanted).map(|cell| cell.place).collect();
        let mut rounds: Vec<Vec<Histogram<u64>>> = places.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.plan.rounds {
            for (place, rounds) in places.iter().zip(&mut rounds) {
                let pieces = self.bench.source.pieces(Pattern::Scattered, place.size);
                let pace = (
                    interval(place.size),
                    messages(place.size, self.plan.paced_run),
                );
                rounds.push(self.bench.pace(
                    self.network(place.network)?,
                    place.way,
                    &pieces,
                    pace,
                )?);
            }
        }
        places
            .into_iter()
            .zip(rounds)
            .map(|(place, rounds)| summary(place, &rounds))
            .collect()
    }

    fn profiles(&mut self, cells: &[Cell], folder: &Path, loopback: bool) -> Vec<Profile> {
        if loopback || !self.plan.sizes.contains(&PROFILED) {
            return Vec::new();
        }
        self.say("where the processor's time goes");
        let mut profiles = Vec::new();
        let looked_at =
            |cell: &&Cell| cell.place.pattern == Pattern::Bulk && cell.place.size == PROFILED;
        let length = (2 * self.plan.run).max(Duration::from_millis(100));
        for place in cells.iter().filter(looked_at).map(|cell| cell.place) {
            let pieces = self.bench.source.pieces(place.pattern, place.size);
            let profile = profile::possible(self.bench).and_then(|()| {
                profile::take(
                    self.bench,
                    self.network(place.network)?,
                    place,
                    &pieces,
                    (length, folder),
                )
            });
            match profile {
                Ok(profile) => profiles.push(profile),
                Err(error) => {
                    skip(
                        &mut self.skipped,
                        format!("where the processor's time goes: {error:#}"),
                    );
                    break;
                }
            }
        }
        profiles
    }

    fn network(&self, kind: network::Kind) -> Result<&Network> {
        self.networks
            .iter()
            .find(|network| network.kind == kind)
            .context("a network that is not up")
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
        p99: of_each(0.99),
        p999: all.value_at_quantile(0.999),
        max: all.max(),
    })
}

/// What decides how TCP behaves here.
fn settings() -> Vec<(String, String)> {
    let read = |name: &str| {
        let text =
            procfs::read(format!("/proc/sys/net/{name}")).unwrap_or_else(|_| "unknown".into());
        (
            name.replace('/', "."),
            text.split_whitespace().collect::<Vec<_>>().join(" "),
        )
    };
    let mut settings = vec![("congestion control".into(), CONGESTION.into())];
    settings.extend(["ipv4/tcp_wmem", "ipv4/tcp_rmem", "core/optmem_max"].map(read));
    settings
}

/// The command that repeats this run.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "cargo run --locked --release -q -p foliomq-benches --bin transfer -- {}",
        arguments.join(" ")
    )
    .trim_end_matches(" -- ")
    .to_owned()
}
