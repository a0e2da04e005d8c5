//! Servers of both kinds, where they run, and a load on them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_benches::figures::Spread;
use foliomq_benches::floors::{self, Budget};
use foliomq_load::process::{self, Server};
use foliomq_load::{Connection, Plan, Report, Target, Topic, Until, run};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::scale::Scale;

/// What every broker has, beside its flush mode.
const SETTINGS: [&str; 5] = [
    "segment-size=256MiB",
    "retention-size=2GiB",
    "retention-interval=200ms",
    "max-in-flight=100000000",
    "disk-refuse=99%",
];

/// How long an answer may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Starts servers and loads.
pub struct Bench {
    pub scale: Scale,
    pub runtime: Runtime,
    program: PathBuf,
    dir: PathBuf,
    /// The server's core and the load's, where there are two.
    cores: Option<(usize, usize)>,
}

/// A server, and the topic that loads work on.
pub struct Side {
    pub name: &'static str,
    pub server: Server,
    pub topic: String,
}

/// What one load found.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub side: &'static str,
    pub report: Report,
    /// Cores that the server kept busy, the warm-up included.
    pub server_cores: f64,
    /// Cores that the generator kept busy.
    pub generator_cores: f64,
}

impl Sample {
    /// Processor seconds of the server for a gigabyte of bodies.
    pub fn seconds_per_gigabyte(&self) -> f64 {
        self.server_cores / (self.report.megabytes / 1e3).max(f64::MIN_POSITIVE)
    }
}

impl Bench {
    pub fn new(program: &Path, dir: &Path, scale: Scale) -> Result<Self> {
        let allowed = sched_getaffinity(None).context("which cores there are")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let cores = cores.next().zip(cores.next());
        let program = program.canonicalize();
        Ok(Self {
            scale,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            program: program.context("the broker's program; `make binary` builds it")?,
            dir: dir.to_owned(),
            cores,
        })
    }

    /// Where servers and the load run.
    pub fn placement(&self) -> String {
        match self.cores {
            Some((server, load)) => format!(
                "two processes over loopback, plaintext: each server has core {server} to itself, the generator (one thread) core {load}"
            ),
            None => "two processes over loopback, plaintext, on one core".to_owned(),
        }
    }

    pub fn settings(&self) -> String {
        SETTINGS.join(", ")
    }

    /// A broker with these settings and a topic.
    pub fn broker(&self, name: &'static str, settings: &[&str]) -> Result<Side> {
        let settings: Vec<String> = SETTINGS
            .iter()
            .chain(settings)
            .map(ToString::to_string)
            .collect();
        let dir = tempfile::Builder::new()
            .prefix("wire-")
            .tempdir_in(&self.dir)?;
        let server = self.on_its_core(|| Ok(Server::broker_in(&self.program, &settings, dir)?))?;
        let side = Side {
            name,
            server,
            topic: "wire".to_owned(),
        };
        self.topic(&side, "wire")?;
        Ok(side)
    }

    /// A bare tonic server.
    pub fn bare(&self) -> Result<Side> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare");
        let server = self.on_its_core(|| Ok(Server::start(command)?))?;
        Ok(Side {
            name: "bare tonic",
            server,
            topic: "1024".to_owned(),
        })
    }

    pub fn topic(&self, side: &Side, name: &str) -> Result<()> {
        self.runtime.block_on(async {
            let connection = Connection::open(&side.target(), "wire").await?;
            Topic::create(&connection, name, 4).await?;
            Ok(())
        })
    }

    /// A process that starts here stays on the core that its parent is on.
    pub fn on_its_core<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some((server, load)) = self.cores else {
            return start();
        };
        pin(server)?;
        let started = start();
        pin(load)?;
        started
    }

    /// The plan on that side, once.
    pub fn run(&self, side: &Side, plan: &Plan) -> Result<Sample> {
        let plan = Plan {
            topic: side.topic.clone(),
            ..plan.clone()
        };
        let (before, begin) = (process::time(side.server.pid())?, Instant::now());
        let report = self.runtime.block_on(run(&side.target(), &plan, |_| ()))?;
        let (took, after) = (begin.elapsed(), process::time(side.server.pid())?);
        Ok(Sample {
            side: side.name,
            server_cores: after.saturating_sub(before).as_secs_f64() / took.as_secs_f64(),
            generator_cores: report.generator_cpu / report.seconds.max(f64::MIN_POSITIVE),
            report,
        })
    }

    /// Each side with its plan once in every round, in an order that turns.
    pub fn rounds(&self, cases: &[(&Side, Plan)]) -> Result<Vec<Vec<Sample>>> {
        let mut samples = vec![Vec::new(); cases.len()];
        for round in 0..self.scale.rounds {
            let mut order: Vec<usize> = (0..cases.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for case in order {
                let (side, plan) = &cases[case];
                samples[case].push(self.run(side, plan)?);
            }
        }
        Ok(samples)
    }

    /// Where stores go.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// A plan of the usual length.
    pub fn plan(&self) -> Plan {
        Plan {
            until: Until::Time(self.scale.time),
            warmup: self.scale.warmup,
            ..Plan::default()
        }
    }

    /// Messages per second that `write(2)` puts into a new file, with these bodies, so many at a time: what no log is ahead of.
    pub fn written(&self, body: usize, batch: usize) -> Result<f64> {
        let budget = Budget {
            time: self.scale.time,
            ..Budget::FULL
        };
        Ok(floors::writes(&self.dir, body * batch, budget)? / body as f64)
    }

    /// What the disk takes sequentially, a flush after every megabyte: megabytes per second.
    pub fn disk(&self) -> Result<f64> {
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile_in(&self.dir)?;
        let block = vec![0xA5; 1 << 20];
        let (begin, mut written) = (Instant::now(), 0u64);
        while begin.elapsed() < self.scale.time.max(Duration::from_millis(100)) {
            file.write_all_at(&block, written % (512 << 20))?;
            file.sync_data()?;
            written += block.len() as u64;
        }
        Ok(written as f64 / 1e6 / begin.elapsed().as_secs_f64())
    }
}

impl Side {
    pub fn target(&self) -> Target {
        Target::plain(self.server.address())
    }
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("pinning to core {core}"))
}

/// The median of one figure.
pub fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    Spread::of(&samples.iter().map(of).collect::<Vec<_>>()).median
}

/// The ratio of a figure, round by round.
pub fn ratio(left: &[Sample], right: &[Sample], of: impl Fn(&Sample) -> f64) -> Spread {
    let ratios = left
        .iter()
        .zip(right)
        .map(|(left, right)| of(left) / of(right).max(f64::MIN_POSITIVE));
    Spread::of(&ratios.collect::<Vec<_>>())
}

/// Messages per second.
pub fn rate(sample: &Sample) -> f64 {
    sample.report.rate
}
